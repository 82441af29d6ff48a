"""The second-order finish: quasi-Newton steps on the whole training streams, after the first-order updates.

First-order updates see a short segment each and leave an error that falls slowly; here every step sees all samples, in
float64, with gradients through whole streams. A block is `ITERATIONS` steps; then streams that continue others start
anew from where those end, and the model is validated. It begins at the best validated update, and its own best block is
kept only if validation says that it is better.

The initial states of the records, of which first-order training sees a gradient only once a pass, are settled first.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from eqnets.errors import NotConverged
from eqnets.identification.progress import Progress, tell
from eqnets.identification.quasi_newton import QuasiNewton
from eqnets.identification.schedule import Keeper, Schedule, Training
from eqnets.identification.simulation_error import handed_on, squared_error, system_of, validation_rmse
from eqnets.identification.streams import Streams
from eqnets.identification.units import units

ITERATIONS = 10
"""Quasi-Newton steps a block."""

SEARCH = 1.2
"""Evaluations an iteration, as they were counted on measured records."""

_SETTLED, _SETTLING = 2048, 40
"""Initial states are settled on so many first samples of every record, in so many steps."""
_PLANNED = 0.8
"""The finish is made as planned where there is time for this share of it: one measurement is not more exact."""
_PASSES = 3
"""Simulations before the first block, after which every stream starts from a memory of that many streams before it."""


def finish(
    model: nn.Module, streams: Streams, validation: Streams | None, training: Training, schedule: Schedule,
    progress: Progress | None = None, keeper: Keeper | None = None,
) -> Training:  # fmt: skip
    """Make `schedule.finish` blocks, and leave the model at its best validated parameters.

    Args:
        model: at the parameters that first-order training left; changed in place.
        streams: the training streams, normalised.
        validation: the validation streams; None keeps the last block.
        training: what first-order training left.
        schedule: how many blocks, and how often a checkpoint is stored.
        progress: called with every event.
        keeper: stores checkpoints, and gives the one to resume from.

    Returns:
        The history, now with the blocks, and the initial states that belong to the model.
    """
    return _Finish(model, streams.to(torch.float64), validation, training, schedule, progress, keeper).run()


def one_evaluation(model: nn.Module, streams: Streams, x0: Tensor) -> float:
    """The mean squared error of the model, computed with its gradient as a block does it: to see what that costs."""
    run = _Finish(model, streams.to(torch.float64), None, Training(x0), Schedule(0), None, None)
    return run.error(run.descent.x)[0]


def updates_a_block(segments: int) -> float:
    """About how many first-order updates a block costs: each of its evaluations sees all segments."""
    return ITERATIONS * SEARCH * segments


class _Finish:
    def __init__(
        self, model: nn.Module, streams: Streams, validation: Streams | None, training: Training, schedule: Schedule,
        progress: Progress | None, keeper: Keeper | None,
    ) -> None:  # fmt: skip
        self.model, self.streams, self.training, self.schedule = model, streams, training, schedule
        self.validation = None if validation is None else validation.to(torch.float64)
        self.progress, self.keeper = progress, keeper
        self.parameters = list(model.parameters())
        self.x0 = training.x0.to(torch.float64)
        found = units(model, streams if schedule.in_units else None)
        self.units = torch.cat([unit.double().flatten() for unit in (*found, torch.ones_like(self.x0))])
        self.descent = self._descent()
        self.starts = streams.u.new_zeros(len(streams), self.x0.shape[1])
        self.block, self.seconds, self.over = 0, training.seconds, False
        self.blocks = schedule.finish
        self.best: tuple[float, int, Tensor] | None = None
        self.history: list[dict[str, float]] = []
        self.kept: tuple[dict[str, Tensor], dict[str, Any]] | None = None

    def run(self) -> Training:
        if not self._resume():
            self._settle()
            for _ in range(_PASSES):
                self._take_over()
            if self.schedule.seconds is not None:
                self._fit_in(self.schedule.seconds)
            self._validate()
            if self.blocks < self.schedule.finish:
                self._keep()  # before it is followed
        saved = time.monotonic()
        try:
            while self.block < self.blocks and not self.over and not self._hopeless():
                began = time.monotonic()
                self._advance()
                self.seconds += time.monotonic() - began
                if self.keeper is not None and time.monotonic() - saved > self.schedule.checkpoint_seconds:
                    self._keep()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self._keep()
            raise
        self._keep()
        block, x = (self.block, self.descent.x) if self.best is None else self.best[1:]
        self._put(x)
        known = self.training
        return Training(
            self.x0, [*known.history, *self.history], known.best_step, block, known.steps, self.seconds,
            self.blocks < self.schedule.finish,
        )  # fmt: skip

    def _fit_in(self, seconds: float) -> None:
        """Plan fewer blocks, at least one, where the updates have left clearly too little of the time for all."""
        began = time.monotonic()
        self.error(self.descent.x)
        block = ITERATIONS * SEARCH * (time.monotonic() - began)
        self._put(self.descent.x)
        left = int((seconds - self.training.seconds) / max(block, 1e-9))
        if left < _PLANNED * self.blocks:
            self.blocks = max(1, left)

    def _descent(self) -> QuasiNewton:
        """Over all variables in their units, from where they are."""
        variables = torch.cat([p.detach().double().flatten() for p in (*self.parameters, self.x0)])
        return QuasiNewton(variables / self.units)

    def _settle(self) -> None:
        """Quasi-Newton steps on the initial states alone, by the first samples of the records."""
        first = self.streams.part(self.streams.before < 0, _SETTLED)
        with torch.no_grad():
            system = system_of(self.model, torch.float64)

        def error(x: Tensor) -> tuple[float, Tensor]:
            x0 = x.view_as(self.x0).detach().requires_grad_()
            value, _ = squared_error(system, first, x0[first.record])
            (gradient,) = torch.autograd.grad(value, x0)
            return float(value.detach()), gradient.flatten()

        descent = QuasiNewton(self.x0.flatten())
        descent.evaluate(error)
        for _ in range(_SETTLING):
            if not descent.iterate(error):
                break
        self.x0 = descent.x.view_as(self.x0)
        self.descent = self._descent()

    def _advance(self) -> None:
        """One block; if it is interrupted, what is stored is the block before."""
        descent = QuasiNewton.restored(self.descent.state())
        descent.evaluate(self.error)  # the streams' starts have changed
        if not math.isfinite(descent.value):
            raise NotConverged("the training error is not finite where the finish begins; train longer before it.")
        going = True
        for _ in range(ITERATIONS):
            going = going and descent.iterate(self.error)
        self.descent, self.over, self.block = descent, not going, self.block + 1
        self._put(descent.x)
        self._take_over()
        self._validate()

    def error(self, x: Tensor) -> tuple[float, Tensor]:
        self._put(x)
        x0 = self.x0.requires_grad_()
        value, _ = squared_error(
            system_of(self.model, torch.float64), self.streams, self.streams.starting(x0, self.starts)
        )
        if not bool(torch.isfinite(value)):
            return math.inf, torch.zeros_like(x)
        gradients = torch.autograd.grad(value, [*self.parameters, x0], materialize_grads=True)
        return float(value.detach()), self.units * torch.cat([g.double().flatten() for g in gradients])

    def _put(self, x: Tensor) -> None:
        """Write the vector of all variables, in their units, into the model and the initial states."""
        *parts, x0 = (self.units * x).split([p.numel() for p in (*self.parameters, self.x0)])
        with torch.no_grad():
            for parameter, part in zip(self.parameters, parts, strict=True):
                parameter.copy_(part.view_as(parameter))
        self.x0 = x0.view_as(self.x0).clone()

    def _take_over(self) -> None:
        """Where streams end is where those that continue them start."""
        if bool((self.streams.before >= 0).any()):
            _, self.starts = handed_on(self.model, self.streams, self.x0, self.starts)

    def _hopeless(self) -> bool:
        """Early stopping: no better validation for two fifths of the blocks, and for ten."""
        return self.best is not None and self.block - self.best[1] > max(10, 0.4 * self.blocks)

    def _validate(self) -> None:
        error = math.nan
        if self.validation is not None:
            error = validation_rmse(system_of(self.model, torch.float64), self.validation, self.x0)
            if self.best is None or error < self.best[0]:
                self.best = (error, self.block, self.descent.x)
        if self.block:
            row = {"step": self.training.steps + self.block * ITERATIONS, "seconds": self.seconds}
            row |= {"train_rmse": math.sqrt(self.descent.value), "val_rmse": error, "learning_rate": 0.0}
            self.history.append(row)
        self.kept = self._state()
        done, whole = self.seconds - self.training.seconds, self.blocks
        tell(
            self.progress, phase="validate", step=self.training.steps + self.block * ITERATIONS, val_rmse=error,
            steps=self.training.steps + whole * ITERATIONS, seconds=self.seconds,
            eta_seconds=done / self.block * (whole - self.block) if self.block else None,
            train_loss=self.descent.value if self.block else None,
        )  # fmt: skip

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"now.{name}": value for name, value in self.descent.state().items()} | {"starts": self.starts}
        if self.best is not None:
            tensors["best"] = self.best[2]
        return tensors, {
            "block": self.block, "blocks": self.blocks, "seconds": self.seconds, "over": self.over,
            "history": list(self.history),
            "best": None if self.best is None else list(self.best[:2]),
        }  # fmt: skip

    def _keep(self) -> None:
        if self.keeper is not None and self.kept is not None:
            tensors, meta = self.kept
            self.keeper.save({name: value.detach().contiguous().clone() for name, value in tensors.items()}, meta)

    def _resume(self) -> bool:
        kept = None if self.keeper is None else self.keeper.load()
        if kept is None:
            return False
        tensors, meta = kept
        now = {name.removeprefix("now."): value for name, value in tensors.items() if name.startswith("now.")}
        self.descent, self.starts = QuasiNewton.restored(now), tensors["starts"]
        self.block, self.seconds, self.over = meta["block"], meta["seconds"], meta["over"]
        self.history, self.blocks = meta["history"], meta.get("blocks", self.schedule.finish)
        if meta["best"] is not None:
            self.best = (meta["best"][0], meta["best"][1], tensors["best"])
        self._put(self.descent.x)
        self.kept = self._state()
        return True
