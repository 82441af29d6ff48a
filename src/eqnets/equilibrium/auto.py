"""The default solver: Picard while it contracts well, Anderson where that pays, a Newton method where both stall."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from eqnets.equilibrium.anderson import Anderson
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.newton import Newton
from eqnets.equilibrium.newton_krylov import NewtonKrylov
from eqnets.equilibrium.secant import mask
from eqnets.equilibrium.solver import Point, Solver, check_count

LOOK = 4  # steps between two looks at the rate, which is that of the last half of them


@dataclass(frozen=True)
class Auto(Solver):
    """Chooses per sample: a few Picard steps show the rate of contraction, and with it how many more there would be.

    A sample that would need more than `patient` further Picard steps goes to Anderson.

    Samples that still fail (their residual did not halve in 20 steps, or they diverge) go to Newton's method, dense for
    states up to `dense` numbers and with GMRES for larger ones, from their best iterate.

    Args:
        patient: how many further steps Picard may promise.
        memory: of Anderson.
        dense: the largest state that gets a dense Jacobian.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    patient: int = 12
    memory: int = 5
    dense: int = 32

    patience: ClassVar[int] = 20
    progress: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        check_count(self, "patient", 0, 10**6)
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
        return _FirstStage(self.patient, self.memory, self.dense)

    def start(self, map: Map, point: Point) -> dict[str, Any]:
        """Everybody starts with Picard.

        Args:
            map: not used.
            point: the start, evaluated.

        Returns:
            The state: who has switched, the residual at the last look, and Anderson's memory once somebody needs it.
        """
        del map
        return {"steps": 0, "seen": point.residual, "slow": None, "all": False}

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """The next iterate.

        Args:
            map: z ↦ f(z).
            point: the last iterate, evaluated.
            state: kept between steps.

        Returns:
            (batch, n).
        """
        state["steps"] += 1
        look = state["steps"] % LOOK
        if look == LOOK // 2:
            state["seen"] = point.residual
        elif look == 0:
            self._look(map, point, state)
        if state["slow"] is None:
            return point.fz
        z = self._anderson.step(map, point, state)
        return z if state["all"] else torch.where(mask(state["slow"], z)[:, None], z, point.fz)

    @cached_property
    def _anderson(self) -> Anderson:
        return Anderson(memory=self.memory)

    def _look(self, map: Map, point: Point, state: dict[str, Any]) -> None:
        """Who would need more than `patient` further Picard steps, judged by the last ones."""
        with np.errstate(divide="ignore", invalid="ignore"):  # residuals of 0 and ∞
            level = np.log(point.residual)  # the goal is 0
            per_step = (np.log(state["seen"]) - level) / (LOOK - LOOK // 2)
            slow = ~(level <= per_step * self.patient) & (level >= 0)
        if state["slow"] is not None:
            self._anderson.forget(slow & ~state["slow"], state)
            slow |= state["slow"]
        elif slow.any():
            state.update(self._anderson.start(map, point))
        else:
            return
        state.update({"slow": slow, "all": bool(slow.all())})


@dataclass(frozen=True)
class _FirstStage(Auto):
    """Auto without its Newton method."""

    def stages(self, n: int) -> tuple[Solver, ...]:
        """Itself alone."""
        del n
        return (self,)
