"""Does an output drift? A trend over a record that its inputs lack, beyond what chance and slow dynamics make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eqnets.identification.data import Data

_BLOCKS = 12
_DEVIATIONS = 6.0  # of the slope from zero, by the scatter of block means; its distribution has ten degrees of freedom
_SHARE = 0.02
_SHORTEST = 20  # samples a block


@dataclass(frozen=True)
class Drift:
    """The trend of one output in one record.

    Args:
        output: its name.
        record: the record's name.
        change: from the record's start to its end along the trend, in the output's unit.
        share: of the output's variance in the record that the trend explains.
    """

    output: str
    record: str
    change: float
    share: float


def drifts(data: Data) -> tuple[Drift, ...]:
    """The outputs with a clear trend, where no input of the same record has one.

    Args:
        data: the records.

    Returns:
        One a drifting output and record; a hint, since slow dynamics can look the same in a short record.
    """
    found = []
    for record in data.records:
        if len(record) < _BLOCKS * _SHORTEST or any(_trend(u) is not None for u in record.u.T):
            continue
        for name, y in zip(data.y_names, record.y.T, strict=True):
            trend = _trend(y)
            if trend is not None:
                found.append(Drift(name, record.name, *trend))
    return tuple(found)


def _trend(x: np.ndarray) -> tuple[float, float] | None:
    """The change along a line through the block means, and its share of the variance; None where it is not clear."""
    means = np.array([block.mean() for block in np.array_split(x, _BLOCKS)])
    t = np.arange(_BLOCKS) - (_BLOCKS - 1) / 2
    slope = float(t @ means / (t @ t))
    scatter = means - means.mean() - slope * t
    error = float(np.sqrt(scatter @ scatter / (_BLOCKS - 2) / (t @ t)))
    change, variance = slope * _BLOCKS, float(x.var())
    share = change**2 / 12 / variance if variance > 0 else 0.0  # a line of height h has the variance h²/12
    return (change, min(share, 1.0)) if abs(slope) > _DEVIATIONS * error and share > _SHARE else None
