"""Models: free parameters → an LFR and a witness; ordinary nn.Modules."""

from eqnets.models.ren import ContractingREN, LipschitzREN
from eqnets.models.rnn import RNN
from eqnets.models.shrink import shrink

__all__ = ["RNN", "ContractingREN", "LipschitzREN", "shrink"]
