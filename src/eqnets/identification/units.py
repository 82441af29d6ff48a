"""How far each free parameter moves until the system it stands for, or what it simulates, has moved by about one.

The blocks of an LFR between signals, states and neurons of size one have entries of size one. Free parameters behind a
promise have not: those of a REN with slow modes reach from 1 down to the 1e-4 of ΛD12, where Λ is as small as what the
slowest mode leaves. And a slow mode answers to a change of A that is many times smaller than A. An optimiser that moves
all parameters alike wipes out the small ones in its first step, and undoes the slow modes in the next ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eqnets.identification.dynamics import roll
from eqnets.identification.simulation_error import system_of
from eqnets.identification.streams import Streams
from eqnets.models import BlackBox
from eqnets.models.base import REN
from eqnets.system.lfr import LFR

_PROBES = 32
_SAMPLES = 1024
"""The outputs are seen over so many first samples of every stream."""


def units(model: nn.Module, streams: Streams | None) -> list[Tensor]:
    """A positive number, at most 1, for every entry of every parameter.

    With J the derivative of the LFR's blocks, and of the simulated outputs as a root mean square over the samples that
    count, θ_j has the unit 1/‖J e_j‖; ‖J e_j‖² is the mean of (Jᵀr)_j² over random signs r (Hutchinson's estimator of
    the Gauss–Newton matrix' diagonal). The column j of a REN's X moves no farther than the pivot of
    H = XᵀX + ε(I + diag XᵀX) there: its square is what the promise has left in that direction, and a move by δ takes δ²
    of it, which a first derivative does not see.

    Args:
        model: the model; one that is no LFR has units of 1.
        streams: of training, normalised, in the dtype in which they are simulated; None for units of 1.

    Returns:
        One tensor a parameter, in its shape and dtype.
    """
    parameters = list(model.parameters())
    if streams is None or isinstance(model, BlackBox):
        return [torch.ones_like(p, requires_grad=False) for p in parameters]
    system = system_of(model, torch.float64)
    assert isinstance(system, LFR)
    y, _ = roll(system.to(streams.u.dtype), streams.u[:, :_SAMPLES], streams.u.new_zeros(len(streams), system.nx))
    weight = streams.weight[:, :_SAMPLES, None]
    y = y * (weight / (weight.sum() * y.shape[-1]).clamp(min=1)).sqrt()
    seen = [value for value in (*system.blocks().values(), y) if value.requires_grad]
    generator, squares = torch.Generator().manual_seed(0), [torch.zeros_like(p) for p in parameters]
    for _ in range(_PROBES):
        signs = [2 * torch.randint(2, value.shape, generator=generator).to(value) - 1 for value in seen]
        gradients = torch.autograd.grad(seen, parameters, signs, retain_graph=True, materialize_grads=True)
        squares = [s + g.square() / _PROBES for s, g in zip(squares, gradients, strict=True)]
    found = [torch.nan_to_num(s, 1.0, 1.0).clamp(min=1.0).rsqrt() for s in squares]
    if isinstance(model, REN):
        k = next(k for k, (name, _) in enumerate(model.named_parameters()) if name == "X")
        found[k] = torch.minimum(found[k], _pivots(model).to(found[k]))
    return found


@torch.no_grad()
def _pivots(model: REN) -> Tensor:
    """The pivots of H's Cholesky factor, (2nx+nv,), float64."""
    X, eps = model.get_parameter("X").to(torch.float64), model.eps.to(torch.float64)
    T = X.mT @ X
    return torch.diagonal(torch.linalg.cholesky(T + eps * torch.diag(1 + torch.diagonal(T))))
