"""Absolute stability in discrete time with a memory of N steps: as strong as a Zames–Falb multiplier of that length.

For φ with slopes in [0, β], taken from its value at the equilibrium, the potential f = ∫φ obeys between any two of the
points 0, v₁, …, v_{N+1} (deviations of the argument, now and at the steps that follow)

    f_a − f_b − w_b (v_a − v_b) − (w_a − w_b)²/(2β) ≥ 0.                                                          (1)

For an odd φ the mirror image of b is a point too, with the same potential: w_b and v_b change their signs there. With
ξ = (x, w₁, …, w_N) and V = ξᵀPξ + Σ c_j f(v_j), V falls and is positive if, with multipliers m, n ≥ 0 of pairs (a, b),

    −(V₊ − V) − Σ m·(1) ≻ 0 over (x, w₁, …, w_{N+1}),     V − Σ n·(1) ≻ 0 over ξ, of the points 0, v₁, …, v_N,

where the potentials cancel: c_j = Σ_b n_jb − Σ_a n_aj and c_j − c_{j−1} = Σ_b m_jb − Σ_a m_aj (c₀ = c_{N+1} = 0), which
gives every m_j0 from the others. (1) holds between two points of one trajectory, and says nothing of two trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg

from eqnets.certification.enclosure import Array
from eqnets.certification.exact import Exact, prove_exactly
from eqnets.certification.inequality import Rows
from eqnets.certification.interior_point import Structured, solve
from eqnets.certification.proof import Proof

_ROOM = 100.0
"""Of the trace of P and of the multipliers in scaled coordinates, so that the largest margin exists."""
Pair = tuple[int, int, int]
"""(a, b, 1), or (a, b, −1) with the mirror image of b; 0 is the equilibrium, j the argument at step j."""


@dataclass(frozen=True)
class Pairs:
    """Which pairs of points are used.

    Args:
        steps: N.
        odd: whether φ is odd about the equilibrium, so that mirror images are points too.
    """

    steps: int
    odd: bool

    def among(self, last: int) -> list[Pair]:
        """The ordered pairs of the points 0, …, last."""
        points = range(last + 1)
        found = [(a, b, 1) for a in points for b in points if a != b]
        return found + [(a, b, -1) for a, b, _ in found if a and b and self.odd]

    @cached_property
    def free(self) -> tuple[list[Pair], list[Pair]]:
        """The pairs of n, and those of m whose multipliers are free."""
        return self.among(self.steps), [pair for pair in self.among(self.steps + 1) if pair[1] != 0]

    @cached_property
    def potentials(self) -> np.ndarray:
        """Integers that give c (N,) from the multipliers of n."""
        n = self.free[0]
        return np.array([[(a == j) - (b == j) for a, b, _ in n] for j in range(1, self.steps + 1)], dtype=object)

    def multipliers(self, mu: Array) -> tuple[dict[Pair, Any], dict[Pair, Any]]:
        """All multipliers m and n by their pair, exactly, in units of β; each (nv,) of numbers that are exact.

        Args:
            mu: (nv, k), those of n, and the free ones of m.
        """  # noqa: DOC201
        n_pairs, m_pairs = self.free
        numbers = Exact.exact(mu.T)
        rows = numbers.numerator
        n, m = dict(zip(n_pairs, rows, strict=False)), dict(zip(m_pairs, rows[len(n_pairs) :], strict=True))
        c = self.potentials @ rows[: len(n_pairs)]
        for j in range(1, self.steps + 2):
            before = c[j - 2] if j > 1 else 0
            now = c[j - 1] if j <= self.steps else 0
            into, out = ([weight for pair, weight in m.items() if pair[end] == j and pair[1]] for end in (1, 0))
            m[j, 0, 1] = now - before + sum(into) - sum(out)
        return tuple({pair: Exact(w[:, None], numbers.k) for pair, w in of.items()} for of in (m, n))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class MemoryNumbers:
    """What proves absolute stability with a memory.

    Args:
        pairs: of which points.
        P: (nx + N nv, nx + N nv), symmetric.
        mu: (nv, k) the multipliers of n, and the free ones of m, in units of β.
        margin: the smallest eigenvalue of the Jacobi-scaled inequalities.
    """

    pairs: Pairs
    P: Array
    mu: Array
    margin: float

    @property
    def c(self) -> Array:
        """(nv, N) the weights of the potentials in V, in units of β."""
        n = self.mu[:, : len(self.pairs.free[0])]
        return n @ self.pairs.potentials.T.astype(np.float64)


def matrices(rows: Rows, P: Array, mu: Array, pairs: Pairs) -> list[Exact]:
    """What has to be positive definite.

    Args:
        rows: of the system without inputs, discrete, D11 = 0, slopes in [0, high].
        P: as in `MemoryNumbers`.
        mu: likewise.
        pairs: likewise.

    Returns:
        Two exact matrices: over (x, w₁, …, w_{N+1}), and over (x, w₁, …, w_N).
    """
    nx, nv, last = rows.nx, rows.nv, pairs.steps + 1
    width, size = nx + last * nv, nx + pairs.steps * nv
    eye = np.eye(width)
    A, B, C1 = Exact.exact(rows.Lx[:, :nx]), Exact.exact(rows.Lx[:, nx:]), Exact.exact(rows.Lz[:, :nx])
    W = [Exact.exact(eye[nx + j * nv : nx + (j + 1) * nv]) for j in range(last)]
    X = [Exact.exact(eye[:nx])]
    for w in W[:-1]:
        X.append(A @ X[-1] + B @ w)
    zero = Exact.exact(np.zeros((nv, width)))
    V, W = [zero, *(C1 @ x for x in X)], [zero, *W]
    now, rest = Exact.exact(eye[:size]), np.zeros((size, width))
    rest[nx:, nx + nv :] = np.eye(pairs.steps * nv)
    later = Exact.exact(np.eye(size)[:, :nx]) @ X[1] + Exact.exact(rest)
    high, half, PE = Exact.exact(rows.high[:, None]), Exact.exact(0.5), Exact.exact(P)

    def known(weights: dict[Pair, Any]) -> Exact:
        """The negative of Σ weight·β·(1), without the potentials."""
        total = Exact.exact(np.zeros((width, width)))
        for (a, b, sign), k in weights.items():
            s = Exact.exact(float(sign))
            cross, apart = (s * W[b]).T @ (k * high * (V[a] - s * V[b])), W[a] - s * W[b]
            total = total + half * (cross + cross.T + apart.T @ (k * apart))
        return total

    m, n = pairs.multipliers(mu)
    falls = now.T @ (PE @ now) - later.T @ (PE @ later) + known(m)
    positive = now.T @ (PE @ now) + known(n)
    return [falls, Exact(positive.numerator[:size, :size], positive.k)]


def prove_memory(rows: Rows, P: Array, mu: Array, pairs: Pairs) -> MemoryNumbers | None:
    """The numbers with their margin, if they prove absolute stability exactly, else None."""
    m, _ = pairs.multipliers(mu)
    if not (mu >= 0).all() or any(weight.numerator.min(initial=0) < 0 for weight in m.values()):
        return None
    proofs: list[Proof] = [prove_exactly(matrix) for matrix in matrices(rows, P, mu, pairs)]
    return MemoryNumbers(pairs, P, mu, min(p.margin for p in proofs)) if all(p.holds for p in proofs) else None


def search_memory(rows: Rows, pairs: Pairs) -> MemoryNumbers | None:
    """P and multipliers of the largest margin, in coordinates scaled by the loop with half the slopes.

    Args:
        rows: as for `matrices`.
        pairs: of which points.

    Returns:
        Proved numbers, or None where none were found.
    """
    nx, nv, size = rows.nx, rows.nv, rows.nx + pairs.steps * rows.nv
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
    first, (n, m) = len(upper[0]), pairs.free
    # n and m symmetric, so that c = 0 and m_j0 = m_0j
    start = np.array([1.0] * len(n) + [0.5 if a else 1.0 for a, _, _ in m])

    def unpack(y: Array) -> tuple[Array, Array]:
        P = np.zeros((size, size))
        P[upper] = y[:first]
        return P + np.triu(P, 1).T, y[first : first + len(start) * nv].reshape(nv, len(start))

    def affine(y: Array) -> tuple[Array, Array]:
        """The block-diagonal matrix, and all multipliers, which have to be positive."""
        P, mu = unpack(y)
        blocks = [np.array(M.numerator / (1 << M.k), dtype=np.float64) for M in matrices(scaled, P, mu, pairs)]
        weights = [np.ravel(w.numerator / (1 << w.k)).astype(float) for w in pairs.multipliers(mu)[0].values()]
        return np.asarray(scipy.linalg.block_diag(*blocks)), np.concatenate([mu.ravel(), *weights])

    parts = [affine(unit) for unit in np.eye(first + len(start) * nv)]
    N = len(parts[0][0])
    G = np.array([part[1] for part in parts]).T
    total = np.concatenate([np.eye(size)[upper], np.ones(len(start) * nv)])
    problem = Structured(
        np.zeros((N, N)), [], np.zeros((0, N)), np.zeros((0, N)), [*(part[0] for part in parts), -np.eye(N)],
        np.hstack([np.vstack([G, -total]), np.zeros((len(G) + 1, 1))]),
        np.append(np.zeros(len(G)), _ROOM * nv * pairs.steps),
    )  # fmt: skip
    y = np.concatenate([0.02 * np.eye(size)[upper], np.tile(start, nv), [0.0]])
    least = float(np.linalg.eigvalsh(problem.linear(y))[0])
    y[-1] = least - 0.1 * (1 + abs(least))
    with np.errstate(all="ignore"):
        found = solve(problem, -np.eye(len(y))[-1], y, rtol=1e-3).y
    P, mu = unpack(found)
    back = np.asarray(scipy.linalg.block_diag(inverse, *[np.diag(1 / t)] * pairs.steps), dtype=np.float64)
    P = back.T @ P @ back
    return prove_memory(rows, (P + P.T) / 2, mu / t[:, None] ** 2, pairs)
