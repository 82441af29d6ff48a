"""What every reader hands over: named channels as float64 vectors, with units and a way to name a row."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eqnets.errors import DataError


@dataclass(frozen=True, eq=False)
class Channel:
    """One selected channel.

    Args:
        name: its name without the unit.
        values: (time,) float64; NaN and infinities are still in it.
        unit: its unit, "" where it is unknown.
    """

    name: str
    values: np.ndarray
    unit: str = ""


class Table(Protocol):
    """A file or object that holds named channels."""

    file: str
    sha256: str

    def names(self) -> list[str]:
        """The names that can be asked for."""
        ...

    def select(self, names: Sequence[str], time: str | None = None) -> list[list[Channel]]:
        """For every name the channels it stands for (several for a matrix), all of one length; `time` may be a date."""
        ...

    def row(self, index: int) -> str:
        """How a person finds sample `index` in the file, e.g. "row 17"."""
        ...

    def clock(self) -> list[tuple[float, str]]:
        """Every sample time that the file states, in seconds, each with the words that state it."""
        ...


def no_such(file: str, name: str, names: Sequence[str], noun: str = "column") -> str:
    """The message for a name that is not there, with the names that are and the nearest one.

    Args:
        file: the file's name.
        name: the name asked for.
        names: the names that exist.
        noun: what a name stands for, "column" or "variable".

    Returns:
        The sentence.
    """
    lower = {n.lower(): n for n in reversed(names)}
    close = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.6)
    hint = f"; did you mean '{lower[close[0]]}'?" if close else ""
    shown = ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
    return f"{file} has no {noun} '{name}'; it has {shown or 'none'}{hint}" + ("" if hint else ".")


def real_vector(values: np.ndarray, file: str, name: str, row: Callable[[int], str]) -> np.ndarray:
    """A vector as float64, with a worded error for everything that float64 cannot hold.

    Args:
        values: (time,) of any dtype; masked entries become NaN.
        file: the file's name.
        name: the channel's name.
        row: words for a sample's position.

    Returns:
        (time,) float64, a copy.

    Raises:
        DataError: complex numbers, text, objects, or integers beyond ±2⁵³.
    """
    if np.ma.isMaskedArray(values):
        values = np.ma.asarray(values, dtype=np.float64).filled(np.nan)
    kind = values.dtype.kind
    if kind == "c":
        raise DataError(f"{file}: '{name}' holds complex numbers; store the real and imaginary parts as two channels.")
    if kind in "iu" and values.size:
        # float64 holds every integer up to 2⁵³ and not every one beyond; abs() of int64's minimum would overflow
        too_big = (values > 2**53) | (values < -(2**53)) if kind == "i" else values > 2**53
        if too_big.any():
            i = int(np.argmax(too_big))
            raise DataError(
                f"{file}: '{name}' is {values[i]} in {row(i)}, an integer beyond 2^53 that float64 cannot hold "
                "exactly; it looks like an overflow or a counter: leave it out or rescale it."
            )
    if kind in "fiub":
        return np.array(values, dtype=np.float64, order="C")
    if kind in "OUS":
        return _from_objects(values, file, name, row)
    raise DataError(f"{file}: '{name}' holds {values.dtype}, not numbers; leave it out or convert it.")


def _from_objects(values: np.ndarray, file: str, name: str, row: Callable[[int], str]) -> np.ndarray:
    out = np.empty(len(values))
    for i, value in enumerate(values):
        try:
            if isinstance(value, str | bytes | complex | np.complexfloating):
                raise TypeError
            if isinstance(value, int) and abs(value) > 2**53:
                raise DataError(
                    f"{file}: '{name}' is {value} in {row(i)}, an integer beyond 2^53 that float64 cannot hold; "
                    "leave it out or rescale it."
                )
            out[i] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"{file}: column '{name}' holds {str(value)!r} in {row(i)}, which is no number; correct or remove it."
            ) from None
    return out
