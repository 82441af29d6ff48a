"""Numbers, units and names as text: for the page, and for plotly, which reads some HTML in its labels."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from eqnets.certification.claim import up

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NO_UNIT = {"", "1", "-", "–", "none", "dimensionless"}
_NARROW = "\u202f"  # narrow no-break space


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits; powers of ten beyond 10⁻³ … 10⁵.

    Args:
        value: any float.
        digits: how many significant digits.

    Returns:
        For example `"0.331"`, `"12.0"`, `"4.20 × 10⁻⁶"`, `"–"` for NaN, `"∞"`.
    """
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")  # 9.996 with three digits is 10.0
    exponent = math.floor(math.log10(abs(rounded)))
    rounded = float(f"{value:.0f}") if digits - 1 < exponent < 5 else rounded  # 1234 stays 1234
    if -3 <= exponent < 5:
        text = f"{rounded:.{max(digits - 1 - exponent, 0)}f}"
    else:
        mantissa = f"{rounded / 10.0**exponent:.{digits - 1}f}"
        text = f"{mantissa}{_NARROW}×{_NARROW}10{str(exponent).translate(_SUPERSCRIPT)}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def rate(value: float) -> str:
    """A contraction rate, rounded upwards, with enough digits to see its distance from 1: `"0.99832"`."""
    value = float(value)
    if not 0.9 < value < 1:
        return number(float(up(value, 4)), 4) if math.isfinite(value) else number(value)
    digits = min(2 - math.floor(math.log10(1 - value)), 15)
    return up(value, digits).ljust(digits + 2, "0")


def has_unit(unit: str | None) -> bool:
    """Whether a unit is worth writing."""
    return unit is not None and unit.strip().lower() not in _NO_UNIT


def quantity(value: float, unit: str | None, digits: int = 3) -> str:
    """A number and its unit, held together by a space that does not break."""
    return f"{number(value, digits)}\u00a0{clean(unit)}" if unit and has_unit(unit) else number(value, digits)


def percent(value: float) -> str:
    """A percentage with three digits, and as many more as keep it from being rounded to 100."""
    digits = 3
    while digits < 9 and value < 100 and float(f"{value:.{digits}g}") >= 100:
        digits += 1
    return number(value, digits)


def exact(value: float, unit: str) -> str:
    """A number that somebody chose, such as a sample time: as it is, without zeros that would look measured."""
    return f"{value:.6g}\u00a0{unit}"


def time_constant(rate: float, dt: float) -> float:
    """−dt / ln ᾱ in seconds: after it, the proved bound on a wrong start shrank by e. inf for ᾱ ≥ 1, 0 for ᾱ ≤ 0."""
    if rate >= 1:
        return math.inf
    return 0.0 if rate <= 0 else -dt / math.log(rate)


def clean(text: object) -> str:
    """A name on one line, without control characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", str(text)).strip()


def short(text: object, length: int = 60) -> str:
    """A name cut to `length` characters, with an ellipsis where something was cut."""
    text = clean(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def plain(text: object, length: int = 60) -> str:
    """A name for plotly, which interprets tags and entities in labels: escaped, so that it appears as it is."""
    return html.escape(short(text, length), quote=False)


def channel(name: str, unit: str | None) -> str:
    """`"force [N]"`, or the name alone where there is no unit."""
    return f"{short(name)} [{short(unit, 24)}]" if has_unit(unit) else short(name)


def channels(names: Sequence[str], units: Sequence[str], most: int = 4) -> str:
    """The channels of one side, at most `most` of them by name."""
    words = [channel(name, unit) for name, unit in zip(names, units, strict=True)]
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")


def count(n: int, singular: str, plural: str | None = None) -> str:
    """`"1 record"`, `"3 records"`, `"108 477 samples"`."""
    return f"{n:,}".replace(",", _NARROW) + "\u00a0" + (singular if n == 1 else plural or singular + "s")
