"""A primal–dual interior point for the one structure that (★) has, in numpy.

    minimise cᵀy over y = (P, λ, t)
    with S(y) = A₀ + Σ_k w_k F_kᵀP F_k + Σ_i λ_i (p_i r_iᵀ + r_i p_iᵀ) + Σ_j t_j D_j ≽ 0   and   l(y) = G y + h ≥ 0

The multipliers λ enter by matrices of rank two and P by congruences, so that the Schur complement of Newton's system,
H_kl = tr(A_k X A_l S⁻¹) (the HKM direction), is made of a few products of N × N matrices (Helmberg, Rendl, Vanderbei,
Wolkowicz 1996; condensed as in Nesterov, Todd 1998). Mehrotra's predictor and corrector choose the step. Every iterate
y is strictly feasible, so that a search may stop as soon as it has what it needs; the multiplier X bounds the optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from eqnets.certification.enclosure import Array


@dataclass(frozen=True, eq=False)
class Structured:
    """The data of the problem, see the module; P is held as its upper triangle, row by row.

    Args:
        constant: (N, N) A₀.
        congruences: (w_k, F_k (n, N)).
        p: (q, N).
        r: (q, N).
        dense: D_j, each (N, N).
        G: (m, n(n + 1)/2 + q + len(dense)).
        h: (m,).
    """

    constant: Array
    congruences: list[tuple[float, Array]]
    p: Array
    r: Array
    dense: list[Array]
    G: Array
    h: Array

    @property
    def n(self) -> int:
        """The size of P."""
        return self.congruences[0][1].shape[0] if self.congruences else 0

    def with_bound(self, g: Array, h: float) -> Structured:
        """The same problem with gᵀy + h ≥ 0 besides."""
        return replace(self, G=np.vstack([self.G, g]), h=np.append(self.h, h))

    def split(self, y: Array) -> tuple[Array, Array, Array]:
        """P (n, n), λ (q,), t of a vector of variables."""
        n, q = self.n, len(self.p)
        upper = np.triu_indices(n)
        P = np.zeros((n, n))
        P[upper] = y[: len(upper[0])]
        return P + np.triu(P, 1).T, y[len(upper[0]) : len(upper[0]) + q], y[len(upper[0]) + q :]

    def join(self, P: Array, lam: Array, t: Array) -> Array:
        """The vector of variables."""
        return np.concatenate([P[np.triu_indices(self.n)], lam, t])

    def linear(self, y: Array) -> Array:
        """S(y) − A₀."""
        P, lam, t = self.split(y)
        S = self.p.T @ (lam[:, None] * self.r)
        S = S + S.T
        for weight, F in self.congruences:
            S = S + weight * (F.T @ P @ F)
        for size, D in zip(t, self.dense, strict=True):
            S = S + size * D
        return S

    def adjoint(self, T: Array) -> Array:
        """⟨A_k, T⟩ for every variable; T symmetric."""
        n = self.n
        total = np.zeros((n, n))
        for weight, F in self.congruences:
            total += weight * (F @ T @ F.T)
        total = total + np.triu(total, 1)  # an entry beside the diagonal stands twice in P
        lam = 2 * np.einsum("in,in->i", self.p @ T, self.r)
        return np.concatenate([total[np.triu_indices(n)], lam, [float(np.sum(D * T)) for D in self.dense]])

    def schur(self, X: Array, Z: Array) -> Array:
        """H_kl = tr(A_k X A_l Z)."""
        n, q, upper = self.n, len(self.p), np.triu_indices(self.n)
        size = len(upper[0])
        H = np.zeros((size + q + len(self.dense),) * 2)
        if n:
            H[:size, :size] = self._schur_P(X, Z)
            C = np.zeros((q, n, n))
            for weight, F in self.congruences:
                FX, FZ = F @ X, F @ Z
                C += weight * np.einsum("ai,bi->iab", FX @ self.p.T, FZ @ self.r.T)
                C += weight * np.einsum("ai,bi->iab", FX @ self.r.T, FZ @ self.p.T)
            C = C + C.transpose(0, 2, 1)
            H[:size, size : size + q] = (C * (1 - 0.5 * np.eye(n)))[:, upper[0], upper[1]].T
            H[size : size + q, :size] = H[:size, size : size + q].T
        p, r = self.p, self.r
        Xp, Xr, Zp, Zr = p @ X, r @ X, p @ Z, r @ Z
        H[size : size + q, size : size + q] = (
            (Xp @ p.T) * (Zr @ r.T) + (Xp @ r.T) * (Zr @ p.T) + (Xr @ p.T) * (Zp @ r.T) + (Xr @ r.T) * (Zp @ p.T)
        )
        for j, D in enumerate(self.dense):
            T = X @ D @ Z
            column = self.adjoint((T + T.T) / 2)
            H[:, size + q + j] = column
            H[size + q + j, :] = column
        return H

    def _schur_P(self, X: Array, Z: Array) -> Array:
        a, b = np.triu_indices(self.n)
        H = np.zeros((len(a), len(a)))
        for v, F in self.congruences:
            for w, E in self.congruences:
                G, K = F @ X @ E.T, E @ Z @ F.T
                for first, second in ((a, b), (b, a)):
                    for third, fourth in ((a, b), (b, a)):
                        H += (v * w) * G[np.ix_(second, third)] * K[np.ix_(fourth, first)].T
        half = np.where(a == b, 0.5, 1.0)
        return H * half[:, None] * half[None, :]


@dataclass(frozen=True, eq=False)
class Solution:
    """The end of a run.

    Args:
        y: strictly feasible.
        value: cᵀy.
        bound: a lower bound on the optimum as computed from X; −inf where X is not feasible.
        steps: Newton steps.
        X: (N, N) the multiplier; its top eigenvector is close to the worst increment.
    """

    y: Array
    value: float
    bound: float
    steps: int
    X: Array


def solve(
    problem: Structured,
    c: Array,
    y: Array,
    *,
    rtol: float = 1e-8,
    max_steps: int = 80,
    enough: Callable[[Array], bool] = lambda y: False,
    progress: Callable[[int, float, float], None] | None = None,
) -> Solution:
    """Minimise from a strictly feasible start.

    Args:
        problem: the data.
        c: the objective.
        y: with S(y) ≻ 0 and l(y) > 0.
        rtol: of the gap between value and bound.
        max_steps: Newton steps.
        enough: stops early, at the first iterate of which it is true.
        progress: called with (step, value, bound).

    Returns:
        The solution; where float64 ends before the tolerance, the last iterate.

    Raises:
        ValueError: the start is not strictly feasible.
    """
    begins = float(c @ y)  # nothing worse is of use, and without this bound a first step may run away from the optimum
    problem = problem.with_bound(-c, begins + abs(begins) + 1)
    S, l = problem.constant + problem.linear(y), problem.G @ y + problem.h
    L = _cholesky(S)
    if L is None or not (l > 0).all():
        raise ValueError("the start is not strictly feasible")
    Z = _inverse(L)
    gradient = problem.adjoint(Z) + problem.G.T @ (1 / l)
    mu = max(
        float(c @ gradient) / float(gradient @ gradient), 0.1 * float(np.linalg.norm(c) / np.linalg.norm(gradient))
    )
    X, z, bound, step, stalled = mu * Z, mu / l, -np.inf, 0, 0
    for step in range(1, max_steps + 1):
        residual = c - problem.adjoint(X) - problem.G.T @ z
        if np.linalg.norm(residual) <= 1e-7 * (1 + np.linalg.norm(c)):
            bound = max(bound, -float(np.sum(problem.constant * X)) - float(problem.h @ z))
        value = float(c @ y)
        if progress is not None:
            progress(step, value, bound)
        if value - bound <= rtol * max(abs(value), 1e-12) or enough(y):
            break
        mu = (float(np.sum(X * S)) + float(z @ l)) / (len(S) + len(l))
        H = problem.schur(X, Z) + problem.G.T @ ((z / l)[:, None] * problem.G)
        size = 1 / np.sqrt(np.diagonal(H))
        factor = _factored(H * size[:, None] * size[None, :])
        if factor is None:
            break
        gradient, root = problem.adjoint(Z) + problem.G.T @ (1 / l), _cholesky(X)
        if root is None:
            break

        def direction(sigma_mu: float, dXdS: Array, dzdl: Array) -> tuple[Array, ...]:
            fix = dXdS @ Z  # noqa: B023
            fix = (fix + fix.T) / 2
            rhs = sigma_mu * gradient - c - problem.adjoint(fix) - problem.G.T @ (dzdl / l)  # noqa: B023
            dy = size * scipy.linalg.cho_solve(factor, size * rhs)  # noqa: B023
            dS, dl = problem.linear(dy), problem.G @ dy
            dX = X @ dS @ Z  # noqa: B023
            dX = sigma_mu * Z - X - (dX + dX.T) / 2 - fix  # noqa: B023
            return dy, dS, dl, dX, (sigma_mu - dzdl - z * dl) / l - z  # noqa: B023

        with np.errstate(over="ignore", invalid="ignore"):  # a direction beyond float64 ends the search
            dy, dS, dl, dX, dz = direction(0.0, np.zeros_like(S), np.zeros_like(l))
        if not (np.isfinite(dS).all() and np.isfinite(dX).all()):
            break
        dual, primal = _longest(L, dS, l, dl, 1.0), _longest(root, dX, z, dz, 1.0)
        ahead = float(np.sum((X + primal * dX) * (S + dual * dS))) + float((z + primal * dz) @ (l + dual * dl))
        sigma = min(max(ahead / (len(S) + len(l)) / mu, 0.0), 1.0) ** 2
        with np.errstate(over="ignore", invalid="ignore"):
            dy, dS, dl, dX, dz = direction(sigma * mu, dX @ dS, dz * dl)
        if not (np.isfinite(dS).all() and np.isfinite(dX).all()):
            break
        dual, primal = _longest(L, dS, l, dl, 0.97), _longest(root, dX, z, dz, 0.97)
        for _ in range(20):  # rounding: the new iterate has to be feasible as computed
            trial = y + dual * dy
            S_new, l_new = problem.constant + problem.linear(trial), problem.G @ trial + problem.h
            L_new = _cholesky(S_new)
            if L_new is not None and (l_new > 0).all():
                break
            dual *= 0.7
        else:
            break
        stalled = stalled + 1 if dual < 1e-4 and primal < 1e-4 else 0
        y, S, l, L, Z = trial, S_new, l_new, L_new, _inverse(L_new)
        X, z = X + primal * dX, z + primal * dz
        X = (X + X.T) / 2
        if stalled > 2:
            break
    return Solution(y, float(c @ y), bound, step, X)


def _factored(H: Array) -> tuple[Array, bool] | None:
    """The Cholesky factor of a Schur complement that is positive definite up to rounding, with the least shift."""
    for shift in (1e-15, 1e-12, 1e-10, 1e-9, 1e-8):
        try:
            return scipy.linalg.cho_factor((H + H.T) / 2 + shift * np.eye(len(H)))
        except (np.linalg.LinAlgError, ValueError):
            continue
    return None


def _cholesky(S: Array) -> Array | None:
    try:
        return np.asarray(np.linalg.cholesky(S), dtype=np.float64) if np.isfinite(S).all() else None
    except np.linalg.LinAlgError:
        return None


def _inverse(L: Array) -> Array:
    half = scipy.linalg.solve_triangular(L, np.eye(len(L)), lower=True)
    return half.T @ half


def _longest(L: Array, dS: Array, l: Array, dl: Array, share: float) -> float:
    """The step to the boundary of LLᵀ + α dS ≽ 0 and l + α dl ≥ 0, times share, at most 1."""
    half = scipy.linalg.solve_triangular(L, dS, lower=True)
    scaled = scipy.linalg.solve_triangular(L, half.T, lower=True)
    least = float(np.linalg.eigvalsh((scaled + scaled.T) / 2)[0]) if len(L) else 0.0
    least = min(least, float((dl / l).min(initial=0.0)))
    return min(1.0, -share / least) if least < 0 else 1.0
