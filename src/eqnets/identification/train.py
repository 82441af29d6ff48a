"""Train a model on its simulation error: truncated back-propagation over carried states, Adam, validated, resumable."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from eqnets.errors import NotConverged
from eqnets.identification.dynamics import roll
from eqnets.identification.progress import Progress, tell
from eqnets.identification.streams import Streams
from eqnets.models import BlackBox
from eqnets.system.lfr import LFR


class Keeper(Protocol):
    """Where checkpoints go."""

    def save(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Store a checkpoint, atomically."""
        ...

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint, or None."""
        ...

    def part(self, k: int) -> Keeper:
        """The keeper of the k-th of several runs."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Args:
        minutes: the time to spend; the learning rate falls with the clock.
        steps: the number of steps; if given, training is the same on every run and `minutes` is not used.
        stop: the step after which to stop all the same, the learning rate still falling as for `steps`.
        learning_rate: of Adam, at its height; it rises over the first steps and falls along a cosine.
        segment: the number of samples between two updates.
        dtype: of the simulation during training.
        checkpoint_seconds: how often a checkpoint is stored.
    """

    minutes: float = 5.0
    steps: int | None = None
    stop: int | None = None
    learning_rate: float = 3e-3
    segment: int = 512
    dtype: torch.dtype = torch.float64
    checkpoint_seconds: float = 30.0


@dataclass
class Training:
    """What training leaves behind.

    Args:
        x0: (record, nx) the trained initial states.
        history: one row a validation: step, seconds, train_rmse and val_rmse (normalised, all outputs), learning_rate.
        best_step: the step whose parameters the model now has.
        best_done: the share of the schedule that was behind it.
        steps: the number of steps of the schedule.
        seconds: the time spent training.
    """

    x0: Tensor
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_done: float = 0.0
    steps: int = 0
    seconds: float = 0.0


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
    return _Run(model, streams.to(schedule.dtype), validation, x0, schedule, progress, keeper).run()


class _Run:
    def __init__(
        self, model: nn.Module, streams: Streams, validation: Streams | None, x0: Tensor, schedule: Schedule,
        progress: Progress | None, keeper: Keeper | None,
    ) -> None:  # fmt: skip
        self.model, self.streams, self.schedule = model, streams, schedule
        self.validation = None if validation is None else validation.to(schedule.dtype)
        self.progress, self.keeper = progress, keeper
        self.x0 = nn.Parameter(x0.detach().clone())
        self.optimiser = torch.optim.Adam([*model.parameters(), self.x0], lr=schedule.learning_rate)
        self.starts = torch.zeros(len(streams), x0.shape[1], dtype=schedule.dtype)
        self.carried = self.starts.clone()
        self.step, self.position, self.seconds = 0, 0, 0.0
        self.budget = 60 * schedule.minutes
        self.next_validation, self.best_done = 10, 0.0
        self.best: tuple[float, int, dict[str, Tensor]] | None = None
        self.history: list[dict[str, float]] = []
        self.running: list[float] = []
        self.segments = max(1, math.ceil(streams.length / schedule.segment))
        self.cost_of_validation = 0.0

    # the loop ---------------------------------------------------------------------------------------------------------

    def run(self) -> Training:
        if not self._resume():
            self._first_pass()
            self._validate()
        elif self._due() and self.history[-1]["step"] != self.step:  # interrupted between an update and its validation
            self._validate()
        clock = saved = time.monotonic()
        try:
            while self._done() < 1 and self.step != self.schedule.stop and not self._hopeless():
                self._update()
                now = time.monotonic()
                self.seconds, clock = self.seconds + now - clock, now
                if self._due():
                    self._validate()
                if self.keeper is not None and now - saved > self.schedule.checkpoint_seconds:
                    self._keep()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if self.keeper is not None:
                self._keep()
            raise
        if self.keeper is not None:
            self._keep()
        if self.best is not None:
            self._restore(self.best[2])
        best_step = self.best[1] if self.best is not None else self.step
        return Training(self.x0.detach().clone(), self.history, best_step, self.best_done, self.step, self.seconds)

    def _done(self) -> float:
        """The share of the schedule that is behind us, by steps where they are given and by the clock otherwise."""
        if self.schedule.steps is not None:
            return 1.0 if self.schedule.steps == 0 else self.step / self.schedule.steps
        return self.seconds / self.budget

    def _due(self) -> bool:
        return self.step >= self.next_validation or self._done() >= 1

    def _hopeless(self) -> bool:
        """Early stopping: no better validation for two fifths of the schedule, and for a hundred steps."""
        return self.best is not None and self._done() - self.best_done > 0.4 and self.step - self.best[1] > 100

    def _every(self) -> int:
        """Steps between validations: a hundredth of the schedule, but validation takes at most a tenth of the time.

        Where steps are given the clock has no say, so that a run is the same every time: a step simulates forwards and
        backwards, about three times the work a sample of a validation.
        """  # noqa: DOC201
        if self.schedule.steps is not None:
            validated = 0 if self.validation is None else self.validation.weight.numel()
            trained = 3 * len(self.streams) * min(self.schedule.segment, self.streams.length)
            return max(1, math.ceil(max(10 * validated / trained, self.schedule.steps / 100)))
        per_step = self.seconds / max(self.step, 1)
        cheap = 10 * self.cost_of_validation / max(per_step, 1e-9)
        return max(1, math.ceil(max(cheap, self.budget / max(per_step, 1e-9) / 100)))

    def _rate(self) -> float:
        warmup = min(1.0, (self.step + 1) / 20)
        return (
            self.schedule.learning_rate
            * warmup
            * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, self._done()))))
        )

    def _update(self) -> None:
        if self.position == 0:
            self.carried = self._initial_states(self.streams, self.starts)
        segment = slice(self.position * self.schedule.segment, (self.position + 1) * self.schedule.segment)
        weight = self.streams.weight[:, segment, None]
        x = self.carried if self.position == 0 else self.carried.detach()
        y, last = roll(self._system(), self.streams.u[:, segment], x)
        loss = (weight * (y - self.streams.y[:, segment])).square().sum() / (weight.sum() * y.shape[-1]).clamp(min=1)
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_([*self.model.parameters(), self.x0], 1.0)
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
            self._take_over()
        self._report("train", self.running[-1])

    def _system(self) -> LFR | BlackBox:
        """What is simulated: the LFR that the parameters stand for now, or the model itself where there is none."""
        if isinstance(self.model, BlackBox):
            return self.model
        return self.model.explicit().to(self.schedule.dtype)  # type: ignore[operator]

    # states -----------------------------------------------------------------------------------------------------------

    def _initial_states(self, streams: Streams, carried: Tensor) -> Tensor:
        own = self.x0.to(self.schedule.dtype)[streams.record]
        return torch.where((streams.before < 0)[:, None], own, carried)

    def _take_over(self) -> None:
        """A stream's end is its successor's start in the next pass."""
        follows = self.streams.before >= 0
        self.starts[follows] = self.carried[self.streams.before[follows]]

    def _first_pass(self) -> None:
        if bool((self.streams.before >= 0).any()):
            with torch.no_grad():
                _, self.carried = roll(self._system(), self.streams.u, self._initial_states(self.streams, self.starts))
                self.carried = torch.nan_to_num(self.carried, 0.0, 0.0, 0.0)
            self._take_over()

    # validation -------------------------------------------------------------------------------------------------------

    def _validate(self) -> None:
        began = time.monotonic()
        train_rmse = math.sqrt(sum(self.running) / len(self.running)) if self.running else math.nan
        self.running = []
        val_rmse = math.nan
        if self.validation is not None:
            val_rmse = validation_rmse(self._system(), self.validation, self.x0.detach())
        if self.validation is not None and (self.best is None or val_rmse < self.best[0]):
            self.best, self.best_done = (val_rmse, self.step, self._snapshot()), self._done()
        self.cost_of_validation = time.monotonic() - began
        self.next_validation = self.step + self._every() if self.step >= 10 else 10
        row = {"step": self.step, "seconds": self.seconds, "train_rmse": train_rmse, "val_rmse": val_rmse}
        self.history.append({**row, "learning_rate": self._rate()})
        self._report("validate", None)

    def _snapshot(self) -> dict[str, Tensor]:
        return {**copy.deepcopy(self.model.state_dict()), "training.x0": self.x0.detach().clone()}

    def _restore(self, snapshot: dict[str, Tensor]) -> None:
        self.model.load_state_dict({k: v for k, v in snapshot.items() if k != "training.x0"})
        self.x0.data.copy_(snapshot["training.x0"])

    def _report(self, phase: str, loss: float | None) -> None:
        whole = self.budget
        if self.schedule.steps is not None:
            last_step = self.schedule.steps if self.schedule.stop is None else self.schedule.stop
            whole = last_step * self.seconds / max(self.step, 1)
        tell(
            self.progress, phase=phase, step=self.step, steps=self.schedule.steps, seconds=self.seconds,
            eta_seconds=max(0.0, whole - self.seconds), train_loss=loss,
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
            "best": None if self.best is None else [self.best[0], self.best[1]], "best_done": self.best_done,
            "next_validation": self.next_validation, "budget": self.budget,
            "history": self.history, "running": self.running, "cost_of_validation": self.cost_of_validation,
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
        self.best_done, self.next_validation = meta["best_done"], meta["next_validation"]
        self.budget = meta["budget"]
        self.seconds, self.history, self.running = meta["seconds"], meta["history"], meta["running"]
        self.cost_of_validation = meta["cost_of_validation"]
        if meta["best"] is not None:
            self.best = (meta["best"][0], meta["best"][1], parts["best"])
        return True


def validation_rmse(system: LFR | BlackBox, streams: Streams, x0: Tensor) -> float:
    """The root mean square simulation error over the samples that count, all outputs together.

    Args:
        system: the model, an LFR in the streams' dtype.
        streams: validation streams.
        x0: (record, nx) the initial states of those streams that begin where their record does.

    Returns:
        The error in the streams' (normalised) units; inf where the simulation is not finite.
    """
    start = torch.where(streams.warm[:, None], x0.to(streams.u.dtype)[streams.record], 0.0)
    with torch.no_grad():
        y, _ = roll(system, streams.u, start)
        weight = streams.weight[:, :, None]
        error = (weight * (y - streams.y)).double().square().sum() / (streams.weight.double().sum() * y.shape[-1])
    value = float(error.sqrt())
    return value if math.isfinite(value) else math.inf
