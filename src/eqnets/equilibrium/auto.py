"""The default solver: Picard while it contracts well, Anderson where that pays, a Newton method where both stall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from eqnets.equilibrium.anderson import Anderson
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solver import Point, Solver, check_count, check_number

LOOK = 4  # steps between two looks at the rate


@dataclass(frozen=True)
class Auto(Solver):
    """Chooses per sample: a few Picard steps show the rate of contraction; slower than `rate`, Anderson takes over.

    Args:
        rate: residual ratio per step up to which Picard continues.
        memory: of Anderson.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    rate: float = 0.6
    memory: int = 5

    patience: ClassVar[int] = 20
    progress: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        check_number(self, "rate", 0.0, 1.0)
        check_count(self, "memory", 1, 100)

    def start(self, map: Map, point: Point) -> dict[str, Any]:
        """Everybody starts with Picard.

        Args:
            map: not used.
            point: the start, evaluated.

        Returns:
            The state: who has switched, the residual at the last look, and Anderson's memory once somebody needs it.
        """
        del map
        return {"steps": 0, "seen": point.residual, "slow": None}

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """The next iterate.

        Args:
            map: z ↦ f(z).
            point: the last iterate, evaluated.
            state: kept between steps.

        Returns:
            (batch, n).
        """
        anderson = Anderson(memory=self.memory)
        state["steps"] += 1
        if state["steps"] % LOOK == 0:
            slow = ~(point.residual <= self.rate**LOOK * state["seen"])
            state["seen"] = point.residual
            if state["slow"] is not None:
                anderson.forget(slow & ~state["slow"], state)
                state["slow"] = state["slow"] | slow
            elif bool(slow.any()):
                state.update(anderson.start(map, point))
                state["slow"] = slow
        if state["slow"] is None:
            return point.fz
        return torch.where(state["slow"][:, None], anderson.step(map, point, state), point.fz)
