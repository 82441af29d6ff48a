"""`eqnets check`: what measured data can support."""

from __future__ import annotations

import typer

from eqnets.cli import common
from eqnets.identification.describe import Description, describe
from eqnets.identification.integrator import SlowestPole, slowest_poles
from eqnets.identification.normaliser import Normaliser


def check(
    files: common.Files,
    u: common.Inputs = None,
    y: common.Outputs = None,
    units: common.Units = None,
    dt: common.SampleTime = None,
    time: common.TimeColumn = None,
    gaps: common.Gaps = "raise",
    difference: common.Difference = None,
) -> None:
    """Say what measured data can support. Ranges, saturation, excited band, delays, noise, drift, the linear share."""
    data = common.read_files(files, u, y, dt, time, gaps, units, difference)
    Normaliser.learn(data)  # a constant channel cannot be used
    found = describe(data)
    _say_records(found)
    _say_channels(found)
    for guess in found.delays:
        if guess.samples is None:
            lag = "no answer stands out from the noise, so its delay cannot be told (--delay auto takes 0)"
        else:
            lag = f"after {guess.samples} samples ({guess.samples * found.dt:g} s)" if guess.samples else "at once"
        typer.echo(f"  {guess.output} answers {guess.input}: {lag}")
    for share in found.linear:
        if share.share is None:
            typer.echo(f"  {share.output}: too short to tell how much of it a linear model could explain")
        else:
            typer.echo(f"  {share.output}: a linear model could explain {100 * share.share:.4g} % (by the coherence)")
    _say_noise(found)
    for channel in found.channels:
        if channel.saturated:
            at = max(channel.at_minimum, channel.at_maximum)
            typer.echo(f"  {channel.name}: {100 * at:.1f} % of the samples sit on one extreme; it may be saturated")
    for slowest in slowest_poles(data):
        _say_guarantee(slowest)


def _say_noise(found: Description) -> None:
    """The noise where periods repeat, what is left for a nonlinear model, and drift."""
    units = {c.name: c.unit for c in found.channels}
    for i, noise in enumerate(found.noise):
        words = f"{noise.count} periods of {noise.period} samples" + (
            f" and {noise.records - 1} more such records" if noise.records > 1 else ""
        )
        size = f"{noise.std:.4g} {units[noise.output]}".strip()
        typer.echo(f"  {noise.output}: noise of {size} ({100 * noise.share:.3g} % of its power), from {words}")
        share = found.nonlinear_share(i)
        if share is not None:
            typer.echo(f"  {noise.output}: at most {100 * share:.3g} % is neither linear nor noise")
    for drift in found.drifts:
        size = f"{drift.change:+.4g} {units[drift.output]}".strip()
        typer.echo(
            f"  {drift.output}: a trend of {size} over {drift.record} that no input has; it may drift, and no model of "
            "the inputs explains that"
        )


def _say_guarantee(slowest: SlowestPole) -> None:
    """Which guarantee the records can support, by the slowest pole of each output."""
    name, tau = slowest.output, slowest.time_constant
    if slowest.pole is None:
        typer.echo(f"  {name}: too short to tell whether it forgets its past")
    elif slowest.integrates:
        typer.echo(
            f"  {name}: behaves like an integrator (time constant of {tau:.3g} s or more): no contracting or Lipschitz "
            f"model fits; its rate of change may have one, see --difference {name}"
        )
    else:
        words = "within a sample" if tau is None else f"with a time constant of about {tau:.3g} s"
        typer.echo(f"  {name}: forgets its past {words}: contracting and Lipschitz models are possible")


def _say_records(found: Description) -> None:
    count = len(found.lengths)
    typer.echo(
        f"{count} record{'s' if count > 1 else ''}, {sum(found.lengths)} samples, "
        f"sample time {found.dt:g} s ({1 / found.dt:g} Hz), {found.duration:g} s in all"
    )
    for name, length in zip(found.record_names, found.lengths, strict=True):
        typer.echo(f"  {name}: {length} samples")
    for source in found.sources:
        typer.echo(f"  {source.file}: sha256 {source.sha256[:16]}…, {source.dt_evidence}")


def _say_channels(found: Description) -> None:
    width = max(20, *(len(c.name) for c in found.channels)) + 2
    typer.echo(
        f"  {'channel':<{width}}{'role':<8}{'unit':<8}{'min':>12}{'max':>12}{'mean':>12}{'std':>12}  99 % of power"
    )
    for c in found.channels:
        numbers = "".join(f"{value:>12.5g}" for value in (c.minimum, c.maximum, c.mean, c.std))
        band = "" if c.band is None else f"  below {c.band:.4g} Hz"
        typer.echo(f"  {c.name:<{width}}{c.role:<8}{c.unit or '–':<8}{numbers}{band}")
