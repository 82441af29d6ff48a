"""Solve w = φ(D11 w + b) for one time step, without gradients: what every rollout does between two states."""

from __future__ import annotations

import torch
from torch import Tensor

from eqnets.system.nonlinearity import Activation


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
