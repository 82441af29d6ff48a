"""Rates of change in place of outputs that integrate, and the way back."""

from __future__ import annotations

import numpy as np

from eqnets.identification.data import Data
from eqnets.identification.metrics import Score, score


def base_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs that rates stand for: `Δq/Δt` → `q`; other names stay.

    Args:
        names: of a model's outputs.

    Returns:
        Names of measured outputs, as many.
    """
    return tuple(name[1:-3] if is_rate(name) else name for name in names)


def is_rate(name: str) -> bool:
    """Whether `Data.difference` gave this name."""
    return name.startswith("Δ") and name.endswith("/Δt") and len(name) > 4


def integrated_score(measured: Data, simulated: list[np.ndarray], rates: list[bool], n_init: int) -> Score:
    """Score rates of change as the outputs they stand for, summed from the measured output at sample n_init on.

    Args:
        measured: the outputs themselves, not their rates.
        simulated: (time − 1, ny) for every record, rates where `rates` says so.
        rates: for every output, whether it was simulated as a rate.
        n_init: first samples that are not scored; the sum starts from the measured output there.

    Returns:
        The score, in the outputs' own units.
    """
    whole = []
    for record, y in zip(measured.records, simulated, strict=True):
        outputs = np.concatenate([y, y[-1:]])
        for i, rate in enumerate(rates):
            if rate:
                outputs[n_init:, i] = record.y[n_init, i]
                outputs[n_init + 1 :, i] += measured.dt * np.cumsum(y[n_init:, i])
        whole.append(outputs)
    return score(measured, whole, n_init=n_init)
