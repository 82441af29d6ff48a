"""A time budget, turned once into numbers of steps.

What a step costs is measured on a copy of the model in the first seconds. From then on the numbers hold: no clock is
read (but once, before the finish), so that a run that is interrupted and resumed gives the same model as one that is
not.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from eqnets.identification.finish import ITERATIONS, SEARCH, one_evaluation
from eqnets.identification.schedule import Schedule
from eqnets.identification.simulation_error import system_of, validation_rmse
from eqnets.identification.streams import Streams
from eqnets.identification.train import train

_FINISH, _FINISH_STEPS = 0.5, 0.3
"""The share of the time, and of the steps where they are given, that is for the second-order finish."""
_LOOK = 0.02
"""The share of the time that may be spent measuring, one step of each kind aside."""


@dataclass(frozen=True)
class Pace:
    """What the parts of training cost, in seconds.

    Args:
        update: a first-order update.
        evaluation: of the whole error with its gradient, in float64.
        validation: one.
    """

    update: float
    evaluation: float
    validation: float

    @property
    def block(self) -> float:
        """A second-order block, with its validation."""
        return ITERATIONS * SEARCH * self.evaluation + self.validation

    def steps(self, seconds: float, finish: bool = True) -> tuple[int, int]:
        """First-order updates (at least one) and second-order blocks that fit into a time.

        Args:
            seconds: the time.
            finish: whether there are blocks at all.

        Returns:
            Both numbers.
        """
        blocks = int(_FINISH * seconds / max(self.block, 1e-9)) if finish else 0
        left = seconds - blocks * self.block
        return max(1, int(left / 1.1 / max(self.update, 1e-9))), blocks  # validation takes a tenth


def divided(steps: int) -> tuple[int, int]:
    """A number of steps, divided into first-order updates and second-order blocks."""
    blocks = int(_FINISH_STEPS * steps) // ITERATIONS
    return steps - ITERATIONS * blocks, blocks


def measure(
    model: nn.Module, streams: Streams, validation: Streams, x0: Tensor, schedule: Schedule, seconds: float
) -> Pace:
    """Make a few steps on a copy of the model, and time them.

    Args:
        model: as it will be trained; it is left as it is.
        streams: the training streams.
        validation: the validation streams.
        x0: (record, nx) initial states.
        schedule: of the training; its numbers of steps do not matter.
        seconds: the whole time there is.

    Returns:
        What the parts cost.
    """
    began, updates, per_update = time.monotonic(), 1, 0.0
    while updates == 1 or time.monotonic() - began < _LOOK * seconds:  # the first one also loads and compiles
        trial = replace(schedule, steps=10**6, stop=updates, finish=0)
        made = train(copy.deepcopy(model), streams, None, x0, trial)
        per_update = made.seconds / made.steps
        updates = min(3 * updates, 100)
        if per_update > _LOOK * seconds:
            break
    twin = copy.deepcopy(model)
    evaluation = _timed(lambda: one_evaluation(twin, streams, x0), seconds)
    data = validation.to(schedule.dtype)
    with torch.no_grad():
        system = system_of(twin, schedule.dtype)
    return Pace(per_update, evaluation, _timed(lambda: validation_rmse(system, data, x0), seconds))


def _timed(work: Callable[[], float], seconds: float) -> float:
    """The time of the second go, or of the first where that is long."""
    lasted = 0.0
    for _ in range(2):
        began = time.monotonic()
        work()
        lasted = time.monotonic() - began
        if lasted > _LOOK * seconds:
            break
    return lasted
