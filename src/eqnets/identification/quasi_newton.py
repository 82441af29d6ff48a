"""Minimise a smooth function of many variables: limited-memory BFGS, whose whole state is a few tensors.

The inverse Hessian is the two-loop recursion over the last steps s and changes of the gradient y (Nocedal & Wright
2006, algorithm 7.4); the step length satisfies Armijo's rule, found by backtracking along a parabola. A pair of
negative curvature is left out, so that the direction always descends. Nothing is random and nothing reads a clock: a
run that is stopped, stored and continued is the same to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], tuple[float, Tensor]]
"""x (n,) to the value there, inf where there is none, and the gradient (n,)."""

_MEMORY = 30
_FIRST = 1e-2  # the largest change of a variable that is tried first
_BACKTRACKS = 20


class QuasiNewton:
    """The state of a minimisation.

    Args:
        x: (n,) where it starts, float64.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x.detach().clone()
        self.value, self.gradient = math.inf, torch.zeros_like(x)
        self.steps, self.changes = x.new_zeros(0, len(x)), x.new_zeros(0, len(x))

    def evaluate(self, f: Function) -> None:
        """Take the value and the gradient at x: at first, and after the function itself has changed."""
        self.value, self.gradient = f(self.x)

    def iterate(self, f: Function) -> bool:
        """One step down.

        Args:
            f: the function.

        Returns:
            Whether the value fell; if not, x is a minimum as far as its numbers can tell.
        """
        return self._search(f, self._direction()) or (self._forget() and self._search(f, self._direction()))

    def _search(self, f: Function, direction: Tensor) -> bool:
        slope = float(self.gradient @ direction)
        if not (slope < 0 and math.isfinite(self.value)):
            return False
        t = 1.0 if len(self.steps) else min(1.0, _FIRST / float(direction.abs().max()))
        for _ in range(_BACKTRACKS):
            value, gradient = f(self.x + t * direction)
            if value <= self.value + 1e-4 * t * slope:  # Armijo
                self._take(t * direction, value, gradient)
                return True
            lowest = -slope * t * t / (2 * (value - self.value - slope * t)) if math.isfinite(value) else 0.0
            t = min(max(lowest, 0.1 * t), 0.5 * t)
        return False

    def _take(self, step: Tensor, value: float, gradient: Tensor) -> None:
        change = gradient - self.gradient
        if float(step @ change) > 1e-10 * float(step.norm() * change.norm()):
            self.steps = torch.cat([self.steps, step[None]])[-_MEMORY:]
            self.changes = torch.cat([self.changes, change[None]])[-_MEMORY:]
        self.x, self.value, self.gradient = self.x + step, value, gradient

    def _forget(self) -> bool:
        """Drop the memory and go on by steepest descent; False where there was none."""
        had = len(self.steps) > 0
        self.steps, self.changes = self.steps[:0], self.changes[:0]
        return had

    def _direction(self) -> Tensor:
        q, weights = self.gradient.clone(), []
        curvatures = (self.steps * self.changes).sum(1)
        for k in reversed(range(len(self.steps))):
            weights.append(self.steps[k] @ q / curvatures[k])
            q -= weights[-1] * self.changes[k]
        if len(self.steps):
            q *= curvatures[-1] / self.changes[-1].square().sum()
        for k, weight in enumerate(reversed(weights)):
            q += self.steps[k] * (weight - self.changes[k] @ q / curvatures[k])
        return -q

    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors by name."""
        return {
            "x": self.x, "value": torch.tensor(self.value, dtype=torch.float64), "gradient": self.gradient,
            "steps": self.steps, "changes": self.changes,
        }  # fmt: skip

    @classmethod
    def restored(cls, state: dict[str, Tensor]) -> QuasiNewton:
        """The minimisation that `state` describes."""
        found = cls(state["x"])
        found.value, found.gradient = float(state["value"]), state["gradient"]
        found.steps, found.changes = state["steps"], state["changes"]
        return found
