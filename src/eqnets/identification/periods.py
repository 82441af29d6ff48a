"""Repeated periods of an input: what differs from period to period in the output is noise, the rest is the system.

A record is periodic where every input repeats itself after P samples, a local maximum of its autocorrelation near one.
With the outputs of M periods and their mean ȳ, the noise variance is Σ (y − ȳ)²/((M − 1) P) (Pintelon & Schoukens 2012,
ch. 2.5). The first of three or more periods is left out: the transient dies away in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eqnets.identification.data import Data

_SAME = 0.99
_SHORTEST = 16


@dataclass(frozen=True)
class Noise:
    """What repeated periods tell of one output, over all periodic records.

    Args:
        output: its name.
        std: the noise' standard deviation, in the output's unit.
        share: the noise' share of the output's variance.
        records: how many records are periodic.
        period: of the first of them, in samples.
        count: how many whole periods it has.
    """

    output: str
    std: float
    share: float
    records: int
    period: int
    count: int

    @property
    def snr_db(self) -> float:
        """10 log10 of the variance that repeats over the variance that does not; inf without noise."""
        return float(10 * np.log10((1 - self.share) / self.share)) if self.share > 0 else float("inf")


def period_of(u: np.ndarray) -> int | None:
    """The number of samples after which all inputs repeat themselves.

    Args:
        u: (time, nu).

    Returns:
        The period, at most half of the record; None where there is none.
    """
    n = len(u)
    if n < 2 * _SHORTEST:
        return None
    r = np.min([_autocorrelation(u[:, j]) for j in range(u.shape[1])], axis=0)
    lags = np.arange(_SHORTEST, n // 2 + 1)
    lags = lags[lags + 1 < n]
    peaks = lags[(r[lags] >= _SAME) & (r[lags] >= r[lags - 1]) & (r[lags] >= r[lags + 1])]
    return int(peaks[0]) if len(peaks) else None


def noise_levels(data: Data) -> tuple[Noise, ...]:
    """The noise of every output, from the records whose inputs repeat themselves.

    Args:
        data: the records.

    Returns:
        One an output; empty where no record is periodic.
    """
    rest, whole, free = np.zeros(data.ny), np.zeros(data.ny), 0
    found: list[tuple[int, int]] = []
    samples = 0
    for record in data.records:
        period = period_of(record.u)
        if period is None:
            continue
        count = len(record) // period
        skipped = 1 if count >= 3 else 0
        y = record.y[skipped * period : count * period].reshape(count - skipped, period, data.ny)
        rest += ((y - y.mean(axis=0)) ** 2).sum((0, 1))
        free += (count - skipped - 1) * period
        whole += ((y - y.mean((0, 1))) ** 2).sum((0, 1))
        samples += (count - skipped) * period
        found.append((period, count))
    if not found:
        return ()
    variance, total = rest / free, whole / samples
    share = np.divide(variance, total, out=np.zeros(data.ny), where=total > 0).clip(0.0, 1.0)
    return tuple(
        Noise(name, float(variance[i] ** 0.5), float(share[i]), len(found), *found[0])
        for i, name in enumerate(data.y_names)
    )


def _autocorrelation(x: np.ndarray) -> np.ndarray:
    """Σ x_t x_{t+τ} over the root of the energies of both stretches, for τ = 0 … n − 1; 0 without energy."""
    n = len(x)
    x = x - x.mean()
    size = 1 << (2 * n - 1).bit_length()
    products = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[:n]
    energy = np.concatenate([[0.0], np.cumsum(x * x)])
    both = np.sqrt(energy[n - np.arange(n)] * (energy[n] - energy[np.arange(n)]))
    return np.divide(products, both, out=np.zeros(n), where=both > 1e-12 * max(energy[-1], 1e-300))
