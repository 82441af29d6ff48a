"""The second part of `eqnets demo`: a controller for the identified pendulum, and the loop with its settling time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import typer

from eqnets.certification import Certificate, Recovery, certify_loop, verify
from eqnets.certification.labels import up
from eqnets.errors import NotCertified
from eqnets.identification.bounded import identify_bounded
from eqnets.identification.data import Data
from eqnets.reporting.decay import wrong_starts
from eqnets.system.regulator import pi
from eqnets.system.simulate import simulate
from eqnets.system.steady import operating_point

STEPS = 200
SET_POINTS = (-0.5, 0.5)
WITHIN = 0.02
"""A set-point counts as reached within this angle, in rad: 2 % of the step."""


def say_loop(train: Data, folder: Path, starts: int, seed: int) -> None:
    """Identify a model made to be controlled, close a loop with PI around it, prove the loop, and time it.

    Args:
        train: the measured records.
        folder: where `loop.cert.json` and its weights go.
        starts: how many wrong starts.
        seed: of the training and of the wrong starts.
    """
    model = identify_bounded(train, starts=1, steps=STEPS, seed=seed)
    controller = pi(model.linear, uncertainty=model.gamma)
    certificate = certify_loop(model.nominal.lfr, controller, model.residual)
    path = folder / "loop.cert.json"
    certificate.save(path)
    verify(path, certificate.lfr)
    loop, recovery = certificate.lfr, Recovery.of(certificate)
    Kp = float(controller.D)
    typer.echo(
        f"\nA PI controller of the angle, Kp = {Kp:.3g} N·m/rad and Ti = {Kp / float(controller.C):.3g} s by a rule on "
        f"a linear model with a residual of proved gain {model.gamma:.3g} rad/(N·m):\n\n{certificate.summary()}\n"
    )
    old, new = (operating_point(loop, torch.tensor([r]), certificate.witness) for r in SET_POINTS)
    within = torch.tensor([WITHIN, torch.inf], dtype=torch.float64)  # of the angle; the torque may do what it likes
    proved = recovery.time_within(old.x - new.x, within)
    steps = round(1.1 * proved / train.dt)
    with torch.no_grad():
        angle = simulate(loop, new.u.expand(1, steps, 1).contiguous(), old.x)[0][0, :, 0]
    late = ((angle - SET_POINTS[1]).abs() > WITHIN).nonzero()
    settled = train.dt * (int(late[-1]) + 1 if len(late) else 0)
    typer.echo(
        f"From {SET_POINTS[0]:g} to {SET_POINTS[1]:g} rad the loop settles within {WITHIN:g} rad after {settled:.3g} s "
        f"in simulation, after {proved:.3g} s at the latest by proof."
    )
    square = torch.tensor(SET_POINTS, dtype=torch.float64)[(torch.arange(steps) // max(1, steps // 6)) % 2]
    say_envelope(certificate, square[:, None].numpy(), starts, seed)
    typer.echo(f"Check it without trusting eqnets: eqnets-verify {path}")


def say_envelope(certificate: Certificate, u: np.ndarray, starts: int, seed: int) -> None:
    """Start a system from wrong states, and hold every step of it against the proved envelope.

    Args:
        certificate: with a rate below 1.
        u: (time, nu) the input.
        starts: how many wrong starts.
        seed: of the directions of the wrong starts.

    Raises:
        NotCertified: a trajectory leaves the envelope; the proof or the simulation is then wrong.
    """
    decay = wrong_starts(certificate.lfr, certificate.witness, u, n=starts, seed=seed)
    if certificate.rate is not None:  # the proved one, a hair above what P and Λ give in float64
        decay = replace(decay, rate=certificate.rate)
    excess = decay.worst - 1
    if excess > 1e-6:
        raise NotCertified(f"a trajectory left the proved envelope by {100 * excess:.3g} %; please report it.")
    after = decay.ratio.shape[1] - 1
    typer.echo(
        f"{len(decay.ratio)} wrong starts stay inside the proved envelope |Δx_t|_P ≤ ᾱᵗ |Δx_0|_P, ᾱ = {up(decay.rate)},"
        f" at each of {after} steps; the nearest came to {100 * decay.worst:.1f} % of it.\n"
    )
