"""What is already in memory: pandas DataFrames, and (u, y) pairs of arrays or torch tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from eqnets.errors import DataError
from eqnets.identification.readers.table import Channel, no_such, real_vector
from eqnets.identification.readers.text import split_unit


class FrameTable:
    """A pandas DataFrame.

    Args:
        frame: the frame; it is read, never changed.
        file: the name it gets in messages and sources.
    """

    def __init__(self, frame: Any, file: str) -> None:
        self._frame, self.file = frame, file
        self._columns = [str(column).strip() for column in frame.columns]
        self._bare = [split_unit(column) for column in self._columns]
        self.sha256 = digest(frame.iloc[:, i].to_numpy() for i in range(len(self._columns)))

    def names(self) -> list[str]:
        """The columns' names without their units."""
        return [name for name, _ in self._bare]

    def clock(self) -> list[tuple[float, str]]:
        """Nothing: a frame states its sample time in a column or not at all."""
        return []

    def row(self, index: int) -> str:
        """A row by its position and its label."""
        return f"row {index} (counting from 0, index {self._frame.index[index]})"

    def select(self, names: Sequence[str], time: str | None = None) -> list[list[Channel]]:
        """The columns as float64 vectors.

        Args:
            names: column names, with or without the unit in them.
            time: which of them is the time, where dates and durations are read as seconds.

        Returns:
            One list with one channel for each name.

        Raises:
            DataError: no such column, a repeated one, no rows, or not numbers.
        """
        out = []
        for asked in names:
            places = [i for i, column in enumerate(self._columns) if column == asked] or [
                i for i, (name, _) in enumerate(self._bare) if name == asked
            ]
            if not places:
                raise DataError(no_such(self.file, asked, self.names()))
            if len(places) > 1:
                raise DataError(f"{self.file} has {len(places)} columns named '{asked}'; rename all but one.")
            if not len(self._frame):
                raise DataError(f"{self.file} has columns but no rows; leave it out.")
            name, unit = self._bare[places[0]]
            if sum(other == name for other, _ in self._bare) > 1:
                name = self._columns[places[0]]
            values = self._frame.iloc[:, places[0]]
            if getattr(values, "hasnans", False) and str(values.dtype) in _NULLABLE:
                values = values.astype("float64")  # pandas' own missing value becomes NaN
            array = values.to_numpy()
            if asked == time and array.dtype.kind in "Mm":
                array = (array - array[0]) / np.timedelta64(1, "s")
            out.append([Channel(name, real_vector(array, self.file, name, self.row), unit)])
        return out


_NULLABLE = {f"{sign}nt{bits}" for sign in ("I", "UI") for bits in (8, 16, 32, 64)} | {"Float32", "Float64", "boolean"}


def is_frame(source: object) -> bool:
    """Whether this is a pandas DataFrame (or something that behaves as one)."""
    return hasattr(source, "columns") and hasattr(source, "iloc")


def is_array(source: object) -> bool:
    """Whether this is a numpy array or a torch tensor."""
    return isinstance(source, np.ndarray) or (hasattr(source, "detach") and hasattr(source, "cpu"))


def to_matrix(values: Any, what: str) -> np.ndarray:
    """A copy of an array or tensor as float64 (time, channel).

    Args:
        values: (time, channel) or (time,), real.
        what: words for it, such as "u of record 1".

    Returns:
        (time, channel) float64.

    Raises:
        DataError: another number of axes, ragged lists, no samples, not real numbers.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{what} is a ragged list; pass an array (time, channel).") from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(f"{what} has shape {array.shape}; it must be (time, channel).")
    if len(array) == 0:
        raise DataError(f"{what} has no samples; leave that record out.")
    if array.shape[1] > array.shape[0]:
        raise DataError(
            f"{what} has {array.shape[0]} samples of {array.shape[1]} channels; transpose it to (time, channel)."
        )
    columns = [real_vector(array[:, i], what, f"channel {i}", lambda k: f"sample {k}") for i in range(array.shape[1])]
    return np.stack(columns, axis=1)


def digest(arrays: Iterable[np.ndarray]) -> str:
    """The sha256 of arrays: dtype, shape and bytes of each, in order."""
    total = hashlib.sha256()
    for array in arrays:
        if array.dtype.kind == "O":
            array = array.astype(str)
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
