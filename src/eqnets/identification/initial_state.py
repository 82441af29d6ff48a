"""Estimate the state a record starts from, given its first output samples and what is known of the model's states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.identification.dynamics import System, roll
from eqnets.models import BlackBox
from eqnets.system.lfr import LFR

_DRAWS = 64


@dataclass(frozen=True, eq=False)
class Prior:
    """What training showed of the states and of the output error, float64.

    Args:
        mean: (nx,) mean of the states.
        covariance: (nx, nx) covariance of the states, positive definite.
        noise: (ny,) standard deviation of the output error, in the model's output units.
        delay: after how many samples the latest input is felt; so many first outputs say nothing of the state alone.
    """

    mean: Tensor
    covariance: Tensor
    noise: Tensor
    delay: int = 0


def estimate_x0(system: System | BlackBox, u: Tensor, y: Tensor, prior: Prior, iterations: int = 30) -> Tensor:
    """The initial state of highest posterior density, by Levenberg–Marquardt.

    It minimises Σ_t ‖(y_t − ŷ_t(x_0))/noise‖² + ‖x_0 − mean‖² in the prior's covariance; the Jacobian is exact, from one
    batched backward pass. A nonlinear system can have several minima, so it starts from the mean and from the best of
    `_DRAWS` states drawn from the prior (the same ones at every call), and keeps the lower end.

    Args:
        system: a discrete LFR, float64, or a model that has none.
        u: (n, nu) the first inputs.
        y: (n, ny) the outputs measured with them.
        prior: the prior, in the units of `system`.
        iterations: the most steps.

    Returns:
        x0 (nx,), float64.
    """  # noqa: E501
    if system.nx == 0 or len(u) == 0:
        return prior.mean.clone()
    root = torch.linalg.cholesky(prior.covariance)  # x0 = mean + root ξ, ξ white
    rows = y.numel()
    inputs = u.expand(rows, *u.shape)
    pick = torch.arange(rows)

    def residual(xi: Tensor) -> Tensor:
        with torch.no_grad():
            predicted, _ = roll(system, u[None], (prior.mean + root @ xi)[None])
        return torch.cat([((predicted[0] - y) / prior.noise).flatten(), xi])

    def jacobian(xi: Tensor) -> Tensor:
        with torch.enable_grad():
            x0 = (prior.mean + root @ xi).expand(rows, -1).clone().requires_grad_()
            predicted, _ = roll(system, inputs, x0)
            chosen = (predicted / prior.noise).flatten(1)[pick, pick]
            (gradient,) = torch.autograd.grad(chosen.sum(), x0)
        return torch.cat([gradient @ root, torch.eye(system.nx, dtype=gradient.dtype)])

    def descend(xi: Tensor) -> tuple[float, Tensor]:
        r, damping = residual(xi), 1e-3
        for _ in range(iterations):
            J = jacobian(xi)
            if not (bool(torch.isfinite(J).all()) and bool(torch.isfinite(r).all())):  # a model that runs away
                break
            normal, descent = J.mT @ J, J.mT @ r
            improved = False
            for _ in range(8):
                step = torch.linalg.solve(normal + damping * torch.diag(torch.diagonal(normal)), descent)
                trial = residual(xi - step)
                if float(trial @ trial) < float(r @ r):
                    improved = float(r @ r - trial @ trial) > 1e-8 * float(r @ r)
                    xi, r, damping = xi - step, trial, damping / 5
                    break
                damping *= 5
            if not improved:
                break
        return float(torch.nan_to_num(r @ r, torch.inf)), xi

    system = system.detach() if isinstance(system, LFR) else system
    mean = torch.zeros(system.nx, dtype=torch.float64)
    if isinstance(system, LFR) and system.nv == 0:  # a linear system: one minimum
        return prior.mean + root @ descend(mean)[1]
    draws = torch.randn(_DRAWS, system.nx, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        predicted, _ = roll(system, u.expand(_DRAWS, *u.shape), prior.mean + draws @ root.mT)
    costs = ((predicted - y) / prior.noise).square().sum((1, 2)) + draws.square().sum(1)
    ends = [descend(start) for start in (mean, draws[costs.nan_to_num(torch.inf).argmin()])]
    return prior.mean + root @ min(ends, key=lambda end: end[0])[1]
