"""`eqnets report`: write the page of a stored model, with measured records if they are named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqnets.cli import common, folders
from eqnets.identification.files.load import load
from eqnets.reporting import report as write


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The model folder.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[TEST…]", help="Test files, to be drawn and scored.")
    ] = None,
    train: Annotated[
        list[str] | None, typer.Option("--train", metavar="FILE", help="Training file, to be drawn; may repeat.")
    ] = None,
    u: common.Inputs = None,
    y: common.Outputs = None,
    dt: common.SampleTime = None,
    time: common.TimeColumn = None,
    gaps: common.Gaps = "raise",
    n_init: common.Initial = 50,
    compare: Annotated[
        list[Path] | None,
        typer.Option("--compare", metavar="DIR", help="Another model folder, to be scored beside; may repeat."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The page; DIR/report.html if left out.")
    ] = None,
    force: common.Force = False,
) -> None:
    """Write the report of a stored model. --u and --y name the columns of the test files, if they have other names."""
    fit = load(folder)
    path = folders.new_file(folder / "report.html" if output is None else output, force=force)
    trained = common.like_model(fit, train, None, None, dt=dt, clock=time, gaps=gaps) if train else None
    tested = common.like_model(fit, files, u, y, dt=dt, clock=time, gaps=gaps) if files else None
    others = {str(other): load(other) for other in compare or ()}
    write(fit, path, data=trained, test=tested, n_init=n_init, compare=others, force=force)
    typer.echo(f"written to {path}")
