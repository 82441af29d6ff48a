"""Picard's iteration, z ← f(z), with optional damping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solver import Point, Solver, check_number


@dataclass(frozen=True)
class Picard(Solver):
    """z ← (1 − damping) z + damping f(z). Converges where f contracts; for a nonexpansive f with damping < 1.

    Args:
        damping: in (0, 1]; 1 is the plain iteration.

    Raises:
        InputError: damping out of range.
    """  # noqa: DOC502

    damping: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "damping", 0.0, 1.0, open_low=True)

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """The next iterate.

        Args:
            map: not used.
            point: the last iterate, evaluated.
            state: not used.

        Returns:
            (batch, n).
        """
        del map, state
        return point.fz if self.damping == 1.0 else point.z.lerp(point.fz, self.damping)
