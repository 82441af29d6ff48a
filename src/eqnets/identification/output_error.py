"""The linear model of least simulation error near a given one.

Vector fitting weighs frequencies by its own denominator, so where noise and nonlinear distortion are coloured its fixed
point is not the least-squares model. From there a quasi-Newton descent over A, B, C, D and the records' initial states
leads to it, never to a pole outside the allowed radius.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eqnets.identification.data import Data
from eqnets.identification.quasi_newton import QuasiNewton
from eqnets.identification.start import balanced_truncation
from eqnets.identification.streams import training_streams
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.simulate import simulate

_MOST, _SAMPLES = 100, 10_000_000
"""The most iterations, and the most samples to simulate; at least a tenth of the iterations is made."""
_ENOUGH = 1e-3
"""It ends where ten iterations lower the squared error by less than this share."""


def refine(lti: LTI, x0: Tensor, heads: Data, radius: float) -> tuple[LTI, Tensor]:
    """Descend on the simulation error of all records.

    Args:
        lti: a stable model between normalised signals, its poles within `radius`.
        x0: (record, nx) the records' initial states.
        heads: the normalised training parts.
        radius: the largest pole radius allowed, below 1.

    Returns:
        The model and its initial states; where nothing is gained, those that came in.
    """
    streams = training_streams(heads, list(heads.lengths), 1, max(heads.lengths))
    weight = streams.weight[:, :, None]
    scale = 1 / (weight.sum() * heads.ny)
    blocks = (lti.A, lti.B, lti.C, lti.D, x0)
    sizes = [block.numel() for block in blocks]

    def split(theta: Tensor) -> list[Tensor]:
        return [part.view_as(block) for part, block in zip(theta.split(sizes), blocks, strict=True)]

    def error(theta: Tensor) -> tuple[float, Tensor]:
        theta = theta.detach().requires_grad_()
        A, B, C, D, start = split(theta)
        if float(torch.linalg.eigvals(A.detach()).abs().max()) > radius:
            return math.inf, torch.zeros_like(theta)
        y, _ = simulate(LFR(A=A, B2=B, C2=C, D22=D, dt=lti.dt), streams.u, start)
        value = (weight * (y - streams.y)).square().sum() * scale
        (gradient,) = torch.autograd.grad(value, theta)
        return float(value.detach()), gradient

    run = QuasiNewton(torch.cat([block.flatten() for block in blocks]))
    run.evaluate(error)
    before = run.value
    for k in range(max(_MOST // 10, min(_MOST, _SAMPLES // heads.n_samples))):
        if not run.iterate(error):
            break
        if k % 10 == 9:
            if run.value > (1 - _ENOUGH) * before:
                break
            before = run.value
    A, B, C, D, start = (part.clone() for part in split(run.x))
    return LTI(A, B, C, D, lti.dt), start


def balanced(lti: LTI) -> LTI:
    """The same system in coordinates where every state is as controllable as observable, if float64 can give them."""
    if lti.nx == 0:
        return lti
    other = balanced_truncation(lti, lti.nx)
    finite = all(bool(torch.isfinite(block).all()) for block in (other.A, other.B, other.C))
    if not finite or other.spectral_radius() > lti.spectral_radius() * (1 + 1e-9):
        return lti
    return other
