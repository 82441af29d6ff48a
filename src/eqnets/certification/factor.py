"""The common factor t of a witness (tP, tΛ) that proves the smallest gain.

The storage part of (★) is homogeneous in (P, Λ), the supply is not: a witness for (−I/γ, γI), or for other scales, has
to be multiplied before it proves (−S_y⁻², γ²S_u⁻²). With K = tK₀ − LyᵀLy over (Δx, Δw), N and U the other blocks, the
smallest γ for one t is γ²(t) = λ_max(NᵀK⁻¹N − U), a convex function of t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows, storage


@dataclass(frozen=True)
class Factor:
    """A factor and the gain that it reaches, as computed (not proved).

    Args:
        value: t > 0.
        gamma: the smallest γ of (tP, tΛ), between scaled signals.
    """

    value: float
    gamma: float


def best_factor(
    rows: Rows, P: Array, Lambda: Array, u_scale: tuple[float, ...], y_scale: tuple[float, ...]
) -> Factor | None:
    """The factor with the smallest gain.

    Args:
        rows: of the system.
        P: (nx, nx), symmetric.
        Lambda: (nv,).
        u_scale: (nu,) the diagonal of S_u.
        y_scale: (ny,) the diagonal of S_y.

    Returns:
        The factor, or None where (P, Λ) does not prove contraction, so that no factor proves any gain.
    """
    inner = rows.nx + rows.nv
    unit = np.concatenate([np.ones(inner), u_scale])
    M = storage(rows, P, Lambda, 1.0 if rows.discrete else 0.0).mid * unit[:, None] * unit[None, :]
    Ly = rows.Ly / np.array(y_scale)[:, None] * unit[None, :]
    if inner == 0:
        return Factor(1.0, _largest_root(Ly.T @ Ly - M))
    diagonal = np.diagonal(M)[:inner]
    if not (np.isfinite(M).all() and (diagonal > 0).all()):
        return None
    size = 1 / np.sqrt(diagonal)  # Jacobi scaling of (Δx, Δw)
    K0 = M[:inner, :inner] * size[:, None] * size[None, :]
    N0, U0 = M[:inner, inner:] * size[:, None], M[inner:, inner:]
    Lc, Lu = Ly[:, :inner] * size[None, :], Ly[:, inner:]
    try:
        root = np.linalg.cholesky(K0)
    except np.linalg.LinAlgError:
        return None
    weighted = scipy.linalg.solve_triangular(root, Lc.T, lower=True)
    least = float(np.linalg.norm(weighted, 2)) ** 2 if weighted.size else 0.0

    def gain(t: float) -> float:
        K, N = t * K0 - Lc.T @ Lc, t * N0 - Lc.T @ Lu
        try:
            factor = scipy.linalg.cho_factor(K, lower=True)
        except np.linalg.LinAlgError:
            return math.inf
        return _largest_root(N.T @ scipy.linalg.cho_solve(factor, N) - t * U0 + Lu.T @ Lu)

    if least > 0:
        return golden(lambda s: least * (1 + math.exp(s)), gain, -16.0, 30.0)
    spread = float(np.abs(U0).max(initial=0.0) + np.abs(N0).max(initial=0.0) ** 2) or 1.0
    return golden(lambda s: math.exp(s) / spread, gain, -40.0, 10.0)


def most_definite(first: Array, second: Array) -> float | None:
    """The t > 0 with the largest smallest eigenvalue of t·first + second, as computed.

    That eigenvalue is a concave function of t, so a golden-section search over ln t finds it.

    Args:
        first: (n, n), symmetric: storage and slopes.
        second: (n, n), symmetric: the supply.

    Returns:
        t, or None where nothing is finite.
    """
    size = np.sqrt(np.abs(np.diagonal(first)) + np.abs(np.diagonal(second)))
    size = np.where(size > 0, size, 1.0)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    first, second = (matrix / size[:, None] / size[None, :] for matrix in (first, second))
    if not len(size):
        return 1.0
    return golden(math.exp, lambda t: -float(np.linalg.eigvalsh(t * first + second)[0]), -30.0, 30.0).value


def _largest_root(matrix: Array) -> float:
    """√λ_max of a symmetric matrix, 0 where it is negative or empty."""
    if matrix.shape[0] == 0:
        return 0.0
    if not np.isfinite(matrix).all():
        return math.inf
    return math.sqrt(max(float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]), 0.0))


def golden(factor, gain, low: float, high: float, steps: int = 60) -> Factor:  # type: ignore[no-untyped-def]
    """Golden-section search of the smallest gain over s in [low, high]."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = gain(factor(a)), gain(factor(b))
    for _ in range(steps):
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - ratio * (high - low)
            fa = gain(factor(a))
        else:
            low, a, fa = a, b, fb
            b = low + ratio * (high - low)
            fb = gain(factor(b))
    return Factor(factor(a), fa) if fa < fb else Factor(factor(b), fb)
