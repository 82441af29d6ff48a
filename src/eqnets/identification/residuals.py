"""Residual analysis: is anything of the input left in what the model does not explain?

The simulation error e of a good model is coloured by the sensor and by disturbances, so its auto-correlation is shown
but proves nothing against the model. What a model must not leave behind is a relation with the input. The verdict
therefore rests on c(τ) = (1/N) Σ_t e(t) z(t − τ), τ = 0 … lags, once for z = u (what a better linear part would
explain) and once for z = (u − ū)² (what a better nonlinear part would), every input against every output.

Under independence of e and z, given z, c(τ) has mean zero and

    var c(τ) = (1/N) Σ_k R_e(k) R_z(k)                                   (Bartlett; Box & Jenkins, ch. 11)

and not R_e(0) R_z(0)/N: between coloured signals the latter band is too narrow. R_z is the sample auto-covariance; R_e
is the sample auto-covariance under a Parzen lag window, whose length the data chooses.

The rule: the verdict is *independent* if no |c(τ)|/√var exceeds z_{1 − α/(2m)}, with m the number of all correlations
looked at (lags × inputs × outputs × 2). By Bonferroni's inequality an independent residual is then refused with a
probability of at most α = 1 % (asymptotically: the normal quantile is exact for long records).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.record import is_constant


@dataclass(frozen=True, eq=False)
class AutoCorrelation:
    """The auto-correlation of one output's residual: for the eye, not for the verdict.

    Args:
        output: the output's name.
        r: (lags + 1,) r[0] = 1.
        band: 99 % of the values for τ > 0 lie within ±band if the residual is white.
    """

    output: str
    r: np.ndarray
    band: float


@dataclass(frozen=True, eq=False)
class CrossCorrelation:
    """The correlation of one output's residual with one input, or with its square.

    Args:
        output: the output's name.
        input: the input's name.
        squared: whether it is the correlation with (u − ū)².
        r: (lags + 1,) correlation coefficients of e(t) and z(t − τ), τ = 0 … lags.
        band: 99 % of them lie within ±band if e and z are independent (one lag at a time).
        limit: the verdict's limit: beyond ±limit a value counts against the model.
        peak: the largest |r|/limit.
        peak_lag: the lag in samples at which it stands.
    """

    output: str
    input: str
    squared: bool
    r: np.ndarray
    band: float
    limit: float
    peak: float
    peak_lag: int

    @property
    def independent(self) -> bool:
        """Whether every value lies within the limit."""
        return self.peak <= 1.0


@dataclass(frozen=True, eq=False)
class Residuals:
    """The residual analysis of one simulation.

    Args:
        auto: one per output.
        cross: one per output, input and power (u, then (u − ū)²); a two-valued input has no second.
        lags: the largest lag in samples.
        dt: the sample time in seconds.
        alpha: the largest probability of refusing an independent residual.
        n_samples: how many samples were used.
    """

    auto: tuple[AutoCorrelation, ...]
    cross: tuple[CrossCorrelation, ...]
    lags: int
    dt: float
    alpha: float
    n_samples: int

    @property
    def independent(self) -> bool:
        """The verdict: whether nothing of the input is found in the residual."""
        return all(test.independent for test in self.cross)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        rule = f"{sum(len(t.r) for t in self.cross)} correlations, false alarms at most {self.alpha:.0%}"
        if self.independent:
            return f"Nothing of the input is found in the residual ({rule})."
        worst = max(self.cross, key=lambda test: test.peak)
        power = "the square of " if worst.squared else ""
        kind = "nonlinear" if worst.squared else "linear"
        return (
            f"The residual of {worst.output} is related to {power}{worst.input}: at lag {worst.peak_lag} "
            f"({worst.peak_lag * self.dt:.3g} s) the correlation is {worst.r[worst.peak_lag]:+.3f} where "
            f"±{worst.limit:.3f} is the limit ({rule}). There is {kind} behaviour that the model leaves out."
        )


def analyse(
    measured: Data, simulated: Sequence[ArrayLike], n_init: int = 50, lags: int | None = None, alpha: float = 0.01
) -> Residuals:
    """The residual analysis of simulated outputs against measured ones.

    Args:
        measured: the test data; its records are pooled, each with its own mean, colour and weight.
        simulated: one (time, ny) array for every record.
        n_init: how many samples at the beginning of every record to leave out.
        lags: the largest lag in samples; None: 100, or a tenth of the shortest record if that is less.
        alpha: the largest probability of refusing an independent residual, 0 < alpha < 1.

    Returns:
        The analysis.

    Raises:
        DataError: the shapes differ, a record is too short, the simulation is not finite, or a residual is constant.
    """
    if not 0 < alpha < 1:
        raise DataError(f"alpha is {alpha}; it is a probability between 0 and 1, such as 0.01.")
    if len(simulated) != len(measured.records):
        raise DataError(
            f"{len(simulated)} simulations for {len(measured.records)} records; simulate every record once."
        )
    us, es = [], []
    for record, output in zip(measured.records, simulated, strict=True):
        output = np.asarray(output, dtype=np.float64)
        output = output[:, None] if output.ndim == 1 else output
        if output.shape != record.y.shape:
            raise DataError(f"{record.name}: measured {record.y.shape} and simulated {output.shape} differ.")
        if not np.isfinite(output).all():
            raise DataError(f"{record.name}: the simulation is not finite, so there is no residual to analyse.")
        if len(output) - n_init < 50:
            raise DataError(f"{record.name} leaves {max(len(output) - n_init, 0)} samples; residual analysis needs 50.")
        us.append(record.u[n_init:])
        es.append(record.y[n_init:] - output[n_init:])
    shortest = min(len(e) for e in es)
    lags = min(100, shortest // 10) if lags is None else lags
    if not 0 <= lags < shortest:
        raise DataError(f"lags is {lags}; it lies between 0 and {shortest - 1}, the shortest record after n_init.")
    still = np.all([is_constant(e) for e in es], axis=0)
    if still.any():
        name = measured.y_names[int(np.argmax(still))]
        raise DataError(f"the residual of '{name}' is constant; there is nothing to analyse.")

    n = sum(len(e) for e in es)
    es = [e - e.mean(axis=0) for e in es]
    us = [u - u.mean(axis=0) for u in us]
    auto, found = [], []
    for i, output in enumerate(measured.y_names):
        scale = np.abs(np.concatenate([e[:, i] for e in es])).max()
        parts = [_Part(e[:, i] / scale) for e in es]
        covariance = sum((part.covariance[: lags + 1] * part.n for part in parts), np.zeros(lags + 1))
        auto.append(AutoCorrelation(output, covariance / covariance[0], NormalDist().inv_cdf(0.995) / n**0.5))
        for j, name in enumerate(measured.u_names):
            for squared in (False, True):
                z = [u[:, j] ** 2 if squared else u[:, j] for u in us]
                if all(_still(v, u[:, j]) if squared else _still(v, v) for v, u in zip(z, us, strict=True)):
                    continue
                found.append((output, name, squared, *_cross(parts, z, lags)))
    m = sum(len(r) for *_, r, _ in found)
    if not m:
        raise DataError("every input is constant after n_init; there is nothing that the residual could be related to.")
    wide, narrow = NormalDist().inv_cdf(1 - alpha / (2 * m)), NormalDist().inv_cdf(0.995)
    cross = []
    for output, name, squared, r, sigma in found:
        k = int(np.argmax(np.abs(r)))
        peak = float(abs(r[k]) / (wide * sigma))
        cross.append(CrossCorrelation(output, name, squared, r, narrow * sigma, wide * sigma, peak, k))
    return Residuals(tuple(auto), tuple(cross), lags, measured.dt, alpha, n)


class _Part:
    """One record's residual with mean zero: its spectrum and its auto-covariance, full and windowed."""

    def __init__(self, e: np.ndarray) -> None:
        self.n = len(e)
        self.size = 1 << (2 * self.n - 1).bit_length()  # zero padding: no lag wraps around
        self.spectrum = np.fft.rfft(e, self.size)
        self.covariance = _covariance(self.spectrum, self.size, self.n)
        self.windowed = self.covariance * _parzen(self.n, _window_length(self.covariance, self.n))


def _cross(parts: list[_Part], z: list[np.ndarray], lags: int) -> tuple[np.ndarray, float]:
    """The correlation coefficients over all records and their standard deviation under independence."""
    total, variance, e_power, z_power = np.zeros(lags + 1), 0.0, 0.0, 0.0
    peak = max(np.abs(v).max() for v in z)
    for part, signal in zip(parts, z, strict=True):
        spectrum = np.fft.rfft((signal - signal.mean()) / peak, part.size)
        covariance = _covariance(spectrum, part.size, part.n)
        total += np.fft.irfft(part.spectrum * np.conj(spectrum), part.size)[: lags + 1]
        # N² var c(τ) = N Σ_k R_e(k) R_z(k), k from −(N−1) to N−1
        both = part.windowed * covariance
        variance += part.n * (2 * both.sum() - both[0])
        e_power += part.n * part.covariance[0]
        z_power += part.n * covariance[0]
    scale = (e_power * z_power) ** 0.5
    return total / scale, variance**0.5 / scale


def _covariance(spectrum: np.ndarray, size: int, n: int) -> np.ndarray:
    """R(k) = (1/N) Σ_t x(t) x(t+k), k = 0 … N−1."""
    return np.fft.irfft(np.abs(spectrum) ** 2, size)[:n] / n


def _window_length(covariance: np.ndarray, n: int) -> int:
    """Four times the lag after which the residual's correlation stays in the noise (Politis 2003), at most n/8."""
    r = np.abs(covariance / covariance[0]) if covariance[0] > 0 else np.zeros(n)
    quiet = r[1:] < 2 * (np.log10(n) / n) ** 0.5
    run = max(5, int(np.log10(n) ** 0.5 * 5))
    ones = np.convolve(quiet, np.ones(run), mode="valid")
    silent = np.flatnonzero(ones >= run)
    memory = int(silent[0]) if len(silent) else n
    return int(np.clip(4 * memory, 20, max(20, n // 8)))


def _parzen(n: int, length: int) -> np.ndarray:
    """Parzen's lag window of the given length, (n,); its spectrum is nowhere negative, so no variance is."""
    x = np.arange(n) / length
    return np.where(x <= 0.5, 1 - 6 * x**2 * (1 - x), np.where(x < 1, 2 * (1 - np.minimum(x, 1)) ** 3, 0.0))


def _still(z: np.ndarray, u: np.ndarray) -> bool:
    """Whether a regressor does not move: spread below rounding, measured against the input that it is made of."""
    power = np.abs(z).max() if z is u else np.abs(u).max() ** 2
    return bool(np.ptp(z) <= 1e-12 * power)
