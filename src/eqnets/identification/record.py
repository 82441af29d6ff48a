"""One measurement: a record of input and output samples, where it comes from, and what makes its numbers usable."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eqnets.errors import DataError


@dataclass(frozen=True)
class Source:
    """Where records come from.

    Args:
        file: the base name of the file, or a word such as `"record 1"` for arrays in memory.
        sha256: hexadecimal digest of the file's bytes (of the arrays' bytes for arrays in memory).
        dt_evidence: where the sample time comes from, and what was left out, in words.
    """

    file: str
    sha256: str
    dt_evidence: str = ""


@dataclass(frozen=True, eq=False)
class Record:
    """One uninterrupted measurement. The arrays are copies, float64, C-contiguous and read-only.

    Args:
        u: (time, nu) input samples.
        y: (time, ny) output samples.
        name: the name under which scores and reports show it.

    Raises:
        DataError: not two axes, different lengths, fewer than two samples, a value that is not a finite number.
    """

    u: np.ndarray
    y: np.ndarray
    name: str = "record"

    def __post_init__(self) -> None:
        for letter in ("u", "y"):
            object.__setattr__(self, letter, _frozen(getattr(self, letter), letter, self.name))
        if len(self.u) != len(self.y):
            raise DataError(
                f"{self.name}: u has {len(self.u)} samples and y has {len(self.y)}; cut both to the same length."
            )
        if len(self.u) < 2:
            raise DataError(f"{self.name} has {len(self.u)} samples; a record needs at least two.")

    def __len__(self) -> int:
        return len(self.u)

    def cut(self, start: int, stop: int, suffix: str = "") -> Record:
        """The samples `start` to `stop` (exclusive) as a record of their own.

        Args:
            start: first sample, 0 ≤ start.
            stop: the sample after the last one.
            suffix: what is added to the name.

        Returns:
            The new record; fewer than two samples are a DataError.
        """
        return Record(self.u[start:stop], self.y[start:stop], self.name + suffix)


def _frozen(values: object, letter: str, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError
        array = np.array(array, dtype=np.float64, order="C", copy=True)
    except (TypeError, ValueError):
        raise DataError(f"{name}: {letter} is not an array of real numbers (time, channel).") from None
    if array.ndim != 2:
        raise DataError(
            f"{name}: {letter} has shape {array.shape}; it must be (time, channel), (time, 1) for one channel."
        )
    if array.shape[1] > array.shape[0] > 1:
        raise DataError(
            f"{name}: {letter} has {array.shape[0]} samples of {array.shape[1]} channels; it must be (time, channel): "
            "transpose it."
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise DataError(
            f"{name}: {letter} is {array[row, column]} at sample {row} (counting from 0), channel {column}; remove the "
            "sample, or cut the record in two there."
        )
    array.setflags(write=False)
    return array


def positive_dt(dt: object) -> float:
    """The sample time as a float.

    Args:
        dt: seconds.

    Returns:
        The same number.

    Raises:
        DataError: it is not a positive finite number.
    """
    try:
        value = float(dt) if not isinstance(dt, bool) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"the sample time is {dt!r}; give a positive number of seconds, e.g. dt=1/400 (--dt 0.0025).")
    return value


def same_dt(a: float, b: float, slack: float = 0.0) -> bool:
    """Whether two sample times agree within 0.01 %, plus the `slack` in seconds that rounded time stamps need."""
    return abs(a - b) <= 1e-4 * min(a, b) + slack


def is_constant(samples: np.ndarray) -> np.ndarray:
    """Which channels do not move beyond the rounding of float64, with no absolute threshold.

    Args:
        samples: (time, channel).

    Returns:
        (channel,) booleans.
    """
    span = samples.max(axis=0) - samples.min(axis=0)
    return span <= 8 * np.finfo(np.float64).eps * np.abs(samples).max(axis=0)
