"""Absolute stability in discrete time with a memory of one step: as strong as a Zames–Falb multiplier of that length.

For φ with slopes in [0, β], taken from its value at the equilibrium, the potential f = ∫φ obeys between any two of the
points 0, v, v₊ (deviations of the argument, now and one step on)

    f_a − f_b − w_b (v_a − v_b) − (w_a − w_b)²/(2β) ≥ 0.                                                          (1)

With ξ = (x, w) and V = ξᵀPξ + Σ c f(v), V falls and is positive if, with multipliers m, n ≥ 0 of ordered pairs (a, b),

    −(V₊ − V) − Σ m·(1) ≻ 0 over (x, w, w₊),     V − Σ n·(1) ≻ 0 over (x, w), of the points 0 and v alone,

where the potentials cancel: c = n_v0 − n_0v, c = Σ_b m_vb − Σ_a m_av and −c = Σ_b m_v₊b − Σ_a m_av₊, which gives m_v0
and m_0v₊ from the others. (1) holds between two points of one trajectory, and says nothing of two trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import scipy.linalg

from eqnets.certification.enclosure import Array
from eqnets.certification.exact import Exact, prove_exactly
from eqnets.certification.inequality import Rows
from eqnets.certification.interior_point import Structured, solve

_ROOM = 100.0
"""Of the trace of P and of the multipliers in scaled coordinates, so that the largest margin exists."""


@dataclass(frozen=True, eq=False)
class MemoryNumbers:
    """What proves absolute stability with a memory of one step.

    Args:
        P: (nx + nv, nx + nv), symmetric.
        mu: (nv, 6) the multipliers n_v0, n_0v, m_0v, m_v₊0, m_vv₊, m_v₊v in units of β.
        margin: the smallest eigenvalue of the Jacobi-scaled inequalities.
    """

    P: Array
    mu: Array
    margin: float


def multipliers(mu: Array) -> tuple[dict[tuple[int, int], list[Fraction]], dict[tuple[int, int], list[Fraction]]]:
    """The multipliers m and n in units of β by their pair of points (0: zero, 1: v, 2: v₊), one a neuron.

    Args:
        mu: (nv, 6), see `MemoryNumbers`.

    Returns:
        All six of m, with the two that follow from the others, and both of n.
    """
    n10, n01, m01, m20, m12, m21 = ([Fraction(x) for x in column] for column in mu.T.tolist())
    m10 = [a - b - c + d + e for a, b, c, d, e in zip(n10, n01, m12, m01, m21, strict=True)]
    m02 = [a - b - c + d + e for a, b, c, d, e in zip(n10, n01, m12, m20, m21, strict=True)]
    return {(0, 1): m01, (1, 0): m10, (0, 2): m02, (2, 0): m20, (1, 2): m12, (2, 1): m21}, {(1, 0): n10, (0, 1): n01}


def matrices(rows: Rows, P: Array, mu: Array) -> list[Exact]:
    """What has to be positive definite.

    Args:
        rows: of the system without inputs, discrete, D11 = 0, slopes in [0, high].
        P: (nx + nv, nx + nv), symmetric.
        mu: (nv, 6).

    Returns:
        Two exact matrices: over (x, w, w₊), and over (x, w).
    """
    nx, nv = rows.nx, rows.nv
    eye, zero = np.eye(nx + 2 * nv), np.zeros((nv, nx + 2 * nv))
    Lx, C1 = Exact.exact(np.hstack([rows.Lx, np.zeros((nx, nv))])), Exact.exact(rows.Lz[:, :nx])
    now = Exact.exact(eye[: nx + nv])
    later = Exact.exact(np.vstack([np.eye(nx), np.zeros((nv, nx))])) @ Lx
    later = later + Exact.exact(np.vstack([np.zeros((nx, nx + 2 * nv)), eye[nx + nv :]]))
    V = [Exact.exact(zero), C1 @ Exact.exact(eye[:nx]), C1 @ Lx]
    W = [Exact.exact(part) for part in (zero, eye[nx : nx + nv], eye[nx + nv :])]
    high, half, PE = Exact.exact(rows.high[:, None]), Exact.exact(0.5), Exact.exact(P)
    m, n = multipliers(mu)

    def pairs(weights: dict[tuple[int, int], list[Fraction]]) -> Exact:
        """The negative of Σ weight·β·(1), without the potentials."""
        total = Exact.exact(np.zeros((nx + 2 * nv,) * 2))
        for (a, b), weight in weights.items():
            k = Exact.of_ratios([x.as_integer_ratio() for x in weight], (nv, 1))
            cross, apart = W[b].T @ (k * high * (V[a] - V[b])), W[a] - W[b]
            total = total + half * (cross + cross.T + apart.T @ (k * apart))
        return total

    falls = now.T @ (PE @ now) - later.T @ (PE @ later) + pairs(m)
    positive = now.T @ (PE @ now) + pairs(n)
    size = nx + nv
    return [falls, Exact(positive.numerator[:size, :size], positive.k)]


def prove_memory(rows: Rows, P: Array, mu: Array) -> MemoryNumbers | None:
    """The numbers with their margin, if they prove absolute stability exactly, else None."""
    m, _ = multipliers(mu)
    if not (mu >= 0).all() or any(min(weights, default=0) < 0 for weights in m.values()):
        return None
    proofs = [prove_exactly(matrix) for matrix in matrices(rows, P, mu)]
    return MemoryNumbers(P, mu, min(proof.margin for proof in proofs)) if all(p.holds for p in proofs) else None


def search_memory(rows: Rows) -> MemoryNumbers | None:
    """P and multipliers of the largest margin, in coordinates scaled by the loop with half the slopes.

    Args:
        rows: as for `matrices`.

    Returns:
        Proved numbers, or None where none were found.
    """
    nx, nv, size = rows.nx, rows.nv, rows.nx + rows.nv
    A, B, C = rows.Lx[:, :nx], rows.Lx[:, nx:], rows.Lz[:, :nx]
    middle = A + (B * rows.high / 2) @ C
    if nv == 0 or np.abs(np.linalg.eigvals(middle)).max(initial=0.0) >= 1:
        return None
    Q = C.T @ C
    X = scipy.linalg.solve_discrete_lyapunov(middle.T, Q + 1e-2 * np.trace(Q) * np.eye(nx))
    T = np.linalg.inv(np.linalg.cholesky((X + X.T) / 2).T)
    s = np.linalg.norm(C @ T, axis=1)
    s = np.where(s > 0, s, 1.0)  # v in units of s, w in units of β s
    t, inverse = s * rows.high, np.linalg.inv(T)
    scaled = Rows(
        np.hstack([inverse @ A @ T, inverse @ B * t]), np.hstack([C @ T / s[:, None], np.zeros((nv, nv))]), rows.Ly[:0],
        0 * rows.low, np.ones(nv), True,
    )  # fmt: skip
    upper = np.triu_indices(size)
    first = len(upper[0])

    def unpack(y: Array) -> tuple[Array, Array]:
        P = np.zeros((size, size))
        P[upper] = y[:first]
        return P + np.triu(P, 1).T, y[first : first + 6 * nv].reshape(nv, 6)

    def affine(y: Array) -> tuple[Array, Array]:
        """The block-diagonal matrix, and all multipliers, which have to be positive."""
        P, mu = unpack(y)
        blocks = [np.array(M.numerator / (1 << M.k), dtype=np.float64) for M in matrices(scaled, P, mu)]
        weights = [[float(x) for x in weight] for weight in multipliers(mu)[0].values()]
        return np.asarray(scipy.linalg.block_diag(*blocks)), np.concatenate([mu.ravel(), np.ravel(weights)])

    parts = [affine(unit) for unit in np.eye(first + 6 * nv)]
    N = len(parts[0][0])
    G = np.array([part[1] for part in parts]).T
    total = np.concatenate([np.eye(size)[upper], np.ones(6 * nv)])
    problem = Structured(
        np.zeros((N, N)), [], np.zeros((0, N)), np.zeros((0, N)), [*(part[0] for part in parts), -np.eye(N)],
        np.hstack([np.vstack([G, -total]), np.zeros((len(G) + 1, 1))]), np.append(np.zeros(len(G)), _ROOM * nv),
    )  # fmt: skip
    y = np.concatenate([0.02 * np.eye(size)[upper], np.tile([1, 0.5, 1, 1, 0.5, 0.5], nv), [0.0]])
    least = float(np.linalg.eigvalsh(problem.linear(y))[0])
    y[-1] = least - 0.1 * (1 + abs(least))
    with np.errstate(all="ignore"):
        found = solve(problem, -np.eye(len(y))[-1], y, rtol=1e-3).y
    P, mu = unpack(found)
    back = np.asarray(scipy.linalg.block_diag(inverse, np.diag(1 / t)), dtype=np.float64)
    P = back.T @ P @ back
    return prove_memory(rows, (P + P.T) / 2, mu / t[:, None] ** 2)
