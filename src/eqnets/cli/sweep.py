"""`eqnets sweep`: many fits of the same records by Ray Tune, on this machine or on a cluster, as one table."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from eqnets.cli import common, folders
from eqnets.errors import InputError
from eqnets.identification import sweep as trials
from eqnets.identification.data import Data
from eqnets.identification.files.whole import write_bytes
from eqnets.identification.guarantee import Promise


def _numbers(flag: str, letters: str, least: int) -> Any:
    return typer.Option(flag, metavar="LIST", help=f"{letters}: a,b or repeated; whole numbers from {least}.")


def sweep(
    files: common.Files,
    u: common.Inputs = None,
    y: common.Outputs = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")] = Path("sweep"),
    model: Annotated[list[str] | None, typer.Option("--model", metavar="NAMES", help="ren if left out.")] = None,
    guarantee: Annotated[
        list[str] | None, typer.Option("--guarantee", metavar="CLAIMS", help="As for fit: a,b or repeated.")
    ] = None,
    nx: Annotated[list[str] | None, _numbers("--nx", "Numbers of states", 1)] = None,
    nv: Annotated[list[str] | None, _numbers("--nv", "Numbers of neurons", 0)] = None,
    activation: Annotated[list[str] | None, typer.Option("--activation", metavar="NAMES", help="Of a REN.")] = None,
    learning_rate: Annotated[list[str] | None, typer.Option("--learning-rate", metavar="LIST", help="Of Adam.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="K", min=1, help="Seeds of each.")] = 1,
    minutes: common.Minutes = None,
    steps: common.Steps = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="K", min=1, help="Fits at a time; one a core if left out.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="HOST:PORT", help="Of a Ray cluster that shares DIR; or auto.")
    ] = None,
    units: common.Units = None,
    dt: common.SampleTime = None,
    time: common.TimeColumn = None,
    gaps: common.Gaps = "raise",
    difference: common.Difference = None,
    val: common.Tail = 0.2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted or widened sweep.")] = False,
    force: common.Force = False,
) -> None:
    """Fit every combination, ordered by validation error. Every model is kept, and nothing done is done again."""
    folder = folders.new_folder(output, force=force, resume=resume)
    options = common.length(minutes, steps) | {"val": val}
    asked: list[tuple[str, Promise | None]] = [(words, common.promise(words)) for words in common.names(guarantee)] or [
        ("contracting", None)
    ]
    wanted = trials.grid(
        common.names(model) or ["ren"], asked, _whole(nx, "--nx", 1), _whole(nv, "--nv", 0),
        common.names(activation) or [None], _real(learning_rate, "--learning-rate"), seeds,
    )  # fmt: skip
    data = common.read_files(files, u, y, dt, time, gaps, units, difference)
    if force:
        for trial in wanted:
            trials.forget(folder / trial.name)
    known = {trial: trials.fingerprint(trial, data, options) for trial in wanted}
    left = [trial for trial in wanted if trials.read(folder / trial.name, known[trial]) is None]
    typer.echo(f"{len(wanted)} trials, {len(wanted) - len(left)} of them done", err=True)
    failed = _run(left, data, folder.resolve(), options, workers, address) if left else []
    rows = trials.table([row for t in wanted if (row := trials.read(folder / t.name, known[t])) is not None])
    if rows:
        _write(folder, rows)
    if len(rows) < len(wanted):
        reason = f": {failed[0]}" if failed else ""
        typer.echo(f"eqnets: {len(wanted) - len(rows)} trials are open{reason}; repeat with --resume.", err=True)
        raise typer.Exit(1 if failed else 130)
    _say(rows)
    typer.echo(f"\nwritten to {folder}: sweep.csv, sweep.json and a model folder a trial")


def _whole(lists: list[str] | None, flag: str, least: int) -> list[int | None]:
    found: list[int | None] = []
    for word in common.names(lists):
        if not word.isdigit() or int(word) < least:
            raise InputError(f"{flag} takes whole numbers of at least {least}, not '{word}'.")
        found.append(int(word))
    return found or [None]


def _real(lists: list[str] | None, flag: str) -> list[float | None]:
    try:
        found = [float(word) for word in common.names(lists)]
    except ValueError as error:
        raise InputError(f"{flag} takes numbers, such as 1e-3 ({error}).") from error
    for value in found:
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{flag} takes numbers above 0, such as 1e-3, not {value:g}.")
    return [*found] or [None]


def _run(
    left: list[trials.Trial], data: Data, folder: Path, options: dict[str, Any], workers: int | None,
    address: str | None,
) -> list[str]:  # fmt: skip
    """Hand the trials to Ray Tune; returns what went wrong, a sentence each."""
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise InputError("eqnets sweep needs Ray Tune; run: pip install 'eqnets[sweep]'.") from error

    class Shown(tune.Callback):
        """One line a finished trial."""

        began, count = time.monotonic(), 0

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            del iteration, trials, info
            self.count += 1
            row, spent = trial.last_result, time.monotonic() - self.began
            score = "failed" if row.get("val_rmse") is None else f"validation {row['val_rmse']:.4f}"
            eta = spent / self.count * (len(left) - self.count)
            sys.stderr.write(f"  {self.count} of {len(left)}, ETA {eta:.0f} s: {row['trial']}, {score}\n")

    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    by_name = {trial.name: trial for trial in left}
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory(prefix="eqnets-sweep-") as notes:
        try:
            ray.init(address=address, **({"num_cpus": workers} if address is None else {}), **quiet)
        except Exception as error:  # whatever the machine refuses: ports, shared memory, a cluster that is not there
            raise InputError(
                f"Ray does not start here ({' '.join(str(error).split())[:200]}); give the address of a running "
                "cluster (--address), or run the fits one by one with eqnets fit."
            ) from error
        try:
            task = tune.with_parameters(_trial, given=(by_name, data, str(folder), options))
            found = tune.Tuner(
                tune.with_resources(task, {"cpu": 1}),
                param_space={"trial": tune.grid_search(list(by_name))},
                run_config=tune.RunConfig(name="trials", storage_path=notes, verbose=0, callbacks=[Shown()]),
            ).fit()
        finally:
            ray.shutdown()
    return [" ".join(str(error).split())[-300:] for error in found.errors]


def _trial(config: dict[str, Any], given: tuple[dict[str, trials.Trial], Data, str, dict[str, Any]]) -> dict[str, Any]:
    """What a worker does: one trial on one thread."""
    by_name, data, folder, options = given
    torch.set_num_threads(1)
    return trials.run(by_name[config["trial"]], data, Path(folder), **options)


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    write_bytes(folder / "sweep.csv", trials.to_csv(rows).encode())
    write_bytes(folder / "sweep.json", (json.dumps(rows, indent=2, ensure_ascii=False) + "\n").encode())


def _say(rows: list[dict[str, Any]]) -> None:
    """Print the table; errors are in units of the outputs' spread over the training part."""
    width = max(len(row["trial"]) for row in rows)
    typer.echo(f"  {'trial':<{width}}  validation  linear  seconds")
    for row in rows:
        if row["val_rmse"] is None:
            typer.echo(f"  {row['trial']:<{width}}  {row['why']}")
        else:
            numbers = f"{row['val_rmse']:>10.4f}  {row['linear_val_rmse']:>6.4f}  {row['seconds']:>7.1f}"
            typer.echo(f"  {row['trial']:<{width}}  {numbers}")
