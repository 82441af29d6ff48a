"""The numbers of states and of neurons, chosen by short trainings on the validation tails.

Singular values and validation choose the order of the linear model (see `order`); what it cannot show, states that only
nonlinearities excite and the number of neurons, trials of the model itself must show. Every trial of a curve begins at
the linear model and has the same number of updates, so that the curve compares sizes and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from eqnets.identification.data import Data
from eqnets.identification.order import Linear, linear_models
from eqnets.identification.plan import Plan
from eqnets.identification.progress import Progress, part_of
from eqnets.identification.schedule import Keeper, Lengths
from eqnets.identification.streams import Streams
from eqnets.identification.train import train

MORE = (0, 2, 4)
"""States beyond the linear model's that are tried on long records."""
TRIAL = 0.1
"""A trial's share of the updates of a start."""
_WIDTHS = (0.25, 0.5, 1.0, 2.0)
"""Numbers of neurons that are tried, as shares of the usual one."""
CLOSE = 1.02
"""The least number of neurons within this factor of the best trial is taken."""

Curve = list[dict[str, Any]]


def widths(usual: int) -> tuple[int, ...]:
    """The numbers of neurons to try, rising."""
    return tuple(max(1, round(share * usual)) for share in _WIDTHS)


def cost_of_states(plan: Plan) -> float:
    """What the trials of `choose_states` cost, in trainings of full length."""
    return TRIAL * len(MORE) if plan.grows else 0.0


def cost_of_neurons(plan: Plan) -> float:
    """What those of `choose_neurons` cost, in trainings with plan.nv neurons: time goes with their number."""
    return TRIAL * sum(plan.widths) / plan.nv if plan.widths else 0.0


def choose_states(
    heads: Data, streams: Streams, check: Streams, plan: Plan, steps: int, linear: Linear, later: float,
    progress: Progress | None, keeper: Keeper | None,
) -> tuple[Linear, Curve]:  # fmt: skip
    """The linear model of the order with which a short training gets furthest on the validation tails, and the curve.

    The best linear model can have too few states: what nonlinearities hide from it, a nonlinear model may show.

    Args:
        heads: the normalised training parts.
        streams: of them.
        check: the validation streams.
        plan: what was asked for.
        steps: first-order updates of a start; a trial has a tenth.
        linear: the best linear model.
        later: the work that comes after these trials, in trainings of full length.
        progress: called with events, or None.
        keeper: of checkpoints, or None.

    Returns:
        The linear model, and one row a trial: nx, val_rmse.
    """
    orders = [linear.lti.nx + more for more in MORE]
    starts = linear_models(heads, check, orders, plan.random())
    curve = []
    for k, start in enumerate(starts):
        told = part_of(progress, TRIAL, later + TRIAL * (len(starts) - 1 - k), f"trial with {start.lti.nx} states")
        error = _trial(start, streams, check, plan, steps, told, _part(keeper, f"order-{start.lti.nx}"))
        curve.append({"nx": start.lti.nx, "val_rmse": error})
    return starts[min(range(len(starts)), key=lambda i: curve[i]["val_rmse"])], curve


def cost_of_units(plan: Plan) -> float:
    """What those of `choose_units` cost, in trainings of full length."""
    return 2 * TRIAL if plan.in_units is None else 0.0


def choose_units(
    start: Linear, streams: Streams, check: Streams, plan: Plan, steps: int, later: float,
    progress: Progress | None, keeper: Keeper | None,
) -> tuple[Plan, Curve]:  # fmt: skip
    """Whether every parameter is to move by its own unit or all of them alike: what gets further in a short training.

    Units keep slow modes and small multipliers from being undone by the first updates; where modes are fast and errors
    can become small, moving alike gets further.

    Args:
        start: the linear model to begin at.
        streams: the training streams.
        check: the validation streams.
        plan: what was asked for.
        steps: first-order updates of a start; a trial has a tenth.
        later: the work that comes after these trials, in trainings of full length.
        progress: called with events, or None.
        keeper: of checkpoints, or None.

    Returns:
        The plan with that settled, and one row a trial: in_units, val_rmse.
    """
    curve = []
    for k, (name, in_units) in enumerate((("alike", False), ("units", True))):
        told = part_of(progress, TRIAL, later + TRIAL * (1 - k), f"trial with steps {'in ' * in_units}{name}")
        error = _trial(start, streams, check, replace(plan, in_units=in_units), steps, told, _part(keeper, name))
        curve.append({"in_units": in_units, "val_rmse": error})
    return replace(plan, in_units=curve[1]["val_rmse"] < curve[0]["val_rmse"]), curve


def choose_neurons(
    start: Linear, streams: Streams, check: Streams, plan: Plan, steps: int, later: float,
    progress: Progress | None, keeper: Keeper | None,
) -> tuple[Plan, Curve]:  # fmt: skip
    """The least number of neurons that is within 2 % of the best on the validation tails after a short training.

    Args:
        start: the linear model to begin at.
        streams: the training streams.
        check: the validation streams.
        plan: what was asked for, with the widths to try.
        steps: first-order updates of a start; a trial has a tenth.
        later: the work that comes after these trials, in trainings with plan.nv neurons.
        progress: called with events, or None.
        keeper: of checkpoints, or None.

    Returns:
        The plan with its number of neurons settled, and one row a trial: nv, val_rmse.
    """
    curve = []
    for k, nv in enumerate(plan.widths):
        ahead = later + TRIAL * sum(plan.widths[k + 1 :]) / plan.nv
        told = part_of(progress, TRIAL * nv / plan.nv, ahead, f"trial with {nv} neurons")
        error = _trial(start, streams, check, replace(plan, nv=nv), steps, told, _part(keeper, f"neurons-{nv}"))
        curve.append({"nv": nv, "val_rmse": error})
    best = min(row["val_rmse"] for row in curve)
    chosen = next((row["nv"] for row in curve if row["val_rmse"] <= CLOSE * best), plan.nv)
    return replace(plan, nv=chosen, widths=()), curve


def _trial(
    start: Linear, streams: Streams, check: Streams, plan: Plan, steps: int, progress: Progress | None,
    keeper: Keeper | None,
) -> float:  # fmt: skip
    """The validation error after a short training."""
    model, x0, _ = plan.begin(start, plan.seed)
    return train(model, streams, check, x0, plan.schedule(Lengths(math.ceil(TRIAL * steps))), progress, keeper).val_rmse


def _part(keeper: Keeper | None, name: str) -> Keeper | None:
    return None if keeper is None else keeper.part(name)
