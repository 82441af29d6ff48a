"""The default solver: Picard while it contracts well, Anderson where that pays, a Newton method where both stall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from eqnets.equilibrium.anderson import Anderson
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.newton import Newton
from eqnets.equilibrium.newton_krylov import NewtonKrylov
from eqnets.equilibrium.solver import Point, Solver, check_count, check_number

LOOK = 4  # steps between two looks at the rate


@dataclass(frozen=True)
class Auto(Solver):
    """Chooses per sample: a few Picard steps show the rate of contraction; slower than `rate`, Anderson takes over.

    Samples that still fail (their residual did not halve in 20 steps, or they diverge) go to Newton's method, dense for
    states up to `dense` numbers and with GMRES for larger ones, from their best iterate.

    Args:
        rate: residual ratio per step up to which Picard continues.
        memory: of Anderson.
        dense: the largest state that gets a dense Jacobian.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    rate: float = 0.6
    memory: int = 5
    dense: int = 32

    patience: ClassVar[int] = 20
    progress: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        check_number(self, "rate", 0.0, 1.0)
        check_count(self, "memory", 1, 100)
        check_count(self, "dense", 0, 4096)

    def stages(self, n: int) -> tuple[Solver, ...]:
        """Picard with Anderson, then a Newton method.

        Args:
            n: the size of one sample's state.

        Returns:
            Two solvers.
        """
        return self, (Newton() if n <= self.dense else NewtonKrylov())

    def unrolled(self) -> Solver:
        """Picard with Anderson alone: a Newton step is not differentiated through."""
        return _FirstStage(self.rate, self.memory, self.dense)

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


@dataclass(frozen=True)
class _FirstStage(Auto):
    """Auto without its Newton method."""

    def stages(self, n: int) -> tuple[Solver, ...]:
        """Itself alone."""
        del n
        return (self,)
