"""Train a model on its simulation error: truncated back-propagation over carried states, Adam, validated, resumable.

A second-order finish follows, see `finish`.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from eqnets.errors import NotConverged
from eqnets.identification.adam import Adam
from eqnets.identification.finish import finish, updates_a_block
from eqnets.identification.progress import Progress, tell
from eqnets.identification.schedule import Keeper, Schedule, Training
from eqnets.identification.simulation_error import handed_on, squared_error, system_of, validation_rmse
from eqnets.identification.streams import Streams
from eqnets.identification.units import units


def train(
    model: nn.Module, streams: Streams, validation: Streams | None, x0: Tensor, schedule: Schedule,
    progress: Progress | None = None, keeper: Keeper | None = None,
) -> Training:  # fmt: skip
    """Minimise the mean squared simulation error, and leave the model at its best validated parameters.

    Args:
        model: a module with `explicit()`, or a `BlackBox`; its parameters are changed in place.
        streams: the training streams, normalised.
        validation: the validation streams; None keeps the last parameters.
        x0: (record, nx) initial states to start from; they are trained too.
        schedule: how long and how fast.
        progress: called with every event.
        keeper: stores checkpoints, and gives the one to resume from; an interrupted run loses nothing.

    Returns:
        The history and the trained initial states.

    Raises:
        NotConverged: the training error is not finite from the start.
    """  # noqa: DOC502
    found = _Run(model, streams.to(schedule.dtype), validation, x0, schedule, progress, keeper).run()
    if not schedule.finish:
        return found
    part = None if keeper is None else keeper.part("finish")
    return finish(model, streams, validation, found, schedule, progress, part)


_LATELY = 50
"""The time to come is told from the pace of about so many last updates: a machine that slows down shows in it."""


class _Run:
    def __init__(
        self, model: nn.Module, streams: Streams, validation: Streams | None, x0: Tensor, schedule: Schedule,
        progress: Progress | None, keeper: Keeper | None,
    ) -> None:  # fmt: skip
        self.model, self.streams, self.schedule = model, streams, schedule
        self.validation = None if validation is None else validation.to(schedule.dtype)
        self.progress, self.keeper = progress, keeper
        self.x0 = nn.Parameter(x0.detach().clone())
        self.optimiser = Adam(
            [*model.parameters(), self.x0], [*units(model, streams if schedule.in_units else None), torch.ones_like(x0)]
        )
        self.starts = torch.zeros(len(streams), x0.shape[1], dtype=schedule.dtype)
        self.carried = self.starts.clone()
        self.step, self.position, self.seconds = 0, 0, 0.0
        self.next_validation = 10
        self.best: tuple[float, int, dict[str, Tensor]] | None = None
        self.history: list[dict[str, float]] = []
        self.running: list[float] = []
        self.amid = False  # an update is half made
        self.segments = max(1, math.ceil(streams.length / schedule.segment))
        self.pace, self.paced = 0.0, 0  # seconds an update lately, over how many of this process

    # the loop ---------------------------------------------------------------------------------------------------------

    def run(self) -> Training:
        if not self._resume():
            self._first_pass()
            self._validate()
        elif self._due() and self.history[-1]["step"] != self.step:  # interrupted between an update and its validation
            self._validate()
        clock = saved = time.monotonic()
        try:
            while self.step < self._last() and not self._hopeless():
                self._update()
                now = time.monotonic()
                self.paced += 1
                self.pace += (now - clock - self.pace) / min(self.paced, _LATELY)
                self.seconds, clock = self.seconds + now - clock, now
                if self._due():
                    self._validate()
                if self.keeper is not None and now - saved > self.schedule.checkpoint_seconds:
                    self._keep()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if self.keeper is not None and not self.amid:  # else the checkpoint before it stays
                self._keep()
            raise
        if self.keeper is not None:
            self._keep()
        if self.best is not None:
            self._restore(self.best[2])
        best_step = self.best[1] if self.best is not None else self.step
        return Training(self.x0.detach().clone(), self.history, best_step, 0, self.step, self.seconds)

    def _last(self) -> int:
        return self.schedule.steps if self.schedule.stop is None else self.schedule.stop

    def _done(self) -> float:
        """The share of the schedule that is behind us."""
        return 1.0 if self.schedule.steps == 0 else self.step / self.schedule.steps

    def _due(self) -> bool:
        return self.step >= self.next_validation or self._done() >= 1

    def _hopeless(self) -> bool:
        """Early stopping: no better validation for two fifths of the schedule, and for a hundred steps."""
        return self.best is not None and self.step - self.best[1] > max(100, 0.4 * self.schedule.steps)

    def _every(self) -> int:
        """Steps between validations: a hundredth of the schedule, but validation takes at most a tenth of the time.

        A step simulates forwards and backwards, about three times the work a sample of a validation.
        """  # noqa: DOC201
        validated = 0 if self.validation is None else self.validation.weight.numel()
        trained = 3 * len(self.streams) * min(self.schedule.segment, self.streams.length)
        return max(1, math.ceil(max(10 * validated / trained, self.schedule.steps / 100)))

    def _rate(self) -> float:
        warmup = min(1.0, (self.step + 1) / 20)
        return (
            self.schedule.learning_rate
            * warmup
            * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, self._done()))))
        )

    def _update(self) -> None:
        if self.position == 0:
            self.carried = self.streams.starting(self.x0, self.starts)
        segment = slice(self.position * self.schedule.segment, (self.position + 1) * self.schedule.segment)
        x = self.carried if self.position == 0 else self.carried.detach()
        loss, last = squared_error(self._system(), self.streams, x, segment)
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_([*self.model.parameters(), self.x0], 1.0)
        self.amid = True
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        elif self.step == 0:
            raise NotConverged("the training error is not finite from the start; check the scale of the data.")
        elif self.best is not None:  # a model without a promise ran away
            self._restore(self.best[2])
        self.running.append(float(loss.detach()))
        self.carried = torch.nan_to_num(last.detach(), 0.0, 0.0, 0.0)
        self.step += 1
        self.position = (self.position + 1) % self.segments
        if self.position == 0:
            self.starts = self.streams.taken_over(self.starts, self.carried)
        self.amid = False
        self._report("train", self.running[-1])

    def _system(self) -> Any:
        return system_of(self.model, self.schedule.dtype)

    def _first_pass(self) -> None:
        if bool((self.streams.before >= 0).any()):
            self.carried, self.starts = handed_on(self.model, self.streams, self.x0, self.starts)

    # validation -------------------------------------------------------------------------------------------------------

    def _validate(self) -> None:
        train_rmse = math.sqrt(sum(self.running) / len(self.running)) if self.running else math.nan
        val_rmse = math.nan
        if self.validation is not None:
            val_rmse = validation_rmse(self._system(), self.validation, self.x0.detach())
        if self.validation is not None and (self.best is None or val_rmse < self.best[0]):
            self.best = (val_rmse, self.step, self._snapshot())
        self.next_validation = self.step + self._every() if self.step >= 10 else 10
        row = {"step": self.step, "seconds": self.seconds, "train_rmse": train_rmse, "val_rmse": val_rmse}
        self.history.append({**row, "learning_rate": self._rate()})
        self.running = []
        self._report("validate", None)

    def _snapshot(self) -> dict[str, Tensor]:
        return {**copy.deepcopy(self.model.state_dict()), "training.x0": self.x0.detach().clone()}

    def _restore(self, snapshot: dict[str, Tensor]) -> None:
        self.model.load_state_dict({k: v for k, v in snapshot.items() if k != "training.x0"})
        self.x0.data.copy_(snapshot["training.x0"])

    def _report(self, phase: str, loss: float | None) -> None:
        block = updates_a_block(self.segments) if self.schedule.block is None else self.schedule.block
        ahead = self._last() - self.step + self.schedule.finish * block
        left = ahead * self.pace if self.paced else None
        tell(
            self.progress, phase=phase, step=self.step, steps=self._last(), seconds=self.seconds,
            eta_seconds=left, train_loss=loss,
            val_rmse=self.history[-1]["val_rmse"] if self.history else math.nan,
        )  # fmt: skip

    # checkpoints ------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        assert self.keeper is not None
        tensors = {f"now.{k}": v for k, v in self._snapshot().items()}
        if self.best is not None:
            tensors |= {f"best.{k}": v for k, v in self.best[2].items()}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
        tensors |= {"starts": self.starts, "carried": self.carried}
        meta = {
            "step": self.step, "position": self.position, "seconds": self.seconds,
            "best": None if self.best is None else [self.best[0], self.best[1]],
            "next_validation": self.next_validation, "history": self.history, "running": self.running,
        }  # fmt: skip
        self.keeper.save({k: v.detach().contiguous().clone() for k, v in tensors.items()}, meta)

    def _resume(self) -> bool:
        kept = None if self.keeper is None else self.keeper.load()
        if kept is None:
            return False
        tensors, meta = kept
        parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "adam": {}}
        for name, value in tensors.items():
            head, _, rest = name.partition(".")
            if head in parts:
                parts[head][rest] = value
        self._restore(parts["now"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["adam"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.starts, self.carried = tensors["starts"], tensors["carried"]
        self.step, self.position = meta["step"], meta["position"]
        self.next_validation = meta["next_validation"]
        self.seconds, self.history, self.running = meta["seconds"], meta["history"], meta["running"]
        if meta["best"] is not None:
            self.best = (meta["best"][0], meta["best"][1], parts["best"])
        return True
