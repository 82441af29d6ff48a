"""`eqnets fit`: measured files in; a model folder with its certificate (where one was asked for) and its page out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqnets.certification.labels import Labels
from eqnets.cli import common, folders, progress
from eqnets.errors import InputError
from eqnets.identification.data import Data
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.fit import Fit
from eqnets.identification.guarantee import NOTHING
from eqnets.identification.identify import identify
from eqnets.identification.kinds import settle
from eqnets.reporting import report


def fit(
    files: common.Files,
    u: common.Inputs = None,
    y: common.Outputs = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The model folder to write.")] = ...,  # type: ignore[assignment]
    guarantee: Annotated[
        str | None,
        typer.Option(
            "--guarantee",
            metavar="CLAIM",
            help="contracting[:RATE], lipschitz:GAMMA, passive[:INPUT,OUTPUT], dissipative:Q,S,R or none; "
            "contracting if left out and the model can.",
        ),
    ] = None,
    model: common.Model = "ren",
    minutes: common.Minutes = None,
    steps: common.Steps = None,
    units: common.Units = None,
    dt: common.SampleTime = None,
    time: common.TimeColumn = None,
    gaps: common.Gaps = "raise",
    difference: common.Difference = None,
    nx: common.States = None,
    nv: common.Neurons = None,
    restarts: Annotated[
        int | None, typer.Option("--restarts", metavar="K", min=1, help="Random starts; chosen if left out.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", metavar="K", min=1, help="Processes that share the starts.")] = 1,
    seed: common.Seed = 0,
    val: common.Tail = 0.2,
    u_scale: Annotated[
        str | None, typer.Option("--u-scale", metavar="A,B,…", help="One size per input, for lipschitz:GAMMA.")
    ] = None,
    y_scale: Annotated[
        str | None, typer.Option("--y-scale", metavar="A,B,…", help="One size per output, for lipschitz:GAMMA.")
    ] = None,
    delay: Annotated[
        str,
        typer.Option("--delay", metavar="D", help="Samples until inputs are felt: one number, one each (A,B,…), auto."),
    ] = "0",
    ignore_integrator: Annotated[
        bool, typer.Option("--ignore-integrator", help="Fit although an output seems to integrate its inputs.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in DIR.")] = False,
    force: common.Force = False,
) -> None:
    """Fit a model that keeps a guarantee, or a compared one. It is certified; its folder holds a report."""
    folder = folders.new_folder(output, force=force, resume=resume)
    length = common.length(minutes, steps)
    neurons = common.neurons(nv)
    claim = settle(model, common.promise(guarantee, u_scale, y_scale), nx, neurons, None)
    data = common.read_files(files, u, y, dt, time, gaps, units, difference)
    if claim != "none":
        claim.for_system(Labels(1, data.nu, data.ny, data.dt, data.u_names, data.y_names, data.u_units, data.y_units))
    options = {
        "model": model,
        "nx": nx,
        "nv": neurons,
        **length,
        "seed": seed,
        "val": val,
        "restarts": restarts,
        "integrator": "ignore" if ignore_integrator else "refuse",
        "delay": _delay(delay),
    }
    keeper = Checkpoint(folder, data.fingerprint() | {"guarantee": repr(claim)} | options, resume)
    if resume and not folders.started(folder):
        raise InputError(f"'{folder}' holds no interrupted run; start one without --resume.")
    bar = progress.Bar()
    try:
        fitted = identify(data, claim, **options, workers=workers, progress=bar, keeper=keeper)
    except KeyboardInterrupt:
        bar.close()
        typer.echo(f"eqnets: interrupted; {folders.remedy(folder)}.", err=True)
        raise typer.Exit(130) from None
    finally:
        bar.close()
    fitted = common.attacked(fitted)
    fitted.settings["command"] = common.command_line()
    fitted.save(folder, force=force or resume)
    n_init = max(50, fitted.prior.delay + 1)
    report(fitted, folder / "report.html", data=data, n_init=n_init, force=force or resume)
    keeper.clear()
    _say(fitted, data, val)
    proof = "certificate.json, " if fitted.certificate is not None else ""
    typer.echo(f"\nwritten to {folder}: model.safetensors, model.json, {proof}history.csv, report.html")


def _delay(text: str) -> int | list[int] | str:
    """`"auto"`, `"3"` or `"3,0"`, as `identify` takes it."""
    if text == "auto":
        return text
    if not all(part.strip().isdigit() for part in text.split(",")):
        raise InputError(f"--delay takes auto, or whole numbers of samples as 3 or 3,0; got '{text}'.")
    numbers = [int(part) for part in text.split(",")]
    return numbers[0] if len(numbers) == 1 else numbers


def _say(fitted: Fit, data: Data, val: float) -> None:
    for note in fitted.notes:
        if note != NOTHING:
            typer.echo(f"note: {note}")
    for entry, what, short in (("order_curve", "states", "nx"), ("neuron_curve", "neurons", "nv")):
        if curve := fitted.settings.get(entry):
            rows = ", ".join(f"{row[short]}: {row['val_rmse']:.4f}" for row in curve)
            typer.echo(f"{fitted.settings[short]} {what}, by the validation errors of short trials ({rows})")
    typer.echo(f"\n{common.evidence(fitted)}\n")
    tails = data.split(val)[1]
    shortest = min(tails.lengths)
    n_init = min(50, shortest // 4)
    if n_init <= fitted.prior.delay:
        n_init = fitted.prior.delay + 1 if fitted.prior.delay + 1 < shortest else 0
    seen = fitted.settings["refit"]
    common.say_scores(
        "tails of the training records, which chose the model"
        + (" and on which it was then trained: no evidence about the plant" if seen else ""),
        fitted.score(tails, n_init=n_init),
        fitted.linear.score(tails, n_init=n_init),
        list(data.y_names),
        list(data.y_units),
    )
