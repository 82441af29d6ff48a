"""What a sentence about an LFR needs to know: names, units, sample time; and numbers rounded to the safe side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from eqnets.system.lfr import LFR


@dataclass(frozen=True)
class Labels:
    """What a sentence needs to know of an LFR: sizes, sample time, names and units of the channels.

    Args:
        nx: number of states.
        nu: number of inputs.
        ny: number of outputs.
        dt: the sample time in seconds, None in continuous time.
        u_names: names of the inputs, or None.
        y_names: names of the outputs, or None.
        u_units: units of the inputs, or None.
        y_units: units of the outputs, or None.
    """

    nx: int
    nu: int
    ny: int
    dt: float | None
    u_names: tuple[str, ...] | None = None
    y_names: tuple[str, ...] | None = None
    u_units: tuple[str, ...] | None = None
    y_units: tuple[str, ...] | None = None

    @classmethod
    def of(cls, lfr: LFR) -> Labels:
        """The labels of an LFR."""
        return cls(lfr.nx, lfr.nu, lfr.ny, lfr.dt, lfr.u_names, lfr.y_names, lfr.u_units, lfr.y_units)

    def inputs(self) -> list[str]:
        """The inputs' names; u1, u2, … where none were given."""
        return list(map(printable, self.u_names)) if self.u_names else [f"u{i + 1}" for i in range(self.nu)]

    def outputs(self) -> list[str]:
        """The outputs' names; y1, y2, … where none were given."""
        return list(map(printable, self.y_names)) if self.y_names else [f"y{i + 1}" for i in range(self.ny)]


@dataclass(frozen=True)
class PairGain:
    """The proved gain from one input to one output: ‖Δy_i‖ ≤ gain·‖Δu_j‖ when only u_j changes.

    Args:
        output: name of the output.
        input: name of the input.
        gain: γ·y_scale_i / u_scale_j, rounded upwards.
        unit: unit of the gain, empty where no units are known.
    """

    output: str
    input: str
    gain: float
    unit: str


def printable(words: str) -> str:
    """What somebody wrote, in one line: control characters as escapes, so that a name cannot end a sentence."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)


LABEL_KEYS = ("u_names", "y_names", "u_units", "y_units")


def label_entries(labels: Labels) -> dict[str, list[str] | None]:
    """The names and units of an LFR, as files hold them."""
    return {key: None if getattr(labels, key) is None else list(getattr(labels, key)) for key in LABEL_KEYS}


def up(value: float, digits: int = 6) -> str:
    """A number with so many digits, rounded upwards: an upper bound stays one when it is printed."""
    return _rounded(value, digits, ROUND_CEILING)


def margin_line(margin: float, of: str = "inequality") -> str:
    """The line of a certificate's summary that says its margin."""
    return f"margin   {down(margin, 3)} (smallest eigenvalue of the scaled {of}; proved positive)"


def down(value: float, digits: int = 6) -> str:
    """A number with so many digits, rounded downwards."""
    return _rounded(value, digits, ROUND_FLOOR)


def rate_words(rate: float, dt: float) -> str:
    """A proved rate 0 < rate < 1 of a discrete-time system, with its time constant −dt/ln ᾱ in seconds."""
    digits = next(d for d in range(6, 18) if float(up(rate, d)) < 1 or d == 17)
    return f"proved: {up(rate, digits)} per step, a time constant of {up(-dt / math.log(rate))} s"


def _rounded(value: float, digits: int, rounding: str) -> str:
    if float(f"{value:.{digits}g}") == value:
        return f"{value:.{digits}g}"
    short = Context(prec=digits, rounding=rounding).create_decimal(Decimal(value))
    return f"{float(short):.{digits}g}"


def ratio_unit(above: str, below: str) -> str:
    """The unit of a quotient, with parentheses where a unit is itself composed; "1" stands for none."""
    above, below = (printable(unit).strip() or "1" for unit in (above, below))
    wrap = [f"({unit})" if any(mark in unit for mark in "/·* ") else unit for unit in (above, below)]
    return above if below == "1" else f"{wrap[0]}/{wrap[1]}"


def channels_in_words(
    names: list[str], scale: tuple[float, ...], units: tuple[str, ...] | None, rounded: Callable[[float], str]
) -> str:
    """Each channel with its scale and unit, e.g. `force: 5 N`.

    Args:
        names: of the channels.
        scale: one size each.
        units: of the channels, or None.
        rounded: `down` for inputs, `up` for outputs: a bound on Δy/s_y by Δu/s_u stays one.

    Returns:
        In one line.
    """
    units = units or ("",) * len(names)
    shown = zip(names, scale, map(printable, units), strict=True)
    return ", ".join(f"{name}: {rounded(size)} {unit}".strip() for name, size, unit in shown)
