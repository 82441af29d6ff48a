"""Train from several random starts within one time budget, choose one on the validation tails, and refit it.

The budget is turned into numbers of steps once, before the first start is trained, and the checkpoint keeps them: a
resumed run follows them, however fast the machine is by then.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eqnets.identification.data import Data
from eqnets.identification.guarantee import Promise
from eqnets.identification.kinds import KINDS, begin
from eqnets.identification.normaliser import Normaliser
from eqnets.identification.order import Linear, choose_linear, linear_models
from eqnets.identification.pace import divided, measure
from eqnets.identification.parallel import spread
from eqnets.identification.progress import Progress, tell
from eqnets.identification.schedule import Keeper, Schedule, Training
from eqnets.identification.streams import Streams, training_streams, validation_streams
from eqnets.identification.train import train

_WASHOUT = 2048
_LONG, _WHOLE, _CUT = (64, 2048), (1, 2048), (8, 128)
"""About how many streams, and their least length: of long records, of short ones, of short ones for slow rollouts."""
_SEGMENT = {False: 2048, True: 256}
_MORE, _TRIAL = (0, 2, 4), 0.1
"""States beyond the linear model's that are tried on long records, and a trial's share of the updates of a start."""
_RESERVE = 0.05
"""The share of the time that is left for the certificate."""


@dataclass(frozen=True)
class Plan:
    """What `identify` asks of the search; the arguments of the same names, settled.

    Args:
        model: a key of `kinds.KINDS`.
        guarantee: in physical units, or "none".
        normaliser: of the signals.
        nx: number of states, or None.
        nv: number of neurons.
        activation: a name.
        seed: of the first start; each further one adds 1.
        restarts: how many starts.
        refit: whether to train the chosen one again on everything.
        deadline: by `time.monotonic`.
        steps: of every start, a share of them of second order; None for the deadline.
        learning_rate: of Adam.
        long: whether the records count as long.
        workers: how many processes share the starts.
        warm: a trained network and its initial states to begin at, or None; see `kinds.begin`.
    """

    model: str
    guarantee: Promise
    normaliser: Normaliser
    nx: int | None
    nv: int
    activation: str
    seed: int
    restarts: int
    refit: bool
    deadline: float
    steps: int | None
    learning_rate: float
    long: bool
    workers: int = 1
    warm: tuple[nn.Module, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """What the search leaves.

    Args:
        model: the chosen module.
        training: of the chosen module.
        linear: the linear model that its scores are held against.
        trained_on: the normalised records that it was trained on.
        val_rmse: the validation error that chose it (normalised).
        tried: one row a start.
        steps: the first-order updates and second-order blocks that every start had.
        curve: one row an order that was tried: nx, and the validation error after a short training.
        notes: what a user must read.
    """

    model: Any
    training: Training
    linear: Linear
    trained_on: Data
    val_rmse: float
    tried: list[dict[str, Any]]
    steps: tuple[int, int]
    curve: list[dict[str, Any]]
    notes: list[str]


@dataclass(frozen=True, eq=False)
class _Candidate:
    model: Any
    training: Training
    order: int
    seed: int
    val_rmse: float
    notes: list[str]


def search(normal: Data, ends: list[int], plan: Plan, progress: Progress | None, keeper: Keeper | None) -> Found:
    """Choose the linear model, train every start from it, take the best on the validation tails, and refit it if asked.

    Args:
        normal: the normalised records.
        ends: where the training part of every record stops.
        plan: what was asked for.
        progress: called with events, or None.
        keeper: of checkpoints, or None.

    Returns:
        The chosen model with its history.
    """
    tell(progress, phase="linear start")
    heads = replace(normal, records=tuple(r.cut(0, end) for r, end in zip(normal.records, ends, strict=True)))
    check = _check(normal, ends)
    linear = choose_linear(heads, check, plan.nx, _random(plan))
    streams = _streams(normal, ends, plan)
    steps = _steps(linear, streams, check, plan, keeper)
    if _grows(plan):
        tell(progress, phase="number of states")
    first, curve = (linear, []) if not _grows(plan) else _grown(heads, streams, check, plan, steps, linear, keeper)
    orders = [first.lti.nx + (k % 3 if _varies(plan) else 0) for k in range(plan.restarts)]
    more = {n: linear_models(heads, check, [n], _random(plan))[0] for n in sorted({*orders} - {first.lti.nx})}
    begun = [more.get(order, first) for order in orders]
    if plan.workers > 1 and plan.restarts > 1:
        tell(progress, phase=f"training in {min(plan.workers, plan.restarts)} processes")
        jobs = [_Job(normal, ends, plan, start, k, steps, keeper) for k, start in enumerate(begun)]
        candidates = [_returned(*pair, plan) for pair in zip(jobs, spread(_elsewhere, jobs, plan.workers), strict=True)]
    else:
        candidates = []
        for k, start in enumerate(begun):
            part = None if keeper is None else keeper.part(k)
            candidates.append(_start(start, streams, check, plan, k, steps, _among(progress, k, plan), part))
    best = min(candidates, key=lambda c: c.val_rmse)
    tried = [
        {"nx": c.training.x0.shape[1], "seed": c.seed, "steps": c.training.steps, "best_step": c.training.best_step,
         "best_block": c.training.best_block, "val_rmse": c.val_rmse, "seconds": c.training.seconds} for c in candidates
    ]  # fmt: skip
    if not plan.refit:
        return Found(best.model, best.training, linear, heads, best.val_rmse, tried, steps, curve, best.notes)
    found = _refit(normal, best, linear, plan, tried, steps, progress, keeper)
    return replace(found, curve=curve)


def _start(
    start: Linear, streams: Streams, check: Streams, plan: Plan, k: int, steps: tuple[int, int],
    progress: Progress | None, keeper: Keeper | None,
) -> _Candidate:  # fmt: skip
    """Train the k-th start."""
    model, x0, notes = _begin(start, plan, plan.seed + k)
    training = train(model, streams, check, x0, _schedule(plan, steps), progress, keeper)
    return _Candidate(model, training, start.lti.nx, plan.seed + k, training.val_rmse, notes)


@dataclass(frozen=True, eq=False)
class _Job:
    """One start, as another process takes it."""

    normal: Data
    ends: list[int]
    plan: Plan
    start: Linear
    k: int
    steps: tuple[int, int]
    keeper: Keeper | None


def _elsewhere(job: _Job) -> tuple[dict[str, np.ndarray], Training]:
    """Train a start in this process, and give its parameters and its history back."""
    check = _check(job.normal, job.ends)
    part = None if job.keeper is None else job.keeper.part(job.k)
    streams = _streams(job.normal, job.ends, job.plan)
    found = _start(job.start, streams, check, job.plan, job.k, job.steps, None, part)
    return {name: value.numpy() for name, value in found.model.state_dict().items()}, found.training


def _returned(job: _Job, result: tuple[dict[str, np.ndarray], Training], plan: Plan) -> _Candidate:
    """The candidate that another process trained."""
    state, training = result
    model, _, notes = _begin(job.start, plan, plan.seed + job.k)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return _Candidate(model, training, job.start.lti.nx, plan.seed + job.k, training.val_rmse, notes)


def _check(normal: Data, ends: list[int]) -> Streams:
    return validation_streams(normal, ends, _WASHOUT, min(_WASHOUT, max(normal.lengths)))


def _random(plan: Plan) -> torch.Generator:
    return torch.Generator().manual_seed(plan.seed)


def _varies(plan: Plan) -> bool:
    """Whether starts have more states than the best linear model, for what it cannot show."""
    return plan.nx is None and KINDS[plan.model].states


def _grows(plan: Plan) -> bool:
    kind = KINDS[plan.model]
    return plan.long and plan.nx is None and plan.warm is None and kind.states and kind.neurons


def _grown(
    heads: Data, streams: Streams, check: Streams, plan: Plan, steps: tuple[int, int], linear: Linear,
    keeper: Keeper | None,
) -> tuple[Linear, list[dict[str, Any]]]:  # fmt: skip
    """The linear model of the order with which a short training gets furthest on the validation tails, and the curve.

    The best linear model can have too few states: what nonlinearities hide from it, a nonlinear model may show.
    """  # noqa: DOC201
    orders = [linear.lti.nx + more for more in _MORE]
    starts = linear_models(heads, check, orders, _random(plan))
    schedule = _schedule(plan, (math.ceil(_TRIAL * steps[0]), 0))
    curve = []
    for start in starts:
        model, x0, _ = _begin(start, plan, plan.seed)
        part = None if keeper is None else keeper.part(f"order-{start.lti.nx}")
        error = train(model, streams, check, x0, schedule, None, part).val_rmse
        curve.append({"nx": start.lti.nx, "val_rmse": error})
    return starts[min(range(len(starts)), key=lambda i: curve[i]["val_rmse"])], curve


def _steps(linear: Linear, streams: Streams, check: Streams, plan: Plan, keeper: Keeper | None) -> tuple[int, int]:
    """First-order updates and second-order blocks of every start: as asked, as stored, or measured and stored.

    Short records have no second-order finish: their tails are too short to say when it begins to fit the noise.
    """  # noqa: DOC201
    if plan.steps is not None:
        return divided(plan.steps) if plan.long else (plan.steps, 0)
    kept = None if keeper is None else keeper.load()
    if kept is not None:
        return kept[1]["steps"], kept[1]["blocks"]
    left = (1 - _RESERVE) * max(plan.deadline - time.monotonic(), 0.0)
    rounds = math.ceil(plan.restarts / plan.workers)
    seconds = left / (rounds + (1 if plan.refit else 0) + (_TRIAL * len(_MORE) if _grows(plan) else 0))
    model, x0, _ = _begin(linear, plan, plan.seed)
    pace = measure(model, streams, check, x0, _schedule(plan, (1, 0)), seconds)
    steps, blocks = pace.steps(seconds, finish=plan.long)
    if keeper is not None:
        keeper.save({}, {"steps": steps, "blocks": blocks})
    return steps, blocks


def _refit(
    normal: Data, best: _Candidate, linear: Linear, plan: Plan, tried: list[dict[str, Any]], steps: tuple[int, int],
    progress: Progress | None, keeper: Keeper | None,
) -> Found:  # fmt: skip
    """The chosen start once more, on heads and tails, for the number of steps that was best; the linear model too."""
    whole = list(normal.lengths)
    orders = sorted({linear.lti.nx, best.order})
    check = validation_streams(normal, [0] * len(whole), 0, max(whole))  # only to hold the linear models against
    refitted = {model.lti.nx: model for model in linear_models(normal, check, orders, _random(plan))}
    start = refitted[best.order]
    model, x0, notes = _begin(start, plan, best.seed)
    schedule = replace(_schedule(plan, steps), stop=best.training.best_step, finish=best.training.best_block)
    part = None if keeper is None else keeper.part(plan.restarts)
    told = None if progress is None else _again(progress)
    training = train(model, _streams(normal, whole, plan), None, x0, schedule, told, part)
    training.history = best.training.history
    chosen = replace(refitted[linear.lti.nx], val_rmse=linear.val_rmse)
    return Found(model, training, chosen, normal, best.val_rmse, tried, steps, [], notes)


def _begin(start: Linear, plan: Plan, seed: int) -> tuple[nn.Module, Tensor, list[str]]:
    return begin(plan.model, plan.guarantee, plan.normaliser, start, plan.nv, plan.activation, seed, plan.warm)


def _streams(normal: Data, ends: list[int], plan: Plan) -> Streams:
    most, shortest = _LONG if plan.long else _WHOLE if KINDS[plan.model].fused else _CUT
    return training_streams(normal, ends, most, shortest)


def _schedule(plan: Plan, steps: tuple[int, int]) -> Schedule:
    return Schedule(
        steps=steps[0], finish=steps[1], segment=_SEGMENT[plan.long], learning_rate=plan.learning_rate,
        dtype=torch.float32 if plan.long else torch.float64,
    )  # fmt: skip


def _among(progress: Progress | None, k: int, plan: Plan) -> Progress | None:
    """Events of one start among several: the time to come counts the starts to come."""
    if progress is None:
        return None

    def relay(event: dict[str, Any]) -> None:
        whole = event["seconds"] + event["eta_seconds"]
        eta = event["eta_seconds"] + whole * (plan.restarts - 1 - k)
        progress({**event, "eta_seconds": max(0.0, eta), "restart": k + 1, "restarts": plan.restarts})

    return relay


def _again(progress: Progress) -> Progress:
    """Events of the refit, under their own name."""
    return lambda event: progress({**event, "phase": "refit"})
