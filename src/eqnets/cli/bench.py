"""`eqnets bench`: measured benchmarks by their official protocol, beside the linear and the published rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eqnets.cli import common
from eqnets.errors import InputError
from eqnets.identification.bench import BenchResult, Run, run_benchmark
from eqnets.identification.benchmarks import info
from eqnets.identification.guarantee import Guarantee


def bench(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="f16, wh2009, silverbox, cascaded_tanks, emps.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the files; EQNETS_DATA if left out.")
    ] = None,
    guarantee: Annotated[
        str, typer.Option("--guarantee", metavar="CLAIM", help="contracting, contracting:RATE or lipschitz:GAMMA.")
    ] = "contracting",
    minutes: Annotated[float, typer.Option("--minutes", metavar="M", help="For each fit.")] = 5.0,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=0, help="Updates instead of minutes.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="K", min=1, help="Seeds; median and range are shown.")] = 1,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")] = Path("bench"),
    force: common.Force = False,
) -> None:
    """Fit and score measured benchmarks by their official protocol. Nothing is downloaded."""
    claim = common.claim(guarantee)
    if not isinstance(claim, Guarantee):
        raise InputError(f"'{guarantee}' cannot be fitted in this version; write contracting or lipschitz:GAMMA.")
    for name in names:
        info(name)
    folder = common.new_folder(output, force=force)
    results = []
    for name in names:
        bar = common.Bar()
        try:
            results.append(
                run_benchmark(
                    name, claim, folder, seeds=seeds, minutes=minutes, steps=steps, data=data, progress=bar, done=_said
                )
            )
        finally:
            bar.close()
        say(results[-1])
        (folder / f"{name}.json").write_text(
            json.dumps(results[-1].to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    typer.echo(f"\nwritten to {folder}: {', '.join(f'{name}.json' for name in names)} and the model folders")


def _said(run: Run) -> None:
    typer.echo(f"seed {run.seed}: {run.seconds:.0f} s, nx={run.nx}, nv={run.nv}, certificate verified", err=True)


def say(result: BenchResult) -> None:
    """Print the table of one benchmark.

    Args:
        result: of `run_benchmark`.
    """
    known = result.known
    typer.echo(f"\n{known.title}; RMSE in {known.unit} after n_init = {known.n_init}")
    if result.rates:
        typer.echo("  The output integrates its input: the model is of its rate, summed without a certificate.")
    width = max(14, *(len(test) + 2 for test in known.tests))
    typer.echo(f"  {'':<34}" + "".join(f"{test:>{width}}" for test in known.tests))
    kind = f"eqnets, {type(result.guarantee).__name__}"
    rows = [(kind, result.median(), ""), ("its linear start", result.median(linear=True), "")]
    rows += [(row.model, row.values, f"  {row.source}; protocol not re-checked") for row in known.rows]
    for label, values, source in rows:
        cells = "".join(f"{'–' if v is None else f'{v:.4g}':>{width}}" for v in values)
        typer.echo(f"  {label:<34}{cells}{source}")
        if label == kind and len(result.runs) > 1:
            spread = "".join(f"{f'{a:.4g}–{b:.4g}':>{width}}" for a, b in result.spread())
            typer.echo(f"  {f'  range of {len(result.runs)} seeds':<34}{spread}")
