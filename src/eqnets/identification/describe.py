"""What measured data can support: ranges, saturation, excitation band, delays, noise, drift, the linear share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eqnets.identification.data import Data
from eqnets.identification.drift import Drift, drifts
from eqnets.identification.normaliser import refuse_sizes
from eqnets.identification.periods import Noise, noise_levels
from eqnets.identification.record import Source


@dataclass(frozen=True)
class ChannelSummary:
    """One channel over all records.

    Args:
        name: its name.
        role: "input" or "output".
        unit: its unit, "" where unknown.
        minimum: the smallest sample.
        maximum: the largest sample.
        mean: the mean.
        std: the standard deviation.
        at_minimum: the share of samples that equal the minimum.
        at_maximum: the share of samples that equal the maximum.
        saturated: a hint: over 1 % of the samples, and at least five, sit on one extreme, of a signal of more than ten
            values.
        band: for an input, the frequency in Hz below which 99 % of its power lies; None for an output.
    """

    name: str
    role: str
    unit: str
    minimum: float
    maximum: float
    mean: float
    std: float
    at_minimum: float
    at_maximum: float
    saturated: bool
    band: float | None


@dataclass(frozen=True)
class DelayGuess:
    """The first lag at which an output answers an input.

    Args:
        input: the input's name.
        output: the output's name.
        samples: the lag in samples; None where no correlation stands out.
    """

    input: str
    output: str
    samples: int | None


@dataclass(frozen=True)
class LinearShare:
    """How much of an output a linear model of the inputs could explain, by the coherence.

    Args:
        output: the output's name.
        share: between 0 and 1; None where the records are too short, or the output too slow, to tell.
        snr_db: 10 log10(share/(1 − share)), where noise and nonlinearity together are the rest; None likewise.
    """

    output: str
    share: float | None
    snr_db: float | None


@dataclass(frozen=True)
class Description:
    """What `describe` finds.

    Args:
        channels: inputs, then outputs.
        delays: one guess for every pair.
        linear: one share for every output.
        noise: one level for every output, from repeated periods; empty where no input repeats itself.
        drifts: outputs with a trend that no input has.
        record_names: the names of the records.
        lengths: the samples of each.
        dt: the sample time in seconds.
        duration: all records together, in seconds.
        sources: the files.
    """

    channels: tuple[ChannelSummary, ...]
    delays: tuple[DelayGuess, ...]
    linear: tuple[LinearShare, ...]
    noise: tuple[Noise, ...]
    drifts: tuple[Drift, ...]
    record_names: tuple[str, ...]
    lengths: tuple[int, ...]
    dt: float
    duration: float
    sources: tuple[Source, ...]

    def nonlinear_share(self, output: int) -> float | None:
        """What is neither linear in the inputs nor noise, as a share of an output's variance.

        An upper bound: dynamics slower than the stretches of the coherence count as nonlinear too.

        Args:
            output: its number, from 0.

        Returns:
            The share; None where the noise or the linear share is not known.
        """
        share = self.linear[output].share
        if share is None or not self.noise:
            return None
        return max(0.0, 1.0 - share - self.noise[output].share)


def describe(data: Data) -> Description:
    """What the data can support, without fitting anything.

    Args:
        data: the records.

    Returns:
        The description.

    Raises:
        DataError: a channel is so large or small that its squares are no numbers.
    """  # noqa: DOC502
    refuse_sizes(data)
    channels = []
    for role, letter, names, units in (
        ("input", "u", data.u_names, data.u_units),
        ("output", "y", data.y_names, data.y_units),
    ):
        for i, (name, unit) in enumerate(zip(names, units, strict=True)):
            parts = [getattr(record, letter)[:, i] for record in data.records]
            band = _band(parts, data.dt) if role == "input" else None
            channels.append(_channel(name, role, unit, np.concatenate(parts), band))
    delays = tuple(
        DelayGuess(u, y, _delay([r.u[:, j] for r in data.records], [r.y[:, i] for r in data.records]))
        for i, y in enumerate(data.y_names)
        for j, u in enumerate(data.u_names)
    )
    shares = _linear_shares(data)
    linear = tuple(LinearShare(name, share, _decibel(share)) for name, share in zip(data.y_names, shares, strict=True))
    return Description(
        tuple(channels), delays, linear, noise_levels(data), drifts(data), tuple(r.name for r in data.records),
        data.lengths, data.dt, data.duration, data.sources,
    )  # fmt: skip


def _channel(name: str, role: str, unit: str, x: np.ndarray, band: float | None) -> ChannelSummary:
    low, high = float(x.min()), float(x.max())
    at_low, at_high = float(np.mean(x == low)), float(np.mean(x == high))
    most = max(at_low, at_high)
    saturated = most > 0.01 and most * len(x) > 4.5 and len(np.unique(x)) > 10
    return ChannelSummary(
        name, role, unit, low, high, float(x.mean()), float(x.std()), at_low, at_high, saturated, band
    )


def _powers(parts: list[np.ndarray], dt: float) -> tuple[np.ndarray, np.ndarray]:
    """The frequencies in Hz of all records, sorted, and the power below each as a share; NaN without power."""
    frequency, power = [], []
    for x in parts:
        frequency.append(np.fft.rfftfreq(len(x), dt))
        power.append(np.abs(np.fft.rfft(x - x.mean())) ** 2 / len(x))
    f, p = np.concatenate(frequency), np.concatenate(power)
    order = np.argsort(f, kind="stable")
    cumulative = np.cumsum(p[order])
    return f[order], cumulative / (cumulative[-1] if cumulative[-1] > 0 else np.nan)


def _band(parts: list[np.ndarray], dt: float) -> float | None:
    """The frequency below which 99 % of the power of all records lies; None for a signal without power."""
    f, below = _powers(parts, dt)
    return float(f[np.searchsorted(below, 0.99)]) if np.isfinite(below[-1]) else None


def _delay(us: list[np.ndarray], ys: list[np.ndarray], order: int = 20, lags: int = 200) -> int | None:
    # An auto-regressive model of u, A(q) u = white, filters the input's colour from both: the correlation of A u with
    # A y is then the impulse response. The first lag τ ≥ 0 that stands out is the delay.
    n = min(len(u) for u in us)
    order, lags = min(order, n // 10), min(lags, n // 4)
    if order < 1:
        return None
    us = [u - u.mean() for u in us]
    R = sum((_lagged(u, u, order) for u in us), np.zeros(order + 1))
    if not R[0] > 0:
        return None
    toeplitz = R[np.abs(np.subtract.outer(np.arange(order), np.arange(order)))]
    a = np.linalg.solve(toeplitz + 1e-6 * R[0] * np.eye(order), R[1:])  # Yule–Walker, with a little white noise
    whiten = np.concatenate([[1.0], -a])
    total, e_power, y_power, count = np.zeros(lags + 1), 0.0, 0.0, 0
    for u, y in zip(us, ys, strict=True):
        e, v = (np.convolve(x, whiten, mode="valid") for x in (u, y - y.mean()))
        total += _lagged(v, e, lags)
        e_power, y_power, count = e_power + e @ e, y_power + v @ v, count + len(e)
    if not (e_power > 0 and y_power > 0):
        return None
    r = np.abs(total) / (e_power * y_power) ** 0.5
    # 4.5 standard deviations of chance, and a fifth of the highest answer: the first lag of a response, not of noise
    above = np.flatnonzero(r > max(4.5 / count**0.5, 0.2 * r.max()))
    return int(above[0]) if len(above) else None


def _lagged(a: np.ndarray, b: np.ndarray, lags: int) -> np.ndarray:
    """Σ_t a(t) b(t − τ) for τ = 0 … lags."""
    size = 1 << (len(a) + lags).bit_length()
    return np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)[: lags + 1]


def _linear_shares(data: Data) -> list[float | None]:
    """Σ_f γ²(f) S_yy(f) / Σ_f S_yy(f), with γ² the multiple coherence of all inputs, bias removed."""
    length = min(1024, 1 << (max(data.lengths) // 16).bit_length() - 1) if max(data.lengths) >= 256 else 0
    window = np.hanning(length)[:, None]
    U, Y = [], []
    for record in data.records:
        for start in range(0, len(record) - length + 1, max(length // 2, 1)) if length else ():
            for values, out in ((record.u, U), (record.y, Y)):
                part = values[start : start + length]
                out.append(np.fft.rfft((part - part.mean(axis=0)) * window, axis=0)[1:])
    k, nu = len(U), data.nu
    if k < 8 * nu:
        return [None] * data.ny
    u, y = np.stack(U), np.stack(Y)  # (segment, frequency, channel)
    Suu = np.einsum("sfi,sfj->fij", u, u.conj()) / k
    Syu = np.einsum("sfi,sfj->fij", y, u.conj()) / k
    Syy = np.mean(np.abs(y) ** 2, axis=0)
    ridge = 1e-9 * np.trace(Suu, axis1=1, axis2=2).real.max() * np.eye(nu)
    H = np.linalg.solve(Suu + ridge, Syu.conj().transpose(0, 2, 1))  # (frequency, input, output)
    explained = np.einsum("foi,fio->fo", Syu, H).real
    shares: list[float | None] = []
    for i in range(data.ny):
        total = Syy[:, i].sum()
        # dynamics slower than a segment leak over all its frequencies: then the coherence says nothing
        f, below = _powers([record.y[:, i] for record in data.records], data.dt)
        slow = below[np.searchsorted(f, 4 / (length * data.dt), side="right") - 1]
        if not (total > 0 and slow < 0.1):
            shares.append(None)
            continue
        rest = (Syy[:, i] - explained[:, i]).clip(min=0).sum() / total * k / (k - nu)  # k − nu degrees of freedom
        shares.append(float(np.clip(1 - rest, 0.0, 1.0)))
    return shares


def _decibel(share: float | None) -> float | None:
    if share is None:
        return None
    return float(10 * np.log10(max(share, 1e-12) / max(1 - share, 1e-12)))
