"""Frozen slope patterns: no certificate that knows only the slopes' intervals can pass what one pattern does (L2).

With every slope frozen at some value of its interval the system is linear, and in the class that (★) speaks of. The
best pattern is searched among the corners of the intervals, one flip at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows
from eqnets.system.lti import LTI, hinf_norm

Blocks = tuple[Array, Array, Array, Array]
"""A, B, C, D of a linear system."""
_LONGEST = 1500
"""Rows and columns of the response over a horizon, beyond which its largest singular value takes seconds."""


def worst_rate(rows: Rows, *, sweeps: int = 3, seed: int = 0, starts: Array | None = None) -> tuple[float, Array]:
    """The largest spectral radius (rightmost pole, as c = −Re) of a frozen pattern: every rate below it is false.

    Args:
        rows: of the system.
        sweeps: of flips.
        seed: of the random starts.
        starts: (k, nv) patterns to begin with, besides.

    Returns:
        The rate, and the slopes (nv,).
    """
    sign = 1.0 if rows.discrete else -1.0

    def value(slopes: Array) -> float:
        closed = _closed(rows, slopes)
        if closed is None:
            return math.inf
        A = closed[0]
        if not len(A):
            return 0.0 if rows.discrete else -math.inf
        poles = np.linalg.eigvals(A)
        return float(np.abs(poles).max() if rows.discrete else poles.real.max())

    best, slopes = _flips(rows, value, sweeps, seed, starts)
    return sign * best, slopes


def worst_gain(
    rows: Rows, u_scale: Array, y_scale: Array, *, sweeps: int = 2, seed: int = 0, starts: Array | None = None
) -> tuple[float, Array]:
    """The largest gain of a frozen pattern, between scaled signals: its H∞ norm, or spectral norm without states.

    Args:
        rows: of the system.
        u_scale: (nu,).
        y_scale: (ny,).
        sweeps: of flips.
        seed: of the random starts.
        starts: (k, nv) patterns to begin with, besides.

    Returns:
        The gain, inf for a pattern that is unstable, and the slopes (nv,).
    """

    def value(slopes: Array) -> float:
        closed = _closed(rows, slopes)
        if closed is None:
            return math.inf
        return linear_gain(scaled(closed, u_scale, y_scale), rows.discrete)

    return _flips(rows, value, sweeps, seed, starts)


def worst_input(rows: Rows, slopes: Array, u_scale: Array, y_scale: Array, time: int) -> Array | None:
    """The input of so many steps that a frozen pattern amplifies most, from state 0: a start for an attack.

    Args:
        rows: of a system in discrete time.
        slopes: (nv,) the pattern.
        u_scale: (nu,).
        y_scale: (ny,).
        time: steps.

    Returns:
        (time, nu), scaled and of norm 1; None where the pattern has no solution, or the horizon is too long.
    """
    closed = _closed(rows, slopes)
    if closed is None or time * max(rows.nu, len(rows.Ly)) > _LONGEST or not np.isfinite(closed[0]).all():
        return None
    A, B, C, D = scaled(closed, u_scale, y_scale)
    response = [D]  # the response to an impulse
    for _ in range(time - 1):
        response.append(C @ B)
        B = A @ B
    ny, nu = D.shape
    toeplitz = np.zeros((time * ny, time * nu))
    for later in range(time):
        for earlier in range(later + 1):
            toeplitz[later * ny : (later + 1) * ny, earlier * nu : (earlier + 1) * nu] = response[later - earlier]
    if not (np.isfinite(toeplitz).all() and toeplitz.size):
        return None
    return np.linalg.svd(toeplitz, full_matrices=False)[2][0].reshape(time, nu)


def _flips(
    rows: Rows, value: Callable[[Array], float], sweeps: int, seed: int, given: Array | None
) -> tuple[float, Array]:
    rng = np.random.default_rng(seed)
    corners = np.where(rng.random((4, rows.nv)) < 0.5, rows.low, rows.high)
    starts = [rows.low, (rows.low + rows.high) / 2, rows.high, *corners, *([] if given is None else given)]
    best, slopes = max(((value(start), start) for start in starts), key=lambda pair: pair[0])
    for _ in range(sweeps if math.isfinite(best) else 0):
        before = best
        for i in rng.permutation(rows.nv):
            for bound in (rows.low[i], rows.high[i]):
                trial = slopes.copy()
                trial[i] = bound
                reached = value(trial)
                if reached > best:
                    best, slopes = reached, trial
        if best <= before * (1 + 1e-9):
            break
    return best, slopes


def _closed(rows: Rows, slopes: Array) -> Blocks | None:
    """The linear system of a pattern: w = J v with J = diag(slopes)."""
    part = rows.parts()
    D11 = rows.Lz[:, part["w"]]
    try:
        loop = slopes[:, None] * np.linalg.inv(np.eye(rows.nv) - D11 * slopes)
    except np.linalg.LinAlgError:
        return None
    x, w, u = part["x"], part["w"], part["u"]
    blocks = [lines[:, at] + lines[:, w] @ loop @ rows.Lz[:, at] for lines in (rows.Lx, rows.Ly) for at in (x, u)]
    return blocks[0], blocks[1], blocks[2], blocks[3]


def scaled(blocks: Blocks, u_scale: Array, y_scale: Array) -> Blocks:
    """A linear system between inputs divided by u_scale (nu,) and outputs divided by y_scale (ny,)."""
    A, B, C, D = blocks
    return A, B * u_scale, C / y_scale[:, None], D * u_scale / y_scale[:, None]


def linear_gain(blocks: Blocks, discrete: bool) -> float:
    """The H∞ norm of a linear system, its spectral norm without states; inf where it is unstable."""
    A, B, C, D = blocks
    if not D.size:
        return 0.0
    if not len(A):
        return float(np.linalg.norm(D, 2))
    if not discrete:  # the Cayley transform keeps the gain
        poles = np.linalg.eigvals(A)
        if poles.real.max() >= 0:
            return math.inf
        a = float(np.exp(np.mean(np.log(np.abs(poles) + 1e-300))))
        inverse = np.linalg.inv(a * np.eye(len(A)) - A)
        D = D + C @ inverse @ B
        A, B, C = inverse @ (a * np.eye(len(A)) + A), math.sqrt(2 * a) * inverse @ B, math.sqrt(2 * a) * C @ inverse
    tensors = [torch.from_numpy(np.ascontiguousarray(block)) for block in (A, B, C, D)]
    return hinf_norm(LTI(tensors[0], tensors[1], tensors[2], tensors[3]), rtol=1e-6)


def least_supply(blocks: Blocks, supply: tuple[Array, Array, Array], discrete: bool) -> tuple[float, float]:
    """The least that a linear system receives of a supply, per |u|², over a grid of frequencies.

    Args:
        blocks: A, stable, B, C, D.
        supply: Q, S, R.
        discrete: whether frequencies lie on the unit circle.

    Returns:
        The smallest eigenvalue of G*QG + SG + (SG)* + R, and where it is: rad a sample, or rad/s.
    """
    (A, B, C, D), (Q, S, R) = blocks, supply
    size = float(np.abs(np.linalg.eigvals(A)).max(initial=1e-9))
    grid = np.linspace(0, np.pi, 801) if discrete else np.append(0.0, np.geomspace(1e-4, 1e4, 400) * size)
    found = math.inf, 0.0
    for omega in grid:
        z = np.exp(1j * omega) if discrete else 1j * omega
        G = C @ np.linalg.solve(z * np.eye(len(A)) - A, B.astype(complex)) + D
        least = float(np.linalg.eigvalsh(G.conj().T @ Q @ G + S @ G + (S @ G).conj().T + R)[0])
        found = min(found, (least, float(omega)))
    return found
