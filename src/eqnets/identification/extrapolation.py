"""Where new data leave what training has seen: there a model extrapolates, and its error says little about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eqnets.identification.data import Data


@dataclass(frozen=True)
class Outside:
    """A channel that leaves its range.

    Args:
        channel: its name.
        role: "input" or "output".
        share: of the samples that lie outside.
        range: the smallest and the largest value in training.
        reached: the smallest and the largest value now.
        unit: of both, "" where unknown.
    """

    channel: str
    role: str
    share: float
    range: tuple[float, float]
    reached: tuple[float, float]
    unit: str

    @property
    def sentence(self) -> str:
        """What a user must read."""
        unit = f" {self.unit}" if self.unit else ""
        (low, high), (bottom, top) = self.range, self.reached
        return (
            f"{self.channel} leaves the range of the training data, {low:.4g} to {high:.4g}{unit}, in "
            f"{100 * self.share:.3g} % of the samples ({bottom:.4g} to {top:.4g}{unit}): the model extrapolates there."
        )


def outside(data_info: dict[str, Any], data: Data) -> tuple[Outside, ...]:
    """The channels of new records that leave the range of the training records.

    Args:
        data_info: of a fit; one from before ranges were stored has none, and nothing is told.
        data: records with the model's channels, in its units.

    Returns:
        One a channel that leaves its range, inputs first.
    """
    found: list[Outside] = []
    for letter, role in (("u", "input"), ("y", "output")):
        ranges: Sequence[Sequence[float]] = data_info.get(f"{letter}_ranges", ())
        if not ranges:
            continue
        samples = np.concatenate([getattr(record, letter) for record in data.records])
        names, units = getattr(data, f"{letter}_names"), getattr(data, f"{letter}_units")
        for i, (low, high) in enumerate(ranges):
            x = samples[:, i]
            share = float(np.mean((x < low) | (x > high)))
            if share > 0:
                reached = (float(x.min()), float(x.max()))
                found.append(Outside(names[i], role, share, (low, high), reached, units[i]))
    return tuple(found)
