"""Train from several random starts within one time budget, choose one on the validation tails, and refit it.

The budget is turned into numbers of steps once, before the first start is trained, and the checkpoint keeps them: a
resumed run follows them, however fast the machine is by then. Only the second-order finish may be cut short when the
updates took longer than planned; that is decided once, before it begins, and kept likewise.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from eqnets.identification.data import Data
from eqnets.identification.order import Linear, choose_linear, linear_models
from eqnets.identification.pace import divided, measure
from eqnets.identification.parallel import spread
from eqnets.identification.plan import Plan
from eqnets.identification.progress import Progress, part_of, tell
from eqnets.identification.schedule import Keeper, Lengths, Training
from eqnets.identification.size import (
    Curve,
    choose_neurons,
    choose_states,
    choose_units,
    cost_of_neurons,
    cost_of_states,
    cost_of_units,
)
from eqnets.identification.streams import Streams, validation_streams
from eqnets.identification.train import train

_WASHOUT = 2048
_AMPLE = 5
"""Measured values a free parameter from which on shorter records have a second-order finish too."""
_RESERVE = 0.05
"""The share of the time that is left for the certificate."""
_SHORTENED = (
    "The machine was slower than when the time was planned, so the second-order finish was cut short; more minutes, or "
    "steps in their place, give a better model."
)


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
        nv: the number of neurons.
        curves: by "unit_curve", "order_curve" and "neuron_curve", one row a trial: in_units, nx or nv, and the
            validation error after a short training.
        notes: what a user must read.
    """

    model: Any
    training: Training
    linear: Linear
    trained_on: Data
    val_rmse: float
    tried: list[dict[str, Any]]
    steps: Lengths
    nv: int
    curves: dict[str, Curve]
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
    linear = choose_linear(heads, check, plan.nx, plan.random())
    streams = plan.streams(normal, ends)
    steps = _steps(linear, streams, check, plan, keeper)
    first, curves = linear, {}
    if plan.in_units is None:
        later = _rounds(plan) + cost_of_states(plan) + cost_of_neurons(plan)
        plan, curves["unit_curve"] = choose_units(linear, streams, check, plan, steps.steps, later, progress, keeper)
    if plan.grows:
        first, curves["order_curve"] = choose_states(
            heads, streams, check, plan, steps.steps, linear, _rounds(plan) + cost_of_neurons(plan),
            progress, keeper,
        )  # fmt: skip
    if plan.widths:
        plan, curves["neuron_curve"] = choose_neurons(
            first, streams, check, plan, steps.steps, _rounds(plan), progress, keeper
        )
        steps = _steps(first, streams, check, plan, None if keeper is None else keeper.part("sized"))
    orders = [first.lti.nx + (k % 3 if plan.varies else 0) for k in range(plan.restarts)]
    more = {n: linear_models(heads, check, [n], plan.random())[0] for n in sorted({*orders} - {first.lti.nx})}
    begun = [more.get(order, first) for order in orders]
    if plan.workers > 1 and plan.restarts > 1:
        tell(progress, phase=f"training in {min(plan.workers, plan.restarts)} processes")
        jobs = [_Job(normal, ends, plan, start, k, steps, keeper) for k, start in enumerate(begun)]
        candidates = [_returned(*pair, plan) for pair in zip(jobs, spread(_elsewhere, jobs, plan.workers), strict=True)]
    else:
        candidates = []
        for k, start in enumerate(begun):
            part = None if keeper is None else keeper.part(k)
            told = part_of(progress, 1, _rounds(plan) - 1 - k, restart=k + 1, restarts=plan.restarts)
            candidates.append(_start(start, streams, check, plan, k, steps, told, part))
    best = min(candidates, key=lambda c: c.val_rmse)
    tried = [
        {"nx": c.training.x0.shape[1], "seed": c.seed, "steps": c.training.steps, "best_step": c.training.best_step,
         "best_block": c.training.best_block, "val_rmse": c.val_rmse, "seconds": c.training.seconds} for c in candidates
    ]  # fmt: skip
    notes = best.notes + [_SHORTENED] * best.training.shortened
    found = Found(best.model, best.training, linear, heads, best.val_rmse, tried, steps, plan.nv, curves, notes)
    return _refit(normal, best, found, plan, progress, keeper) if plan.refit else found


def _start(
    start: Linear, streams: Streams, check: Streams, plan: Plan, k: int, steps: Lengths,
    progress: Progress | None, keeper: Keeper | None,
) -> _Candidate:  # fmt: skip
    """Train the k-th start."""
    model, x0, notes = plan.begin(start, plan.seed + k)
    training = train(model, streams, check, x0, plan.schedule(steps), progress, keeper)
    return _Candidate(model, training, start.lti.nx, plan.seed + k, training.val_rmse, notes)


@dataclass(frozen=True, eq=False)
class _Job:
    """One start, as another process takes it."""

    normal: Data
    ends: list[int]
    plan: Plan
    start: Linear
    k: int
    steps: Lengths
    keeper: Keeper | None


def _elsewhere(job: _Job) -> tuple[dict[str, np.ndarray], Training]:
    """Train a start in this process, and give its parameters and its history back."""
    check = _check(job.normal, job.ends)
    part = None if job.keeper is None else job.keeper.part(job.k)
    streams = job.plan.streams(job.normal, job.ends)
    found = _start(job.start, streams, check, job.plan, job.k, job.steps, None, part)
    return {name: value.numpy() for name, value in found.model.state_dict().items()}, found.training


def _returned(job: _Job, result: tuple[dict[str, np.ndarray], Training], plan: Plan) -> _Candidate:
    """The candidate that another process trained."""
    state, training = result
    model, _, notes = plan.begin(job.start, plan.seed + job.k)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return _Candidate(model, training, job.start.lti.nx, plan.seed + job.k, training.val_rmse, notes)


def _check(normal: Data, ends: list[int]) -> Streams:
    return validation_streams(normal, ends, _WASHOUT, min(_WASHOUT, max(normal.lengths)))


def _rounds(plan: Plan) -> int:
    """Trainings of full length, one after the other: the starts, as the workers share them, and the refit."""
    return math.ceil(plan.restarts / plan.workers) + (1 if plan.refit else 0)


def _steps(linear: Linear, streams: Streams, check: Streams, plan: Plan, keeper: Keeper | None) -> Lengths:
    """First-order updates and second-order blocks of every start: as asked, as stored, or measured and stored.

    Records with few samples a parameter have no second-order finish unless they are long: their tails are too short to
    say when it begins to fit the noise.
    """  # noqa: DOC201
    kept = None if keeper is None or plan.steps is not None else keeper.load()
    if kept is not None:
        return Lengths(**kept[1])
    model, x0, _ = plan.begin(linear, plan.seed)
    values = float(streams.weight.sum()) * streams.y.shape[2]
    finish = plan.long or values >= _AMPLE * sum(parameter.numel() for parameter in model.parameters())
    if plan.steps is not None:
        return Lengths(*divided(plan.steps)) if finish else Lengths(plan.steps)
    left = (1 - _RESERVE) * max(plan.deadline - time.monotonic(), 0.0)
    seconds = left / (_rounds(plan) + cost_of_units(plan) + cost_of_states(plan) + cost_of_neurons(plan))
    pace = measure(model, streams, check, x0, plan.schedule(Lengths(1)), seconds)
    found = Lengths(*pace.steps(seconds, finish=finish), pace.block / max(pace.update, 1e-9), seconds)
    if keeper is not None:
        keeper.save({}, found._asdict())
    return found


def _refit(
    normal: Data, best: _Candidate, found: Found, plan: Plan, progress: Progress | None, keeper: Keeper | None
) -> Found:
    """The chosen start once more, on heads and tails, for the number of steps that was best; the linear model too."""
    whole, order = list(normal.lengths), found.linear.lti.nx
    check = validation_streams(normal, [0] * len(whole), 0, max(whole))  # only to hold the linear models against
    refitted = {m.lti.nx: m for m in linear_models(normal, check, sorted({order, best.order}), plan.random())}
    model, x0, notes = plan.begin(refitted[best.order], best.seed)
    lengths = found.steps._replace(blocks=best.training.best_block, seconds=None)
    schedule = replace(plan.schedule(lengths), stop=best.training.best_step)
    part = None if keeper is None else keeper.part(plan.restarts)
    told = part_of(progress, 1, 0, "refit")
    training = train(model, plan.streams(normal, whole), None, x0, schedule, told, part)
    training.history = best.training.history
    chosen = replace(refitted[order], val_rmse=found.linear.val_rmse)
    notes += found.notes[len(best.notes) :]
    return replace(found, model=model, training=training, linear=chosen, trained_on=normal, notes=notes)
