"""`eqnets demo`: an inverted pendulum under a PD controller, from measurements to a certified model and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from eqnets.certification import Contracting
from eqnets.cli import common, demo_loop, folders, progress
from eqnets.identification.data import Data
from eqnets.identification.identify import identify
from eqnets.identification.readers import read
from eqnets.reporting import report
from eqnets.reporting.report import CREED
from eqnets.system.plants import Pendulum

PLANT = Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, upright=True, kp=40.0, kd=4.0)
"""It contracts: kp = 40 1/s² exceeds g/l = 24.5 1/s², and its damping the threshold of `Pendulum`."""

DT = 0.05
STEPS = 600
STARTS = 10
RATE = 0.97
"""The promised contraction per step, a time constant of 1.6 s."""


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")] = Path("demo"),
    force: common.Force = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the data, the training and the wrong starts.")] = 0,
) -> None:
    """Fit a stabilised pendulum, prove it and a loop, write a report. Nothing to download."""
    folder = folders.new_folder(output, force=force)
    train, test = measure(seed)
    typer.echo(
        f"An inverted pendulum under a PD controller (kp {PLANT.kp:g}, g/l {PLANT.stiffness_of_gravity:.4g} 1/s²): "
        f"{len(train.records)} records to train, 1 to test, {train.lengths[0]} samples each, every {DT:g} s."
    )
    bar = progress.Bar()
    try:
        fit = identify(train, Contracting(RATE), steps=STEPS, seed=seed, progress=bar)
    finally:
        bar.close()
    fit = common.attacked(fit)
    fit.settings["command"] = common.command_line()
    typer.echo(f"\n{common.evidence(fit)}\n")
    assert fit.certificate is not None
    demo_loop.say_envelope(fit.certificate, test.records[0].u, STARTS, seed)
    common.say_scores(
        "test on a record that training has not seen", fit.score(test), fit.linear.score(test), ["angle"], ["rad"]
    )
    fit.save(folder, force=force)
    page = report(fit, folder / "report.html", data=train, test=test, force=force)
    demo_loop.say_loop(train, folder, STARTS, seed)
    typer.echo(f"\n{CREED}\nopen {page}")


def measure(seed: int) -> tuple[Data, Data]:
    """The seeded measurements of the pendulum.

    Args:
        seed: of the torque and the noise.

    Returns:
        Five training records and one test record.
    """
    pairs = PLANT.records(torch.Generator().manual_seed(seed), n_records=6, dt=DT)
    words = {"u": ["torque"], "y": ["angle"], "dt": DT, "units": {"torque": "N·m", "angle": "rad"}}
    return read(pairs[:-1], **words), read(pairs[-1:], **words)
