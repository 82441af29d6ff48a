"""The error of a model over frequency, from measured records, and a weight |G − Ĝ| ≤ |W(jω)| for robust design.

What the model does not explain, e = y − ŷ, is regressed on the input, frequency by frequency, over K stretches of the
records: H = S_eu S_uu⁻¹ estimates G − Ĝ. With m = K − nu, noise that is independent of the input, and stretches that
are independent of each other,

    |H_ij − (G − Ĝ)_ij|² ≤ [S_uu⁻¹]_jj S_vv,i (α^(−1/m) − 1)       with probability 1 − α,     S_vv = S_ee − H S_uu Hᴴ

(the left side over [S_uu⁻¹]_jj S_vv/m has Fisher's distribution F(2, 2m), whose tail is (1 + f/m)^(−m)). α is shared
out over all frequencies and channel pairs (Bonferroni), so that the bound is meant for all of them at once.

It is an estimate, not a proof: of a nonlinear plant G is the best linear approximation under inputs like these,
stretches of finite length leak, and where the input has no power nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eqnets.errors import DataError, InputError
from eqnets.identification.data import Data
from eqnets.identification.identified import Identified
from eqnets.identification.weight import smallest_weight
from eqnets.system.lti import LTI

_LONGEST, _SHORTEST = 1024, 32
_STRETCHES = 16  # at least so many for every input
_POWER = 1e-3  # of an input's peak: below, a frequency counts as not excited


@dataclass(frozen=True, eq=False)
class ModelError:
    """What `model_error` found.

    Args:
        hertz: (k,) frequencies in Hz.
        estimate: (k, ny, nu) |H|, in the outputs' over the inputs' units.
        upper: (k, ny, nu) the upper end of its confidence interval.
        excited: (k, nu) where an input has power; elsewhere nothing is known.
        dt: the sample time in seconds.
        confidence: that the true error lies below `upper` at all excited frequencies.
        stretches: that were averaged.
        y_names: of the outputs.
        u_names: of the inputs.
    """

    hertz: np.ndarray
    estimate: np.ndarray
    upper: np.ndarray
    excited: np.ndarray
    dt: float
    confidence: float
    stretches: int
    y_names: tuple[str, ...]
    u_names: tuple[str, ...]

    def weight(self, output: int = 0, input: int = 0, order: int = 2) -> LTI:
        """A system of low order with |W| ≥ upper wherever the input is excited, stable and with a stable inverse.

        Args:
            output: its number, from 0.
            input: likewise.
            order: even.

        Returns:
            W, one input and one output, in the units of the pair.

        Raises:
            InputError: the order is not even and at least 2.
        """
        if not isinstance(order, int) or order < 2 or order % 2:
            raise InputError(f"order must be an even number of at least 2; got {order!r}.")
        there = self.excited[:, input]
        return smallest_weight(self.hertz[there], self.upper[there, output, input], order, self.dt)

    @property
    def sentence(self) -> str:
        """What a user must read."""
        return (
            f"Estimated from {self.stretches} stretches of the records, with {100 * self.confidence:g} % confidence at "
            "all frequencies together. It is an estimate from data, not a proof: it speaks of the best linear "
            "approximation of the plant under inputs like these, and says nothing where they have no power."
        )


def model_error(fit: Identified, data: Data, *, confidence: float = 0.95, n_init: int = 50) -> ModelError:
    """Estimate G − Ĝ over frequency from the residual of a model; `.weight()` of the result bounds it.

    Args:
        fit: the model (or its linear start, `fit.linear`).
        data: records, best such that training has not seen.
        confidence: between 0 and 1.
        n_init: samples at the start of each record that set the initial state, and are left out.

    Returns:
        The estimate and its upper bound.

    Raises:
        InputError: the confidence is out of range, or (a DataError) the records are too short or do not fit the model.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1; got {confidence}.")
    fit.check(data)
    kept = [record for record in data.records if len(record) > n_init]
    pairs = [(r.u[n_init:], (r.y - fit.simulate(r.u, r.y[:n_init]))[n_init:]) for r in kept]
    length = _length([len(u) for u, _ in pairs], data.nu)
    window = np.hanning(length + 1)[:-1, None]
    U, E = (_spectra([pair[k] for pair in pairs], window) for k in (0, 1))  # (stretch, frequency, channel)
    K = len(U)
    Suu = np.einsum("sfi,sfj->fij", U, U.conj()) / K
    Seu = np.einsum("sfi,sfj->fij", E, U.conj()) / K
    power = np.einsum("fjj->fj", Suu).real
    excited = power > _POWER * power.max(axis=0)
    inverse = np.linalg.pinv(Suu, rcond=1e-12, hermitian=True)
    H = Seu @ inverse
    rest = np.mean(np.abs(E - np.einsum("fij,sfj->sfi", H, U)) ** 2, axis=0)  # S_vv (frequency, output)
    alpha = (1 - confidence) / max(int(excited.sum()) * data.ny, 1)
    share = np.einsum("fjj->fj", inverse).real[:, None, :] * rest[:, :, None]
    radius = np.sqrt(share * (alpha ** (-1 / (K - data.nu)) - 1))
    upper = np.abs(H) + radius
    hertz = np.fft.rfftfreq(length, data.dt)[1:-1]
    return ModelError(hertz, np.abs(H), upper, excited, data.dt, confidence, K, data.y_names, data.u_names)


def _length(lengths: Sequence[int], nu: int) -> int:
    """The longest power of two of which the records hold enough stretches."""
    length = _LONGEST
    while length >= _SHORTEST:
        if sum(n // length for n in lengths) >= _STRETCHES * nu:
            return length
        length //= 2
    raise DataError(
        f"the records are too short to tell the model's error over frequency: {_STRETCHES * nu} stretches of "
        f"{_SHORTEST} samples are needed after those that set the initial state; give more data."
    )


def _spectra(signals: Sequence[np.ndarray], window: np.ndarray) -> np.ndarray:
    """(stretch, frequency, channel), without the mean and without the Nyquist frequency, where spectra are real."""
    n = len(window)
    parts = [x[k : k + n] for x in signals for k in range(0, len(x) - n + 1, n)]
    return np.stack([np.fft.rfft(window * (part - part.mean(axis=0)), axis=0)[1:-1] for part in parts])
