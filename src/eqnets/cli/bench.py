"""`eqnets bench`: measured benchmarks by their official protocol, beside the linear and the published rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from eqnets.cli import common, folders, progress
from eqnets.identification.bench import BenchResult, Run, run_benchmark, table_to_json
from eqnets.identification.benchmarks import info
from eqnets.identification.guarantee import Promise
from eqnets.identification.kinds import KINDS, settle


def bench(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="f16, wh2009, silverbox, cascaded_tanks, emps.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the files; EQNETS_DATA if left out.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAMES", help=f"{', '.join(KINDS)}: a,b or repeated; ren if left out."),
    ] = None,
    guarantee: Annotated[
        list[str] | None,
        typer.Option(
            "--guarantee",
            metavar="CLAIMS",
            help="contracting, contracting:RATE, lipschitz:GAMMA, none: a,b or repeated, for the models that can.",
        ),
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", metavar="M", help="For each fit.")] = 5.0,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=0, help="Updates instead of minutes.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="K", min=1, help="Seeds; median and range are shown.")] = 1,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")] = Path("bench"),
    force: common.Force = False,
) -> None:
    """Fit and score measured benchmarks by their official protocol. Nothing is downloaded."""
    asked = _asked(common.names(model) or ["ren"], common.names(guarantee) or ["contracting"])
    for name in names:
        info(name)
    folder = folders.new_folder(output, force=force)
    for name in names:
        results = []
        for kind, claim in asked:
            bar = progress.Bar()
            try:
                results.append(
                    run_benchmark(
                        name, claim, folder, model=kind, seeds=seeds, minutes=minutes, steps=steps, data=data,
                        progress=bar, done=_said,
                    )
                )  # fmt: skip
            finally:
                bar.close()
        say(results)
        table = json.dumps(table_to_json(results), indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(table + "\n", encoding="utf-8")
    typer.echo(f"\nwritten to {folder}: {', '.join(f'{name}.json' for name in names)} and the model folders")


def _asked(models: list[str], guarantees: list[str]) -> list[tuple[str, Promise]]:
    """Every model with every guarantee; one that promises nothing once, without."""
    pairs: dict[tuple[str, str], tuple[str, Promise]] = {}
    for model in models:
        for words in guarantees:
            claim = common.promise(words)
            able = model not in KINDS or KINDS[model].promises
            settled = settle(model, claim if able else None, None, None, None)
            pairs[model, repr(settled)] = (model, settled)
    return list(pairs.values())


def _said(run: Run) -> None:
    evidence = "certificate verified" if run.certificate is not None else "nothing certified"
    typer.echo(f"seed {run.seed}: {run.seconds:.0f} s, nx={run.nx}, nv={run.nv}, {evidence}", err=True)


def say(results: Sequence[BenchResult]) -> None:
    """Print the table of one benchmark.

    Args:
        results: of `run_benchmark`, every model on the same benchmark.
    """
    known = results[0].known
    typer.echo(f"\n{known.title}; RMSE in {known.unit} after n_init = {known.n_init}")
    if results[0].rates:
        typer.echo("  The output integrates its input: the model is of its rate, summed without a certificate.")
    width = max(17, *(len(test) + 2 for test in known.tests))  # a range takes up to 15
    typer.echo(f"  {'':<34}" + "".join(f"{test:>{width}}" for test in known.tests))
    rows = [(f"eqnets: {result.label}", result.median(), "", result) for result in results]
    rows += [("the linear start", results[0].median(linear=True), "", None)]
    rows += [(row.model, row.values, f"  {row.source}; protocol not re-checked", None) for row in known.rows]
    for label, values, source, result in rows:
        cells = "".join(f"{'–' if v is None else f'{v:.4g}':>{width}}" for v in values)
        typer.echo(f"  {label:<34}{cells}{source}")
        if result is not None and len(result.runs) > 1:
            spread = "".join(f"{f'{a:.4g}–{b:.4g}':>{width}}" for a, b in result.spread())
            typer.echo(f"  {f'  range of {len(result.runs)} seeds':<34}{spread}")
    if any(result.guarantee == "none" for result in results):
        typer.echo("  Rows without a guarantee: nothing is certified of these models, not even stability.")
