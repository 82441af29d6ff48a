"""`eqnets trade-off`: accuracy against the promised gain, as one curve with its table, its page and its models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from eqnets.cli import common, folders, progress
from eqnets.errors import InputError
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.trade_off import TradeOff
from eqnets.identification.trade_off import trade_off as curve
from eqnets.reporting import trade_off_report


def trade_off(
    files: common.Files,
    u: common.Inputs = None,
    y: common.Outputs = None,
    gamma: Annotated[
        list[str], typer.Option("--gamma", metavar="LIST", help="Gain bounds: a,b or repeated; inf: contraction alone.")
    ] = ...,  # type: ignore[assignment]
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")] = ...,  # type: ignore[assignment]
    test: Annotated[
        list[str] | None, typer.Option("--test", metavar="FILE", help="Test file, to be scored on; may repeat.")
    ] = None,
    n_init: common.Initial = 50,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", help="Time for the whole curve; 10 if left out.")
    ] = None,
    steps: common.Steps = None,
    units: common.Units = None,
    dt: common.SampleTime = None,
    time: common.TimeColumn = None,
    gaps: common.Gaps = "raise",
    difference: common.Difference = None,
    nx: common.States = None,
    nv: common.Neurons = None,
    seed: common.Seed = 0,
    val: common.Tail = 0.2,
    u_scale: Annotated[str | None, typer.Option("--u-scale", metavar="A,B,…", help="One size per input.")] = None,
    y_scale: Annotated[str | None, typer.Option("--y-scale", metavar="A,B,…", help="One size per output.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted curve in DIR.")] = False,
    force: common.Force = False,
) -> None:
    """Fit a model under each of several gain bounds. Each starts from the one before; linear models stand beside."""
    folder = folders.new_folder(output, force=force, resume=resume)
    length = common.length(minutes, steps, usual=10.0)
    gammas = _bounds(gamma)
    data = common.read_files(files, u, y, dt, time, gaps, units, difference)
    tested = common.read_files(test, u, y, dt, time, gaps, units, difference) if test else None
    scales = [common.numbers(text, flag) for text, flag in ((u_scale, "--u-scale"), (y_scale, "--y-scale"))]
    options: dict[str, Any] = {"nx": nx, "nv": common.neurons(nv), "seed": seed, "val": val, **length}
    options |= {"u_scale": scales[0], "y_scale": scales[1]}
    keeper = Checkpoint(folder, data.fingerprint() | {"gammas": [repr(g) for g in gammas]} | options, resume)
    if resume and not folders.started(folder):
        raise InputError(f"'{folder}' holds no interrupted curve; start one without --resume.")
    bar = progress.Bar()
    try:
        result = curve(data, gammas, test=tested, n_init=n_init, progress=bar, keeper=keeper, **options)
    except KeyboardInterrupt:
        bar.close()
        typer.echo(f"eqnets: interrupted; {folders.remedy(folder)}.", err=True)
        raise typer.Exit(130) from None
    finally:
        bar.close()
    again = force or resume
    for bound, fit in result.fits.items():
        fit.settings["command"] = common.command_line()
        fit.save(folder / f"gamma={bound:g}", force=again)
    for name in ("trade_off.csv", "trade_off.json"):
        result.save(folder / name, force=again)
    trade_off_report(result, folder / "trade_off.html", test=tested, command=common.command_line(), force=again)
    keeper.clear()
    _say(result)
    typer.echo(f"\nwritten to {folder}: trade_off.csv, trade_off.json, trade_off.html and a model folder a bound")


def _bounds(lists: list[str]) -> list[float]:
    found = []
    for word in common.names(lists):
        try:
            found.append(float(word))
        except ValueError:
            raise InputError(f"--gamma takes positive numbers and inf, not '{word}'.") from None
    return found


def _say(result: TradeOff) -> None:
    """Print the table; gains are in the scales that were asked for."""
    typer.echo(f"errors on {result.scored_on}; every network is certified under its bound")
    outputs = [f"{f'{n} [{unit}]' if unit else n}" for n, unit in zip(result.y_names, result.y_units, strict=True)]
    typer.echo(f"  {'bound':>9}  {'model':<16}{'gain found':>11}{'NRMSE':>9}  RMSE {', '.join(outputs)}")
    for row in result.rows:
        bound = "none" if math.isinf(row.gamma) else f"{row.gamma:g}"
        errors = ", ".join(f"{value:.5g}" for value in row.rmse)
        typer.echo(f"  {bound:>9}  {row.model:<16}{row.attained:>11.4g}{row.nrmse:>9.4f}  {errors}")
