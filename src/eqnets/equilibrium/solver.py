"""What a solver is: frozen options, a way to start and a way to step. The loop owns everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from eqnets.equilibrium.maps import Map
from eqnets.errors import InputError


class Point:
    """One evaluated iterate, as the loop hands it to a solver.

    Args:
        z: (batch, n), the iterate.
        fz: (batch, n), f(z).
        residual: (batch,), in units of the tolerance, on the host; not finite where fz is not.
        r: f(z) − z where it is known already.
        steps: the C steps, where z and fz are as these want them (`native.steps`).
    """

    __slots__ = ("_r", "fz", "residual", "steps", "z")

    def __init__(self, z: Tensor, fz: Tensor, residual: np.ndarray, r: Tensor | None = None, steps: Any = None) -> None:
        self.z, self.fz, self.residual, self._r, self.steps = z, fz, residual, r, steps

    @property
    def r(self) -> Tensor:
        """f(z) − z, (batch, n); computed when it is first asked for."""
        if self._r is None:
            self._r = self.fz - self.z
        return self._r


@dataclass(frozen=True)
class Solver:
    """Base of every solver.

    State is a dict whose tensors and arrays have the batch first, so that the loop can drop finished samples; every
    decision is made per sample.

    Class attributes: a sample whose best residual has not fallen below `progress` times its value of `patience` steps
    ago has stalled. `one_shot` solvers make one step. `unrollable` solvers step by differentiable operations.
    `needs_inclusion` marks splitting solvers, which need a model that is an inclusion, not a bare f.
    """

    patience: ClassVar[int] = 32
    progress: ClassVar[float] = 0.99
    one_shot: ClassVar[bool] = False
    unrollable: ClassVar[bool] = True
    needs_inclusion: ClassVar[bool] = False

    def stages(self, n: int) -> tuple[Solver, ...]:
        """The solvers to run in turn; a later one takes over the samples that an earlier one gave up.

        Args:
            n: the size of one sample's state.

        Returns:
            At least one solver.
        """
        del n
        return (self,)

    def unrolled(self) -> Solver:
        """The solver whose steps can be differentiated through.

        Returns:
            Itself, or the differentiable part of it.

        Raises:
            InputError: its steps are not differentiable.
        """
        if not self.unrollable:
            raise InputError(
                f"the steps of {type(self).__name__} are not differentiable; use adjoint=Implicit(), or Unrolled() "
                "with Picard, Anderson, Broyden or Auto."
            )
        return self

    def start(self, map: Map, point: Point) -> dict[str, Any]:
        """The state before the first step.

        Args:
            map: z ↦ f(z), with its Jacobian.
            point: the start, evaluated.

        Returns:
            The state: tensors and arrays with the batch first, or anything else that is not per sample.
        """
        del map, point
        return {}

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """Propose the next iterate; may replace entries of `state`.

        Args:
            map: z ↦ f(z), with its Jacobian.
            point: the last iterate, evaluated.
            state: from `start`, kept between steps.

        Returns:
            (batch, n), the next iterate.

        Raises:
            NotImplementedError: a subclass forgot it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step.")


def check_number(owner: object, name: str, low: float, high: float, open_low: bool = False) -> None:
    """Refuse an option that is not a number in [low, high].

    Args:
        owner: the dataclass with the option.
        name: the field.
        low: the smallest allowed value.
        high: the largest allowed value.
        open_low: whether `low` itself is refused.

    Raises:
        InputError: not a number, or out of range.
    """
    value = getattr(owner, name)
    inside = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not inside or (open_low and value == low):
        raise InputError(
            f"{type(owner).__name__}({name}=…) must lie in {'(' if open_low else '['}{low:g}, {high:g}]; got {value!r}."
        )


def check_count(owner: object, name: str, low: int, high: int) -> None:
    """Refuse an option that is not an integer in [low, high].

    Args:
        owner: the dataclass with the option.
        name: the field.
        low: the smallest allowed value.
        high: the largest allowed value.

    Raises:
        InputError: not an integer, or out of range.
    """
    value = getattr(owner, name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{type(owner).__name__}({name}=…) must be an integer in [{low}, {high}]; got {value!r}.")
