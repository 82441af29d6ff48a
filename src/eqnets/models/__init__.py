"""Models: free parameters → an LFR and a witness, or a cell and its equilibrium; ordinary nn.Modules."""

from eqnets.models.black_box import BlackBox
from eqnets.models.deq import DEQ
from eqnets.models.dissipative import DissipativeREN, PassiveREN
from eqnets.models.dropout import FixedDropout
from eqnets.models.finite_depth import FiniteDepth
from eqnets.models.free import FreeREN
from eqnets.models.lipschitz_deq import LipschitzDEQ
from eqnets.models.monotone import MonotoneDEQ, MonotoneLinear
from eqnets.models.monotone_conv import MonotoneConvDEQ
from eqnets.models.multi_tier import MultiTierDEQ
from eqnets.models.neural_ode import NeuralODE, ODEBlock
from eqnets.models.recurrent import GRU, LSTM
from eqnets.models.ren import ContractingREN, LipschitzREN
from eqnets.models.rnn import RNN
from eqnets.models.shrink import lower_gain, shrink
from eqnets.models.weight_tied import weight_tied

__all__ = [
    "DEQ",
    "GRU",
    "LSTM",
    "RNN",
    "BlackBox",
    "ContractingREN",
    "DissipativeREN",
    "FiniteDepth",
    "FixedDropout",
    "FreeREN",
    "LipschitzDEQ",
    "LipschitzREN",
    "MonotoneConvDEQ",
    "MonotoneDEQ",
    "MonotoneLinear",
    "MultiTierDEQ",
    "NeuralODE",
    "ODEBlock",
    "PassiveREN",
    "lower_gain",
    "shrink",
    "weight_tied",
]
