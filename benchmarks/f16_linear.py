"""The linear rows of the F16 benchmark: ridge FIR models of 1500 taps, the best under each gain bound, in seconds.

A FIR model's gain is max_ω σ̄(H(e^{jω})), here on 2¹⁵ frequencies. Under a bound γ every ridge gives a candidate, scaled
by γ/gain where it exceeds γ; the one with the least training error is the row. Nothing is chosen on the test records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import torch
from f16_protocol import Signals, nrmse

TAPS, RIDGES = 1500, tuple(float(v) for v in 10.0 ** np.arange(-8, 1.01, 0.2))


def fir_rows(data: Signals, gammas: list[float], taps: int = TAPS) -> list[dict[str, Any]]:
    """One row for every bound.

    Args:
        data: standardised signals.
        gammas: the bounds; inf is none.
        taps: the length of the impulse response.

    Returns:
        Per bound: gamma, gain, ridge, scale, nrmse (mean) and per_level_and_output.
    """
    u, y = data.u.double().numpy(), data.y.double().numpy()
    nu = u.shape[2]
    n = 1 << int(np.ceil(np.log2(u.shape[1] + taps)))
    U, Y = np.fft.rfft(u, n, axis=1), np.fft.rfft(y, n, axis=1)
    # correlations over the padded records: the normal equations up to the records' last taps samples
    uu = np.fft.irfft(np.einsum("bfi,bfj->fij", U.conj(), U), n, axis=0)
    uy = np.fft.irfft(np.einsum("bfi,bfk->fik", U.conj(), Y), n, axis=0)[:taps]
    G = np.block([
        [scipy.linalg.toeplitz(uu[:taps, j, i], np.r_[uu[0, j, i], uu[:-taps:-1, j, i]]).T for j in range(nu)]
        for i in range(nu)
    ])  # fmt: skip
    c = np.concatenate([uy[:, i] for i in range(nu)])
    values, vectors = np.linalg.eigh((G + G.T) / 2)
    rotated, size = vectors.T @ c, float(np.trace(G)) / len(G)
    candidates = []
    for ridge in RIDGES:
        h = vectors @ (rotated / (np.maximum(values, 0) + ridge * size)[:, None])
        spectrum = np.fft.rfft(h.reshape(nu, taps, -1), 1 << 15, axis=1)
        gain = float(np.linalg.norm(spectrum.transpose(1, 2, 0), 2, axis=(1, 2)).max())
        projected = vectors.T @ h
        square, cross = float((values[:, None] * projected**2).sum()), float((projected * rotated).sum())
        candidates.append((ridge, h, gain, square, cross))
    rows = []
    for gamma in gammas:
        found = []
        for ridge, h, gain, square, cross in candidates:
            scale = min(1.0, gamma / gain)
            found.append((scale**2 * square - 2 * scale * cross, ridge, scale, h, gain))
        _, ridge, scale, h, gain = min(found, key=lambda row: row[0])
        errors = nrmse(_filter(scale * h, data.u_test, taps), data.y_test)
        rows.append({
            "gamma": gamma, "gain": scale * gain, "ridge": ridge, "scale": scale, "nrmse": float(errors.mean()),
            "per_level_and_output": errors.tolist(),
        })  # fmt: skip
    return rows


def _filter(h: np.ndarray, u: torch.Tensor, taps: int) -> torch.Tensor:
    """The outputs of a FIR model h (nu·taps, ny) from rest."""
    nu, time = u.shape[2], u.shape[1]
    n = 1 << int(np.ceil(np.log2(time + taps)))
    H = np.fft.rfft(h.reshape(nu, taps, -1), n, axis=1)
    Y = np.einsum("bfi,ifk->bfk", np.fft.rfft(u.double().numpy(), n, axis=1), H)
    return torch.from_numpy(np.fft.irfft(Y, n, axis=1)[:, :time])
