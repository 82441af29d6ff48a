"""Models: free parameters → an LFR and a witness, or a cell and its equilibrium; ordinary nn.Modules."""

from eqnets.models.deq import DEQ
from eqnets.models.dropout import FixedDropout
from eqnets.models.finite_depth import FiniteDepth
from eqnets.models.lipschitz_deq import LipschitzDEQ
from eqnets.models.monotone import MonotoneDEQ, MonotoneLinear
from eqnets.models.monotone_conv import MonotoneConvDEQ, MultiTierDEQ
from eqnets.models.ren import ContractingREN, LipschitzREN
from eqnets.models.rnn import RNN
from eqnets.models.shrink import shrink
from eqnets.models.weight_tied import weight_tied

__all__ = [
    "DEQ",
    "RNN",
    "ContractingREN",
    "FiniteDepth",
    "FixedDropout",
    "LipschitzDEQ",
    "LipschitzREN",
    "MonotoneConvDEQ",
    "MonotoneDEQ",
    "MonotoneLinear",
    "MultiTierDEQ",
    "shrink",
    "weight_tied",
]
