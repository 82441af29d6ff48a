"""A weight of low order above a curve: stable, with a stable inverse, as near above the curve as its order allows."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from eqnets.system.lti import LTI

_STARTS, _STEPS, _SHARP = 3, 60, 30.0


def smallest_weight(hertz: np.ndarray, bound: np.ndarray, order: int, dt: float) -> LTI:
    """W with |W| ≥ bound at the given frequencies, and a small mean of log |W|.

    W is a product of g (1 + b₁/z + b₂/z²)/(1 + a₁/z + a₂/z²). Every quadratic lies in the triangle of stability,
    a₂ = tanh α and a₁ = (1 + a₂) tanh β. Descent shapes it; the gain g is then the smallest that lifts it above the curve.

    Args:
        hertz: (k,) frequencies in Hz, below the Nyquist frequency.
        bound: (k,) not negative.
        order: even.
        dt: the sample time in seconds.

    Returns:
        The weight, one input and one output.
    """  # noqa: E501
    largest = float(bound.max(initial=0.0))
    if largest == 0:
        A, B, C, D = (torch.zeros(s, dtype=torch.float64) for s in ((0, 0), (0, 1), (1, 0), (1, 1)))
        return LTI(A, B, C, D, dt)
    z = torch.exp(-2j * math.pi * dt * torch.from_numpy(hertz))  # 1/z
    curve = torch.from_numpy(np.log(np.maximum(bound, 1e-9 * largest)))
    generator = torch.Generator().manual_seed(0)
    best: tuple[float, Tensor] | None = None
    for k in range(_STARTS):
        spread = 0.1 if k == 0 else 1.0  # the first start is nearly a constant
        theta = spread * torch.randn(2, order // 2, 2, generator=generator, dtype=torch.float64)
        theta.requires_grad_()
        descent = torch.optim.LBFGS([theta], max_iter=_STEPS, line_search_fn="strong_wolfe")

        def cost(theta: Tensor = theta, descent: torch.optim.LBFGS = descent) -> Tensor:
            descent.zero_grad()
            above = _log_size(theta, z) - curve
            # the mean excess once the gain is the smallest allowed; a soft maximum, so that it has a gradient
            loss = above.mean() + torch.logsumexp(-_SHARP * above, 0) / _SHARP + 1e-3 * theta.square().mean()
            loss.backward()
            return loss

        descent.step(cost)
        with torch.no_grad():
            above = _log_size(theta, z) - curve
            excess = float(above.mean() - above.min())
        if math.isfinite(excess) and (best is None or excess < best[0]):
            best = excess, theta.detach()
    theta = torch.zeros(2, order // 2, 2, dtype=torch.float64) if best is None else best[1]
    gain = float(torch.exp((curve - _log_size(theta, z)).max())) * (1 + 1e-9)
    over, under = _quadratics(theta)
    return _realised(gain, over, under, dt)


def _quadratics(theta: Tensor) -> Tensor:
    """(2, n, 3): the coefficients 1, a₁, a₂ of numerators and denominators."""
    second = torch.tanh(theta[..., 0])
    return torch.stack([torch.ones_like(second), (1 + second) * torch.tanh(theta[..., 1]), second], dim=-1)


def _log_size(theta: Tensor, z: Tensor) -> Tensor:
    """The logarithm of |W| without its gain, at 1/z (k,)."""
    powers = torch.stack([torch.ones_like(z), z, z * z])
    sizes = torch.log((_quadratics(theta).to(z.dtype) @ powers).abs()).sum(dim=1)
    return sizes[0] - sizes[1]


def _realised(gain: float, over: Tensor, under: Tensor, dt: float) -> LTI:
    """The product of the quotients in controllable form."""
    b, a = np.ones(1), np.ones(1)
    for top, bottom in zip(over.numpy(), under.numpy(), strict=True):
        b, a = np.convolve(b, top), np.convolve(a, bottom)
    n = len(a) - 1
    A = np.eye(n, k=-1)
    A[0] = -a[1:]
    blocks = A, np.eye(n, 1), gain * (b[1:] - a[1:])[None], np.full((1, 1), gain)
    A, B, C, D = (torch.from_numpy(np.ascontiguousarray(block)) for block in blocks)
    return LTI(A, B, C, D, dt)
