"""How long to train, what training leaves behind, and where it keeps what it needs to go on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Keeper(Protocol):
    """Where checkpoints go."""

    def begin(self) -> None:
        """A run begins: what another one left here goes, unless it is to be taken up."""
        ...

    def save(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Store a checkpoint, atomically."""
        ...

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint, or None."""
        ...

    def part(self, name: int | str) -> Keeper:
        """The keeper of one of several runs, or of one of its phases."""
        ...


class Lengths(NamedTuple):
    """How long every start is trained; a checkpoint keeps it.

    Args:
        steps: the number of first-order updates.
        blocks: the number of second-order blocks after them.
        block: how many updates a block costs, as it was measured; None where it was not.
        seconds: the time of a start, see `Schedule`; None where steps were asked for.
    """

    steps: int
    blocks: int = 0
    block: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    No clock is read, so that training is the same on every run; but for one look before the finish where `seconds` are
    given, whose outcome the checkpoint keeps.

    Args:
        steps: the number of first-order updates.
        finish: the number of second-order blocks after them, see `finish`.
        stop: the update after which to stop all the same, the learning rate still falling as for `steps`.
        learning_rate: of Adam, at its height; it rises over the first steps and falls along a cosine.
        segment: the number of samples between two updates.
        dtype: of the simulation during first-order training; the finish is in float64.
        in_units: whether every parameter moves by its own unit, see `units`, or all of them alike.
        checkpoint_seconds: how often a checkpoint is stored.
        block: how many updates a block costs, as measured; None guesses, for the time to come alone.
        seconds: the time for all; where the updates left too little of it, the finish has fewer blocks.
    """

    steps: int
    finish: int = 0
    stop: int | None = None
    learning_rate: float = 3e-3
    segment: int = 512
    dtype: torch.dtype = torch.float64
    in_units: bool = False
    checkpoint_seconds: float = 30.0
    block: float | None = None
    seconds: float | None = None


@dataclass
class Training:
    """What training leaves behind.

    Args:
        x0: (record, nx) the trained initial states.
        history: one row a validation: step, seconds, train_rmse and val_rmse (normalised, all outputs), learning_rate
            (0 in the finish).
        best_step: the first-order update whose parameters the model has, or from which the finish began.
        best_block: the second-order block whose parameters the model has; 0 where none of them was better.
        steps: the number of first-order updates made.
        seconds: the time spent training.
        shortened: whether the finish had fewer blocks than planned, for want of time.
    """

    x0: Tensor
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_block: int = 0
    steps: int = 0
    seconds: float = 0.0
    shortened: bool = False

    @property
    def val_rmse(self) -> float:
        """The smallest validation error; inf where there was no validation."""
        return min((row["val_rmse"] for row in self.history), default=math.inf)
