"""How far a simulation is from a measurement: RMSE in units, NRMSE, fit % and VAF, per channel and per record.

With e = y − ŷ over the samples after the first `n_init`, and ȳ the mean of y there:

    rmse = √mean(e²)      nrmse = rmse / std(y)      fit = 100 (1 − ‖e‖/‖y − ȳ‖)      vaf = 100 (1 − var(e)/var(y))

so fit = 100 (1 − nrmse), and VAF alone forgives a constant error. No number is compared with an absolute threshold:
a signal in nanometres is scored as one in kilometres. A simulation that is not finite has an infinite error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eqnets.errors import DataError, InputError
from eqnets.identification.data import Data
from eqnets.identification.record import is_constant


@dataclass(frozen=True, eq=False)
class RecordScore:
    """The score of one record. Of a channel that is constant in this record only `rmse` is a number, the rest is NaN.

    Args:
        name: the record's name.
        n_samples: how many samples were scored.
        rmse: (ny,) in the units of y.
        nrmse: (ny,).
        fit_percent: (ny,).
        vaf: (ny,) in percent.
    """

    name: str
    n_samples: int
    rmse: np.ndarray
    nrmse: np.ndarray
    fit_percent: np.ndarray
    vaf: np.ndarray


@dataclass(frozen=True, eq=False)
class Score:
    """The score of a simulation, over all records together and record by record.

    Args:
        rmse: (ny,) in the units of y: over all scored samples of all records.
        nrmse: (ny,): rmse over the standard deviation of the measurement.
        fit_percent: (ny,): 100 (1 − nrmse).
        vaf: (ny,): variance accounted for, in percent.
        n_init: how many samples at the beginning of every record were left out.
        n_samples: how many samples were scored.
        records: one row per record.
        y_names: the names of the outputs.
        y_units: their units, "" where unknown.
    """

    rmse: np.ndarray
    nrmse: np.ndarray
    fit_percent: np.ndarray
    vaf: np.ndarray
    n_init: int
    n_samples: int
    records: tuple[RecordScore, ...]
    y_names: tuple[str, ...]
    y_units: tuple[str, ...]


def score(measured: Data, simulated: Sequence[ArrayLike], n_init: int = 50) -> Score:
    """The score of simulated outputs against measured ones.

    Args:
        measured: the test data.
        simulated: one (time, ny) array for every record, as long as the record.
        n_init: how many samples at the beginning of every record to leave out, at least 0.

    Returns:
        The score.

    Raises:
        DataError: the shapes differ, n_init leaves fewer than two samples of a record, or an output is constant.
    """
    if len(simulated) != len(measured.records):
        raise DataError(
            f"{len(simulated)} simulations for {len(measured.records)} records; simulate every record once."
        )
    ys, errors, rows = [], [], []
    for record, output in zip(measured.records, simulated, strict=True):
        y, e = _after(record.y, output, n_init, record.name)
        ys.append(y)
        errors.append(e)
        rows.append(RecordScore(record.name, len(y), *_four(y, e)))
    y, e = np.concatenate(ys), np.concatenate(errors)
    _must_move(y, measured.y_names)
    rmse_, nrmse_, fit, vaf_ = _four(y, e)
    return Score(
        rmse_, nrmse_, fit, vaf_, n_init, len(y), tuple(rows), y_names=measured.y_names, y_units=measured.y_units
    )


def rmse(y: ArrayLike, y_hat: ArrayLike, n_init: int = 0) -> np.ndarray:
    """Root mean square error per channel, (ny,) in the units of y; y and y_hat (time, ny) or (time,)."""
    return _rms(_after(y, y_hat, n_init)[1])


def nrmse(y: ArrayLike, y_hat: ArrayLike, n_init: int = 0) -> np.ndarray:
    """RMSE over the standard deviation of y per channel, (ny,); y and y_hat (time, ny) or (time,)."""
    return _checked(y, y_hat, n_init)[1]


def fit_percent(y: ArrayLike, y_hat: ArrayLike, n_init: int = 0) -> np.ndarray:
    """100 (1 − ‖y − ŷ‖/‖y − ȳ‖) per channel, (ny,); y and y_hat (time, ny) or (time,)."""
    return _checked(y, y_hat, n_init)[2]


def vaf(y: ArrayLike, y_hat: ArrayLike, n_init: int = 0) -> np.ndarray:
    """Variance accounted for, 100 (1 − var(y − ŷ)/var(y)) per channel, (ny,); y and y_hat (time, ny) or (time,)."""
    return _checked(y, y_hat, n_init)[3]


def _checked(y: ArrayLike, y_hat: ArrayLike, n_init: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    y, e = _after(y, y_hat, n_init)
    _must_move(y, [f"channel {i}" for i in range(y.shape[1])])
    return _four(y, e)


def _after(y: ArrayLike, y_hat: ArrayLike, n_init: int, name: str = "y") -> tuple[np.ndarray, np.ndarray]:
    """The measurement and the error after n_init samples, both (time, ny)."""
    y, y_hat = (np.asarray(a, dtype=np.float64) for a in (y, y_hat))
    y, y_hat = (a[:, None] if a.ndim == 1 else a for a in (y, y_hat))
    if y.shape != y_hat.shape or y.ndim != 2:
        raise DataError(f"{name}: measured {y.shape} and simulated {y_hat.shape} differ; both must be (time, channel).")
    if isinstance(n_init, bool) or n_init != int(n_init) or n_init < 0:
        raise InputError(f"n_init is {n_init!r}; it is a number of samples, 0 or more.")
    if len(y) - n_init < 2:
        raise DataError(
            f"{name} has {len(y)} samples, and n_init={n_init} leaves {max(len(y) - n_init, 0)}; lower n_init."
        )
    y, y_hat = y[int(n_init) :], y_hat[int(n_init) :]
    if not np.isfinite(y).all():
        raise DataError(f"{name}: the measurement holds NaN or infinities; remove them before scoring.")
    finite = np.isfinite(y_hat)
    return y, np.where(finite, y - np.where(finite, y_hat, 0.0), np.inf)


def _must_move(y: np.ndarray, names: Sequence[str]) -> None:
    still = is_constant(y)
    if still.any():
        name = names[int(np.argmax(still))]
        raise DataError(
            f"the measured output '{name}' is constant in the scored samples, so no error can be related to it; "
            "leave it out, or score a stretch where it moves."
        )


def _rms(values: np.ndarray) -> np.ndarray:
    """√mean(values²) per channel, scaled so that squares neither overflow nor vanish."""
    peak = np.abs(values).max(axis=0)
    scale = np.where((peak > 0) & np.isfinite(peak), peak, 1.0)
    shown = np.where(np.isfinite(peak), values, 0.0) / scale
    return np.where(np.isfinite(peak), scale * np.sqrt(np.mean(shown**2, axis=0)), np.inf)


def _four(y: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    error, moves = _rms(e), ~is_constant(y)
    spread = np.where(moves, _rms(y - y.mean(axis=0)), 1.0)
    ratio = error / spread
    finite = np.isfinite(error)
    quiet = np.where(finite, e, 0.0)
    left = np.where(finite, _rms(quiet - quiet.mean(axis=0)), np.inf) / spread
    numbers = (ratio, 100 * (1 - ratio), 100 * (1 - left**2))
    a, b, c = (np.where(moves, number, np.nan) for number in numbers)
    return error, a, b, c
