"""What the page is made of: every record with what the model and the linear model make of it, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eqnets.reporting.figures import Channels


@dataclass(frozen=True)
class Run:
    """One record and its simulations.

    Args:
        role: `"test"` or `"training"`.
        name: of the record.
        u: (T, nu).
        y: (T, ny) measured.
        model: (T, ny) simulated by the model.
        linear: (T, ny) by the linear model, or None where there is none.
        n_init: samples at the start that set the initial state.
    """

    role: str
    name: str
    u: np.ndarray
    y: np.ndarray
    model: np.ndarray
    linear: np.ndarray | None
    n_init: int


def channels_of(fit: Any) -> Channels:
    """The names and units of a fit's channels; u1, y1, … where there are none."""
    system = fit.system
    return Channels(
        system.u_names or tuple(f"u{i + 1}" for i in range(system.nu)),
        system.y_names or tuple(f"y{i + 1}" for i in range(system.ny)),
        system.u_units or ("",) * system.nu, system.y_units or ("",) * system.ny, system.dt,
    )  # fmt: skip


def runs(fit: Any, data: Any, role: str, n_init: int) -> list[Run]:
    """Every record of `data`, simulated by the model and by the linear model.

    Args:
        fit: the fit.
        data: the records, in physical units.
        role: `"test"` or `"training"`.
        n_init: samples that set the initial state.

    Returns:
        One run per record, in order.
    """
    found = []
    for record in data.records:
        model = fit.simulate(record.u, record.y[:n_init])
        linear = fit.linear.simulate(record.u, record.y[:n_init]) if fit.linear is not None else None
        found.append(Run(role, record.name, record.u, record.y, model, linear, n_init))
    return found


def linear_outputs(runs: Sequence[Run]) -> list[np.ndarray]:
    """What the linear model makes of the records; empty where there is none."""
    return [run.linear for run in runs if run.linear is not None]
