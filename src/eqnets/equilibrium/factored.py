"""An operator W, factorised once: resolvents by step, the constants of I − W, a memory that knows weights by value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Resolvent(Protocol):
    """V = (I + α(I − W))⁻¹ on rows (batch, n)."""

    def apply(self, z: Tensor, /) -> Tensor:
        """V z."""
        ...

    def adjoint(self, z: Tensor, /) -> Tensor:
        """Vᵀ z."""
        ...


class Operator(Protocol):
    """A linear W on rows (batch, n)."""

    def apply(self, z: Tensor, /) -> Tensor:
        """W z."""
        ...

    def adjoint(self, z: Tensor, /) -> Tensor:
        """Wᵀ z."""
        ...

    def resolvent(self, alpha: float, /) -> Resolvent:
        """V for a step α."""
        ...


class Factored:
    """An operator, the constants of I − W, and the resolvents that have been asked for: each factorised once.

    Args:
        operator: W; with a graph only where the steps themselves are differentiated.
        margin: m > 0, a lower bound of the symmetric part of I − W, in the coordinates of `geometry`.
        geometry: an operator similar to W, in whose coordinates I − W is monotone; None: W itself.
        takes: whether the operator acts on each row alike, so that rows can be dropped.
    """

    def __init__(
        self, operator: Operator, margin: float, geometry: Operator | None = None, takes: bool = True
    ) -> None:  # fmt: skip
        self.operator, self.margin, self.takes = operator, margin, takes
        self.geometry = operator if geometry is None else geometry
        self._resolvents: dict[float, Resolvent] = {}
        self._lipschitz: float | None = None

    def resolvent(self, alpha: float) -> Resolvent:
        """V for a step.

        Args:
            alpha: α > 0.

        Returns:
            The resolvent, the same object at every call.
        """
        if alpha not in self._resolvents:
            self._resolvents[alpha] = self.operator.resolvent(alpha)
        return self._resolvents[alpha]

    def lipschitz(self, like: Tensor) -> float:
        """L ≈ ‖I − W‖₂ by power iteration, a little too small: it decides the step, and nothing that is claimed.

        Args:
            like: (batch, n), for the size, dtype and device.

        Returns:
            L, at least m.
        """
        if self._lipschitz is None:
            n = like.shape[1]
            x = torch.arange(1, n + 1, dtype=like.dtype, device=like.device).square().cos()[None]  # generic, not random
            with torch.no_grad():
                for _ in range(6):
                    y = x - self.geometry.apply(x)
                    x = y - self.geometry.adjoint(y)
                    x = x / torch.linalg.vector_norm(x)  # not zero: I − W is at least m
                self._lipschitz = max(float(torch.linalg.vector_norm(x - self.geometry.apply(x))), self.margin)
        return self._lipschitz


class Memory:
    """The factored operator of the last weights, recognised by their values: no update can escape it.

    Version counters would miss writes through `.data`; comparing values costs nothing beside a factorisation. A copy
    (deepcopy, pickle) starts empty.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple[Tensor, ...], Factored] | None = None

    def recall(self, factor: Callable[..., Factored], weights: Sequence[Tensor]) -> Factored:
        """The factored operator of the given weights.

        Args:
            factor: makes it from weights without a graph.
            weights: plain tensors.

        Returns:
            The remembered one where the weights are equal, dtype and device included, else a new one.
        """
        last = self._last
        if last is not None and all(map(_same, last[0], weights)):
            return last[1]
        with torch.no_grad():
            kept = tuple(t.detach().clone() for t in weights)
            found = factor(*kept)
        self._last = kept, found
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Memory, ()


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
