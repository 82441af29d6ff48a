"""Claims about energy: the incremental supply rate of Willems, and passivity as its best-known case.

Both speak of pairs of trajectories from one and the same initial state, not of one trajectory beside an equilibrium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eqnets.certification.checked import matrix, number
from eqnets.certification.labels import Labels, down
from eqnets.errors import InputError

Matrix = tuple[tuple[float, ...], ...]
_NOT_THE_PLANT = "This speaks of the model, not of the plant."


@dataclass(frozen=True)
class Dissipative:
    """Σ (ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu) ≥ 0 for any two inputs from one initial state (∫ in continuous time).

    More exactly, the storage ΔxᵀPΔx never grows by more than the supply, at every step.

    Args:
        Q: (ny, ny), symmetric; rows of numbers, an array or a tensor.
        S: (nu, ny).
        R: (nu, nu), symmetric.

    Raises:
        InputError: one of them is no matrix of finite numbers, or Q or R is not symmetric.
    """

    Q: Matrix
    S: Matrix
    R: Matrix
    kind = "dissipative"

    def __post_init__(self) -> None:
        for name in ("Q", "S", "R"):
            object.__setattr__(self, name, matrix(name, getattr(self, name)))
        for name in ("Q", "R"):
            rows = getattr(self, name)
            if rows != tuple(zip(*rows, strict=True)):
                raise InputError(f"{name} of a supply is symmetric; give ({name} + {name}ᵀ)/2.")

    def for_system(self, labels: Labels) -> Dissipative:
        """The claim itself, once its matrices fit a system.

        Args:
            labels: of the system.

        Returns:
            The claim.

        Raises:
            InputError: a matrix has other sizes.
        """
        nu, ny = labels.nu, labels.ny
        for name, height, width in (("Q", ny, ny), ("S", nu, ny), ("R", nu, nu)):
            rows = getattr(self, name)
            if len(rows) != height or any(len(row) != width for row in rows):
                raise InputError(f"{name} has other sizes than ({height}, {width}), which this model needs.")
        return self

    def matrices(self, labels: Labels) -> tuple[Any, Any, Any]:
        """Q (ny, ny), S (nu, ny), R (nu, nu) as float64 arrays."""
        nu, ny = labels.nu, labels.ny
        shapes = ((self.Q, (ny, ny)), (self.S, (nu, ny)), (self.R, (nu, nu)))
        return tuple(np.array(rows, dtype=np.float64).reshape(shape) for rows, shape in shapes)  # type: ignore[return-value]

    def sentence(self, labels: Labels, rate: float | None = None) -> str:
        """The claim in words."""
        del rate
        total = "∫" if labels.dt is None else "Σ"
        return (
            f"Whatever two inputs this model is fed, from one and the same initial state, {total} (ΔyᵀQΔy + 2ΔuᵀSΔy + "
            f"ΔuᵀRΔu) ≥ 0 with Q = {words_of(self.Q)}, S = {words_of(self.S)}, R = {words_of(self.R)}. {_NOT_THE_PLANT}"
        )


@dataclass(frozen=True)
class Passive:
    """Σ ⟨Δu, Δy⟩ ≥ ν Σ|Δu|² + ε Σ|Δy|² for any two inputs from one initial state (∫ in continuous time).

    A sampled model whose output does not see its input at the same step is never passive in this sense (ν ≥ 0): at the
    first step Δy = 0, while the storage has to come from somewhere. A shortage, ν < 0, can be proved.

    Args:
        input_strict: ν; negative is a shortage of passivity.
        output_strict: ε ≥ 0.

    Raises:
        InputError: a number is not finite, or ε is negative.
    """

    input_strict: float = 0.0
    output_strict: float = 0.0
    kind = "passive"

    def __post_init__(self) -> None:
        for name in ("input_strict", "output_strict"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if self.output_strict < 0:
            raise InputError(f"output_strict cannot be negative, got {self.output_strict:g}.")

    def for_system(self, labels: Labels) -> Passive:
        """The claim itself, once it fits a system.

        Args:
            labels: of the system.

        Returns:
            The claim.

        Raises:
            InputError: the numbers of inputs and outputs differ.
        """
        if labels.nu != labels.ny:
            raise InputError(f"passivity pairs inputs with outputs, but there are {labels.nu} and {labels.ny}.")
        return self

    def matrices(self, labels: Labels) -> tuple[Any, Any, Any]:
        """Q = −2εI, S = I, R = −2νI as float64 arrays."""
        eye = np.eye(labels.nu)
        return -2 * self.output_strict * eye, eye, -2 * self.input_strict * eye

    def sentence(self, labels: Labels, rate: float | None = None) -> str:
        """The claim in words."""
        del rate
        total = "∫" if labels.dt is None else "Σ"
        return (
            f"Whatever two inputs this model is fed, from one and the same initial state, {total} ⟨Δu, Δy⟩ ≥ "
            f"{down(self.input_strict)} {total}|Δu|² + {down(self.output_strict)} {total}|Δy|². {_NOT_THE_PLANT}"
        )


def words_of(rows: Matrix) -> str:
    """A matrix in words."""
    return "[" + ", ".join("[" + ", ".join(f"{x:.6g}" for x in row) + "]" for row in rows) + "]"
