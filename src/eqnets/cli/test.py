"""`eqnets test`: score a model on records that training has not seen, beside the linear model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqnets.cli import common
from eqnets.identification.files.load import load
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
    outputs, units = list(data.y_names), list(fit.lfr.y_units or ("",) * data.ny)
    common.say_scores(f"test on {', '.join(s.file for s in data.sources)}", own, linear, outputs, units)
    rates = [is_rate(name) for name in outputs]
    if any(rates):
        raw = common.read_files(
            files,
            common.names(u) or fit.lfr.u_names,
            common.names(y) or base_names(data.y_names),
            fit.lfr.dt if dt is None and time is None else dt,
            time,
            gaps,
        )
        typer.echo("")
        sums = [
            integrated_score(raw, [m.simulate(r.u, r.y[:n_init]) for r in data.records], rates, n_init)
            for m in (fit, fit.linear)
        ]
        common.say_scores(
            "rates integrated from the last initial sample, which no certificate covers",
            *sums,
            list(raw.y_names),
            list(raw.y_units),
        )
    if len(own.records) > 1:
        typer.echo("\n  RMSE by record")
        for mine, theirs in zip(own.records, linear.records, strict=True):
            pairs = (f"{o} {a:.5g} (linear {b:.5g})" for o, a, b in zip(outputs, mine.rmse, theirs.rmse, strict=True))
            typer.echo(f"  {mine.name}: {', '.join(pairs)}")
