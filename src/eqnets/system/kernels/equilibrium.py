"""Solve w = φ(D11 w + b) for one time step, without gradients: what every rollout does between two states."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eqnets.equilibrium.factored import Factored
from eqnets.equilibrium.inclusion import Inclusion
from eqnets.equilibrium.loop import solve
from eqnets.equilibrium.splitting import PeacemanRachford
from eqnets.equilibrium.tolerance import Tolerance
from eqnets.system.nonlinearity import Activation
from eqnets.system.operator import Dense


def tolerance(dtype: torch.dtype, atol: float = 1e-6) -> float:
    """The residual to solve a full D11 to, relative to 1 + max |w|: at most 1e-12 in float64, at least 4 eps."""
    return min(atol, 1e-12) if dtype == torch.float64 else max(atol, 4 * torch.finfo(dtype).eps)


def substitute(activation: Activation, D11T: Tensor, b: Tensor, sweeps: int) -> tuple[Tensor, Tensor, int]:
    """Acyclic D11: sweeps w ← φ(b + D11 w), which are exact after nv of them because D11 is nilpotent.

    In practice far fewer reach rounding error, so the loop stops when a sweep changes nothing beyond it.

    Args:
        activation: φ.
        D11T: (nv, nv), the transpose of D11.
        b: (batch, nv).
        sweeps: how many sweeps the last call took; they are made before the first check.

    Returns:
        v and w (batch, nv), and the number of sweeps to try next time.
    """
    v, w = b, activation.value(b)
    previous = w
    nv = b.shape[-1]
    eps = 4 * torch.finfo(b.dtype).eps
    done = 0
    while done < nv:
        for _ in range(min(max(sweeps - done, 1), nv - done)):
            v = torch.addmm(b, w, D11T)
            previous, w = w, activation.value(v)
            done += 1
        change = (w - previous).abs_().max()
        if change <= eps * w.abs().max():
            return v, w, done - 1 if change == 0 else done
    return v, w, done


def full(
    activation: Activation, D11: Tensor, b: Tensor, w: Tensor, tolerance: float
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Full D11: Newton's method, accepted on its residual; where that fails, Peaceman–Rachford brings it near.

    Newton's method may cycle. Where 2Λ − ΛD11 − D11ᵀΛ ≻ 0 for some diagonal Λ ≻ 0, which need not be known, and φ has
    slopes in [0, 1], Peaceman–Rachford converges from any start, so that such a model never fails.

    Args:
        activation: φ.
        D11: (nv, nv).
        b: (batch, nv).
        w: (batch, nv), the start.
        tolerance: the residual max |w − φ(v)| to reach, relative to 1 + max |w|.

    Returns:
        v, w (batch, nv), the residual per sample (batch,), and the number of steps taken.
    """
    v, w, size, steps = newton(activation, D11, b, w, tolerance)
    low, high = activation.slope
    if low < 0 or high > 1:
        return v, w, size, steps
    factored: Factored | None = None
    start = torch.zeros_like(b)
    for near, budget in ((1e-2, 5_000), (1e-4, 20_000), (1e-7, 100_000), (tolerance, 200_000)):
        if near < 100 * torch.finfo(b.dtype).eps:
            break
        failed = ~(size <= tolerance * (1 + w.abs().amax(-1))) & b.isfinite().all(-1)
        if not bool(failed.any()):
            break
        if factored is None:  # eigenvalues bound m and L in every norm, also in the unknown one of Λ
            eigenvalues = torch.linalg.eigvals(torch.eye(len(D11), dtype=D11.dtype, device=D11.device) - D11)
            m, L = float(eigenvalues.real.min()), float(eigenvalues.abs().max())
            if m <= 0:  # no Λ exists
                break
            alpha = 1 / math.sqrt(max(m, 1e-6 * L) * L)
            factored = Factored(Dense(D11), m)
        rows = failed.nonzero().flatten()
        inclusion = Inclusion(factored, activation, b[rows])
        found = solve(inclusion, start[rows], PeacemanRachford(alpha), Tolerance(near, near), budget)
        start = start.index_copy(0, rows, found.value)
        parts = newton(activation, D11, b[rows], found.value, tolerance)
        v, w, size = (t.index_copy(0, rows, part) for t, part in zip((v, w, size), parts[:3], strict=True))
        steps += int(found.steps.max()) + parts[3]
    return v, w, size, steps


def newton(
    activation: Activation, D11: Tensor, b: Tensor, w: Tensor, tolerance: float, max_steps: int = 100
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Full D11: batched semismooth Newton on r(w) = w − φ(D11 w + b), damped by halving per sample.

    Args:
        activation: φ.
        D11: (nv, nv).
        b: (batch, nv).
        w: (batch, nv), the start.
        tolerance: the residual max |r| to reach, relative to 1 + max |w|.
        max_steps: the most Newton steps.

    Returns:
        v, w (batch, nv), the residual per sample (batch,), and the number of steps taken.
    """
    identity = torch.eye(D11.shape[0], dtype=D11.dtype, device=D11.device)
    v = torch.addmm(b, w, D11.mT)
    r = w - activation.value(v)
    size = r.abs().amax(-1)
    for step in range(max_steps):
        if bool((size <= tolerance * (1 + w.abs().amax(-1))).all()):
            return v, w, size, step
        slope = activation.derivative(v)
        direction, _ = torch.linalg.solve_ex(identity - slope[:, :, None] * D11, r[:, :, None])
        direction = torch.nan_to_num(direction[:, :, 0])
        length = torch.ones_like(size)
        for _ in range(12):
            trial = w - length[:, None] * direction
            v_trial = torch.addmm(b, trial, D11.mT)
            r_trial = trial - activation.value(v_trial)
            size_trial = r_trial.abs().amax(-1)
            worse = size_trial > size * (1 - 1e-4 * length)
            if not bool(worse.any()):
                break
            length = torch.where(worse, length / 2, length)
        w, v, r, size = trial, v_trial, r_trial, size_trial
    return v, w, size, max_steps
