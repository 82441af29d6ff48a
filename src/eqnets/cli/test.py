"""`eqnets test`: score a model on records that training has not seen, beside the linear model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqnets.cli import common
from eqnets.identification.data import Data
from eqnets.identification.extrapolation import outside
from eqnets.identification.files.load import load
from eqnets.identification.fit import Fit
from eqnets.identification.rates import base_names, integrated_score, is_rate


def test(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The model folder.")],
    files: common.Files,
    u: common.Inputs = None,
    y: common.Outputs = None,
    dt: common.SampleTime = None,
    time: common.TimeColumn = None,
    gaps: common.Gaps = "raise",
    n_init: common.Initial = 50,
) -> None:
    """Score a model on test records. Columns of other names are mapped by position with --u and --y."""
    fit = load(folder)
    data = common.like_model(fit, files, u, y, dt=dt, clock=time, gaps=gaps)
    own, linear = fit.score(data, n_init=n_init), fit.linear.score(data, n_init=n_init)
    outputs, units = list(data.y_names), list(fit.system.y_units or ("",) * data.ny)
    common.say_scores(f"test on {', '.join(s.file for s in data.sources)}", own, linear, outputs, units)
    for channel in outside(fit.data_info, data):
        typer.echo(f"  note: {channel.sentence}")
    if any(map(is_rate, outputs)):
        step = fit.system.dt if dt is None and time is None else dt
        names = common.names(y) or list(base_names(data.y_names))
        raw = common.read_files(files, common.names(u) or list(data.u_names), names, step, time, gaps)
        _say_integrated(fit, data, raw, n_init)
    if len(own.records) > 1:
        typer.echo("\n  RMSE by record")
        for mine, theirs in zip(own.records, linear.records, strict=True):
            pairs = (f"{o} {a:.5g} (linear {b:.5g})" for o, a, b in zip(outputs, mine.rmse, theirs.rmse, strict=True))
            typer.echo(f"  {mine.name}: {', '.join(pairs)}")


def _say_integrated(fit: Fit, data: Data, raw: Data, n_init: int) -> None:
    """Score rates of change as the outputs that they are the rates of."""
    rates = [is_rate(name) for name in data.y_names]
    own, linear = (
        integrated_score(raw, [model.simulate(r.u, r.y[:n_init]) for r in data.records], rates, n_init)
        for model in (fit, fit.linear)
    )
    own_units = fit.system.y_units or ("",) * data.ny
    units = [unit.removesuffix("/s") if rate else unit for unit, rate in zip(own_units, rates, strict=True)]
    typer.echo("")
    title = "rates integrated from the last initial sample on, which no certificate covers"
    common.say_scores(title, own, linear, list(raw.y_names), units)
