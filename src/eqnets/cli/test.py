"""`eqnets test`: score a model on records that training has not seen, beside the linear model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqnets.cli import common
from eqnets.identification.files.load import load


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
    if len(own.records) > 1:
        typer.echo("\n  RMSE by record")
        for mine, theirs in zip(own.records, linear.records, strict=True):
            pairs = (f"{o} {a:.5g} (linear {b:.5g})" for o, a, b in zip(outputs, mine.rmse, theirs.rmse, strict=True))
            typer.echo(f"  {mine.name}: {', '.join(pairs)}")
