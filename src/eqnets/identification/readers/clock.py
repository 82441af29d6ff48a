"""The sample time: given, stated by the file, or told by a time column; and where that column has gaps."""

from __future__ import annotations

import numpy as np

from eqnets.errors import DataError
from eqnets.identification.readers.table import Channel, Table
from eqnets.identification.record import same_dt

_SECONDS = {
    "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6,
    "ns": 1e-9, "min": 60.0, "h": 3600.0,
}  # fmt: skip
JITTER = 0.01
"""A step of a time column may differ from the sample time by this share of it."""

_TIMES = ("t", "time", "timestamp")


def likely(table: Table) -> list[str]:
    """The names in a file that look like its time.

    Args:
        table: the file.

    Returns:
        The names, in its order.
    """
    return [name for name in table.names() if name.lower() in _TIMES]


def unread(table: Table) -> tuple[float, str] | None:
    """The uniform steps of a column that looks like a time, where another sample time was given and it is not read.

    Args:
        table: the file.

    Returns:
        The step in seconds and the name; None where there is no such column, or it is not uniform.
    """
    for name in likely(table):
        try:
            ((channel,),) = table.select([name], time=name)
            return pieces(seconds(channel, table.file), table, name, split=False)[0], name
        except (DataError, ValueError):  # it is no time, or of another shape
            continue
    return None


def agree(dt: float | None, table: Table) -> tuple[float | None, str]:
    """The sample time that the caller and the file's own statement agree on.

    Args:
        dt: the caller's sample time in seconds, or None.
        table: the file.

    Returns:
        Seconds (None if neither says anything) and the evidence in words.

    Raises:
        DataError: the caller and the file, or two statements of the file, contradict each other.
    """
    stated = table.clock()
    for value, words in stated:
        if not same_dt(value, stated[0][0]):
            raise DataError(f"{table.file} states two sample times: {stated[0][1]} and {words}; correct one of them.")
        if dt is not None and not same_dt(value, dt):
            raise DataError(f"dt is {dt:g} s, but {words}, which means {value:g} s; leave dt out or correct the file.")
    if dt is not None:
        return dt, f"dt = {dt:g} s, given"
    return stated[0] if stated else (None, "")


def seconds(channel: Channel, file: str) -> np.ndarray:
    """A time column in seconds.

    Args:
        channel: the column, with its unit ("" means seconds).
        file: the file's name.

    Returns:
        (time,) in seconds.

    Raises:
        DataError: the unit is not one of time.
    """
    if channel.unit not in _SECONDS:
        raise DataError(
            f"{file}: the time '{channel.name}' is in '{channel.unit}'; give it in one of {', '.join(_SECONDS)[2:]}."
        )
    return channel.values * _SECONDS[channel.unit]


def pieces(t: np.ndarray, table: Table, name: str, split: bool) -> tuple[float, float, list[slice]]:
    """The sample time of a time column, and its uninterrupted stretches.

    A stretch is uniform if no step differs from its sample time by more than 1 %, or if all its stamps are a uniform
    grid rounded to the decimals that they are written with. A gap is a step of more than 1.5 sample times.

    Args:
        t: (time,) in seconds, finite.
        table: the file, for its name and rows.
        name: the name of the time column.
        split: whether gaps separate records; otherwise a gap is an error.

    Returns:
        The sample time and its uncertainty in seconds (rounded stamps of a short record tell it roughly), and the
        stretches as slices: one, or one more than there are gaps.

    Raises:
        DataError: a time that does not increase, a gap, or a step outside the tolerance.
    """
    if len(t) < 2:
        raise DataError(f"{table.file} has {len(t)} sample; a record needs at least two.")
    steps = np.diff(t)
    if (steps <= 0).any():
        k = int(np.argmax(steps <= 0)) + 1
        raise DataError(
            f"{table.file}: the time '{name}' does not increase in {table.row(k)} ({t[k - 1]:.9g} to {t[k]:.9g} s); "
            "sort the rows and remove repeated ones."
        )
    dt = float(np.median(steps))
    gaps = np.flatnonzero(steps > 1.5 * dt) + 1 if split else np.array([], dtype=int)
    bounds = [0, *(int(k) for k in gaps), len(t)]
    stretches = [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    for s in stretches:
        k = _irregular(t[s])
        if k is not None:
            k += s.start
            words = f"a step of {t[k] - t[k - 1]:.6g} s where the sample time is {dt:.6g} s"
            if t[k] - t[k - 1] > 1.5 * dt:
                remedy = "gaps='split' (--gaps split) makes separate records of the parts"
            else:
                remedy = f"resample it to a uniform time (the tolerance is {JITTER:.0%} of a step)"
            raise DataError(f"{table.file}: the time '{name}' is not uniform in {table.row(k)}: {words}; {remedy}.")
    longest = max((t[s] for s in stretches), key=len)
    if len(longest) < 2:
        raise DataError(f"{table.file}: the time '{name}' has a gap after every sample; check its unit.")
    slope = float(np.polyfit(np.arange(len(longest)), longest - longest[0], 1)[0])
    slack = float(np.ptp(np.diff(longest))) / (len(longest) - 1)
    return float(f"{slope:.9g}"), slack, stretches


def _irregular(t: np.ndarray) -> int | None:
    """The first sample whose step is out of tolerance, or None where the time is uniform."""
    steps = np.diff(t)
    if not len(steps):
        return None
    dt = float(np.median(steps))
    # an epoch such as 1.7e9 s leaves float64 about 2e-7 s of resolution
    rounding = 4 * np.spacing(np.abs(t).max())
    bad = np.abs(steps - dt) > JITTER * dt + rounding
    if not bad.any():
        return None
    # stamps with few decimals: is each within half of its last digit of a straight line?
    k = np.arange(len(t))
    line = np.polynomial.Polynomial.fit(k, t - t[0], 1)(k)
    for decimals in range(10):
        last = 10.0**-decimals
        if np.abs(t - np.round(t, decimals)).max() <= rounding:
            if last < dt and np.abs(t - t[0] - line).max() <= 0.55 * last:
                return None
            break
    return int(np.argmax(bad)) + 1
