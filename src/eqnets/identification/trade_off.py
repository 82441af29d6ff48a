"""The verb `trade_off`: accuracy against the promised gain, along one curve, with linear rows under the same promise.

From the largest gain bound to the smallest: each network begins at the one before, its outputs scaled until it keeps
the smaller bound, so that a point of the curve costs less than a fit of its own. Beside it stand, at every bound, the
same model without neurons, trained in the same way, and the linear start that is only scaled.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eqnets.certification import Contracting, Lipschitz, lower_bound
from eqnets.errors import InputError
from eqnets.identification.data import Data
from eqnets.identification.fit import Fit
from eqnets.identification.identified import Identified
from eqnets.identification.identify import identify
from eqnets.identification.progress import Progress, part_of
from eqnets.identification.readers import read
from eqnets.identification.schedule import Keeper
from eqnets.models import shrink
from eqnets.system.lti import LTI, hinf_norm
from eqnets.system.scale import fold

_FIELDS = ("model", "gamma", "proved", "attained", "nrmse", "rmse", "seconds")


@dataclass(frozen=True)
class TradeRow:
    """One model under one bound.

    Args:
        model: "REN"; "linear, trained" (nv = 0); or "linear, scaled".
        gamma: the promised gain, in the scales of the table; inf promises contraction alone.
        proved: whether a certificate proves the promise; of a scaled linear model the gain is computed, not proved.
        attained: a gain that the model has: found by an attack on a network, the H∞ norm of a linear model.
        nrmse: the mean over outputs.
        rmse: per output, in its unit.
        seconds: that the fit took.
    """

    model: str
    gamma: float
    proved: bool
    attained: float
    nrmse: float
    rmse: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class TradeOff:
    """The curve.

    Args:
        rows: from the largest gamma to the smallest, three for each.
        fits: the networks, by gamma.
        u_scale: (nu,) what gains are measured in, see `Lipschitz`.
        y_scale: (ny,) likewise.
        scored_on: "test records", or "validation tails", which chose the step at which training stopped.
        y_names: of the outputs.
        y_units: of the outputs.
    """

    rows: tuple[TradeRow, ...]
    fits: dict[float, Fit]
    u_scale: tuple[float, ...]
    y_scale: tuple[float, ...]
    scored_on: str
    y_names: tuple[str, ...]
    y_units: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The table, as JSON takes it; an infinite gamma is null."""
        rows = [{name: getattr(row, name) for name in _FIELDS} for row in self.rows]
        for row in rows:
            row["gamma"] = row["gamma"] if math.isfinite(row["gamma"]) else None
        kept = {name: list(getattr(self, name)) for name in ("u_scale", "y_scale", "y_names", "y_units")}
        return {"scored_on": self.scored_on, **kept, "rows": rows}

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the table.

        Args:
            path: its ending, .json or .csv, says how.
            force: whether an existing file may be replaced.

        Returns:
            The path.

        Raises:
            InputError: the ending is another, or the file exists and `force` is not given.
        """
        path = Path(path)
        if path.suffix not in (".json", ".csv"):
            raise InputError(f"'{path}' must end in .json or .csv, which say how the table is written.")
        if path.exists() and not force:
            raise InputError(f"'{path}' exists and is not overwritten; name another file, or give force=True.")
        if path.suffix == ".json":
            path.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
            return path
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*_FIELDS[:5], *(f"rmse {name}" for name in self.y_names), "seconds"])
            for row in self.rows:
                writer.writerow([*(getattr(row, name) for name in _FIELDS[:5]), *row.rmse, row.seconds])
        return path


def trade_off(
    data: Data | Sequence[tuple[np.ndarray, np.ndarray]],
    gammas: Sequence[float],
    *,
    test: Data | None = None,
    n_init: int = 50,
    u_scale: Sequence[float] | None = None,
    y_scale: Sequence[float] | None = None,
    nx: int | None = None,
    nv: int | str | None = None,
    minutes: float = 10.0,
    steps: int | None = None,
    seed: int = 0,
    activation: str | None = None,
    learning_rate: float | None = None,
    val: float = 0.2,
    dt: float | None = None,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
) -> TradeOff:
    """Fit a model under each of several gain bounds, warm-started along the curve, and score them in one table.

    Args:
        data: the training records, as for `identify`.
        gammas: the bounds; inf stands for contraction alone, which begins anew, without a bound to scale.
        test: records that training has not seen; None scores the validation tails.
        n_init: how many first outputs may set the initial state; they are not scored.
        u_scale: (nu,) what gains are measured in, in the units of u; None is 1 (and then inputs of one unit).
        y_scale: (ny,) likewise.
        nx: as for `identify`.
        nv: as for `identify`; what "auto" chooses under the largest bound holds for all.
        minutes: time to spend in all, three quarters of it on networks.
        steps: number of updates of every model instead.
        seed: of every random choice.
        activation: as for `identify`.
        learning_rate: as for `identify`.
        val: the share of every record that is its validation tail.
        dt: the sample time in seconds, for pairs of arrays.
        progress: called with events, with `gamma` and `model` beside what `identify` tells, and the time to come
            of the whole curve.
        keeper: stores and gives checkpoints, those of every fit by itself: what was trained is not trained again.

    Returns:
        The table, and the fits.

    Raises:
        InputError: no gamma, one that is not positive, one that is there twice, or an option of `identify` that is
            out of range.
    """
    bounds = sorted((float(gamma) for gamma in gammas), reverse=True)
    if not bounds or not bounds[-1] > 0 or len(set(bounds)) < len(bounds):
        raise InputError(f"gammas must be different positive numbers, inf among them if you like; got {list(gammas)}.")
    if not isinstance(data, Data):
        data = read(data, dt=dt)
    asked = [None if scale is None else tuple(float(v) for v in scale) for scale in (u_scale, y_scale)]
    scales = [scale or (1.0,) * n for scale, n in zip(asked, (data.nu, data.ny), strict=True)]
    tails = data.split(val)[1] if test is None else test
    options: dict[str, Any] = {
        "nx": nx, "steps": steps, "seed": seed, "learning_rate": learning_rate, "val": val, "restarts": 1,
        "refit": False,
    }  # fmt: skip
    kinds = {"REN": ("ren", 0.75), "linear, trained": ("linear", 0.25)}
    rows: list[TradeRow] = []
    fits: dict[float, Fit] = {}
    warm: dict[str, Fit] = {}
    if keeper is not None:
        keeper.begin()
    for k, gamma in enumerate(bounds):
        guarantee = Contracting() if math.isinf(gamma) else Lipschitz(gamma, *asked)
        seen = Lipschitz(1.0, *asked)  # the attack does not look at its number
        later = float(len(bounds) - k)
        for name, (model, share) in kinds.items():
            later -= share
            part = None if keeper is None else keeper.part(f"{gamma:g}-{model}")
            more = {"nv": nv, "activation": activation} if model == "ren" else {}
            fit = identify(
                data, guarantee, model=model, minutes=share * minutes / len(bounds), warm=warm.get(name),
                progress=part_of(progress, share, later, gamma=gamma, model=name), keeper=part, **options, **more,
            )  # fmt: skip
            if math.isfinite(gamma):
                warm[name] = fit
            if name == "REN":
                fits[gamma], nv = fit, fit.settings["nv"]
                attained = lower_bound(seen, fit.lfr, time=60, tries=4, steps=60).attained
            else:
                attained = hinf_norm(_between(fit, scales))
            rows.append(_row(name, gamma, True, float(attained or 0.0), fit, tails, n_init, fit.settings["seconds"]))
        linear, norm = _scaled(fits[gamma], gamma, scales)
        rows.append(_row("linear, scaled", gamma, False, norm, linear, tails, n_init, 0.0))
    scored_on = "validation tails" if test is None else "test records"
    return TradeOff(
        tuple(rows), fits, u_scale=scales[0], y_scale=scales[1], scored_on=scored_on, y_names=tuple(data.y_names),
        y_units=tuple(data.y_units),
    )  # fmt: skip


def _row(
    model: str, gamma: float, proved: bool, attained: float, system: Identified, data: Data, n_init: int, seconds: float
) -> TradeRow:  # fmt: skip
    found = system.score(data, n_init=n_init)
    return TradeRow(
        model, gamma, proved, attained, float(np.mean(found.nrmse)), tuple(map(float, found.rmse)), float(seconds)
    )  # fmt: skip


def _between(system: Identified, scales: list[tuple[float, ...]]) -> LTI:
    """A linear system between the scaled signals in which gains are measured."""
    lfr = system.lfr
    u, y = (torch.tensor(scale, dtype=torch.float64) for scale in scales)
    return LTI(lfr.A, lfr.B2 * u, lfr.C2 / y[:, None], lfr.D22 * u / y[:, None], lfr.dt or 1.0)


def _scaled(fit: Fit, gamma: float, scales: list[tuple[float, ...]]) -> tuple[Identified, float]:
    """The linear start, brought under the bound by `shrink` and not trained, and its gain."""
    near, _ = shrink(_between(fit.linear, scales), gamma=gamma if math.isfinite(gamma) else None)
    own, offsets = fit.linear.lfr, (fit.normaliser.u_offset, fit.normaliser.y_offset)
    labels = {name: getattr(own, name) for name in ("u_names", "y_names", "u_units", "y_units")}
    system = fold(near.to_lfr(), offsets[0].copy(), scales[0], offsets[1].copy(), scales[1], **labels)
    return Identified(system, fit.linear.prior), hinf_norm(near)
