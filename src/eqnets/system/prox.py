"""The prox with step α of the convex function whose prox with step 1 is σ, for σ with slopes in [0, 1].

z = prox^α(x) is σ(y) where α y + (1 − α) σ(y) = x. Using σ itself at α ≠ 1 is right for projections only.
Source: Winston & Kolter, "Monotone operator equilibrium networks", NeurIPS 2020, section 3; the equation in y is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Elementwise = Callable[[Tensor], Tensor]
Prox = Callable[[Tensor, float], Tensor]

MAX_STEPS = 60  # bisection alone would need about as many for float64


def argument(value: Elementwise, derivative: Elementwise, x: Tensor, alpha: float) -> Tensor:
    """The y with α y + (1 − α) σ(y) = x, by Newton's method inside a bracket.

    The left side has slopes between min(1, α) and max(1, α), so that every evaluation brackets the root on both sides.
    The search leaves no graph; two steps of no length from the root carry its first two derivatives.

    Args:
        value: σ, elementwise, with slopes in [0, 1].
        derivative: σ'.
        x: any shape, floating.
        alpha: α > 0.

    Returns:
        y, of the shape and dtype of x.
    """
    if alpha == 1.0:
        return x
    with torch.no_grad():
        y = _root(value, derivative, x.detach(), alpha)
    for _ in range(2 if torch.is_grad_enabled() else 0):
        step = _excess(value, x, y, alpha) / _slope(derivative, y, alpha)
        y = y - (step - step.detach())
    return y


def _excess(value: Elementwise, x: Tensor, y: Tensor, alpha: float) -> Tensor:
    return torch.add(alpha * y - x, value(y), alpha=1 - alpha)


def _slope(derivative: Elementwise, y: Tensor, alpha: float) -> Tensor:
    return torch.add(torch.full_like(y, alpha), derivative(y), alpha=1 - alpha)


def _root(value: Elementwise, derivative: Elementwise, x: Tensor, alpha: float) -> Tensor:
    least, most = min(1.0, alpha), max(1.0, alpha)
    y = torch.zeros_like(x)
    low, high = torch.full_like(x, -torch.inf), torch.full_like(x, torch.inf)
    tolerance = 2 * torch.finfo(x.dtype).eps
    for _ in range(MAX_STEPS):
        excess = _excess(value, x, y, alpha)
        near, far = y - excess / most, y - excess / least
        low, high = torch.maximum(low, torch.minimum(near, far)), torch.minimum(high, torch.maximum(near, far))
        trial = y - excess / _slope(derivative, y, alpha)
        trial = torch.where((trial >= low) & (trial <= high), trial, (low + high) / 2)
        moved = (trial - y).abs() > tolerance * (1 + trial.abs())
        y = trial
        if not bool(moved.any()):
            break
    return y


@dataclass(frozen=True)
class Projection:
    """The prox of a σ that is a projection: σ for every α.

    Args:
        value: σ.
    """

    value: Elementwise

    def __call__(self, x: Tensor, alpha: float) -> Tensor:  # noqa: D102
        del alpha
        return self.value(x)


@dataclass(frozen=True)
class Leaky:
    """The prox of the leaky rectifier: x for x > 0, and s x/(α + (1 − α) s) below.

    Args:
        slope: s in [0, 1].
    """

    slope: float

    def __call__(self, x: Tensor, alpha: float) -> Tensor:  # noqa: D102
        return torch.nn.functional.leaky_relu(x, self.slope / (alpha + (1 - alpha) * self.slope))


@dataclass(frozen=True)
class Soft:
    """The prox of softshrink, whose function is λ|z|: softshrink with αλ.

    Args:
        threshold: λ ≥ 0.
    """

    threshold: float

    def __call__(self, x: Tensor, alpha: float) -> Tensor:  # noqa: D102
        return torch.nn.functional.softshrink(x, alpha * self.threshold)
