"""The search for P, Λ, η around an equilibrium: small semidefinite programs, and a region made as large as they allow.

The inequalities of `lure` are affine in P, Λ and η = η₊ − η₋ ≥ … with min(ηα, ηβ) ≥ αη₊ − βη₋, which is how both signs
of η stay one program. The volume is made large by going, again and again, to the best point of its linearisation; for
an ellipsoid, whose log-volume is convex in P, every such step is one upwards. Nothing here proves anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from eqnets.certification.basin import Basin
from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows
from eqnets.certification.interior_point import Solution, Structured, solve
from eqnets.certification.lure import Bounds, Numbers
from eqnets.certification.sector import Sector
from eqnets.system.elementwise import Nonlinearity

_ROOM = 1e4
"""Bounds the sum of all variables in scaled coordinates, so that every program has a solution."""


@dataclass(frozen=True, eq=False)
class Program:
    """The inequalities of one system in scaled coordinates ξ = (x/T, w/s), time in units of 1/τ.

    Args:
        rows: scaled, without inputs, with the sectors as slopes.
        least: (nv,) lower bounds of the integrals at the bounds, scaled.
        most: (nv,) upper bounds.
        bounds: (nv,) z, scaled, inf where there is none.
        T: (nx, nx), x = T ξ.
        s: (nv,) the unit of every neuron.
        tau: the unit of time.
        signed: whether η may differ from 0.
    """

    rows: Rows
    least: Array
    most: Array
    bounds: Array
    T: Array
    s: Array
    tau: float
    signed: bool

    @classmethod
    def of(cls, rows: Rows, sectors: Sequence[Sector], bounds: Bounds, *, signed: bool) -> Program | None:
        """The program of a system whose linear part is stable with every neuron in the middle of its sector.

        Args:
            rows: of `lure.within`.
            sectors: of the neurons.
            bounds: of their arguments.
            signed: whether η may differ from 0.

        Returns:
            The program; None where the middle is unstable, and no P exists.
        """
        part = rows.parts()
        A = rows.Lx[:, part["x"]] + (rows.Lx[:, part["w"]] * (rows.low + rows.high) / 2) @ rows.Lz[:, part["x"]]
        values = np.linalg.eigvals(A)
        if (np.abs(values).max(initial=0.0) >= 1) if rows.discrete else (values.real.max(initial=-1.0) >= 0):
            return None
        tau = 1.0 if rows.discrete else float(np.abs(values).max(initial=1e-9))
        Q = np.eye(rows.nx) + rows.Lz[:, part["x"]].T @ rows.Lz[:, part["x"]]
        if rows.discrete:
            P = scipy.linalg.solve_discrete_lyapunov(A.T, Q)
        else:
            P = scipy.linalg.solve_continuous_lyapunov(A.T, -tau * Q)
        T = np.asarray(np.linalg.inv(np.linalg.cholesky((P + P.T) / 2).T), dtype=np.float64)
        C = rows.Lz[:, part["x"]] @ T
        z = np.array([np.inf if bound is None else bound for bound in bounds])
        size = float((np.linalg.norm(C, axis=1) / z).max(initial=0.0))
        T = T / (size or 1.0)  # now the bounds are at distance 1 or more
        C = rows.Lz[:, part["x"]] @ T
        s = np.linalg.norm(C, axis=1)
        s = np.where(s > 0, s, 1.0)
        inverse = np.linalg.inv(T)
        A, B = inverse @ rows.Lx[:, part["x"]] @ T, inverse @ rows.Lx[:, part["w"]] * s
        scaled = Rows(
            np.hstack([A, B]) / tau, np.hstack([C / s[:, None], np.zeros((rows.nv,) * 2)]), rows.Ly[:0],
            rows.low, rows.high, rows.discrete,
        )  # fmt: skip
        least, most = (np.array([getattr(x, end) for x in sectors]) / s**2 for end in ("least", "most"))
        return cls(scaled, least, most, z / s, T, s, tau, signed)

    def unpack(self, y: Array) -> tuple[Array, Array, Array, Array]:
        """P (nx, nx), Λ, η₊, η₋ (nv,), in scaled coordinates."""
        nx, nv = self.rows.nx, self.rows.nv
        upper = np.triu_indices(nx)
        P = np.zeros((nx, nx))
        P[upper] = y[: len(upper[0])]
        rest = y[len(upper[0]) :]
        eta = rest[nv:] if self.signed else np.zeros(2 * nv)
        return P + np.triu(P, 1).T, rest[:nv], eta[:nv], eta[nv : 2 * nv]

    def numbers(self, y: Array) -> Numbers:
        """P, Λ, η in the units of the system."""
        P, Lambda, plus, minus = self.unpack(y)
        inverse = np.linalg.inv(self.T)
        P = inverse.T @ P @ inverse
        return Numbers((P + P.T) / 2, Lambda * self.tau / self.s**2, (plus - minus) / self.s**2)

    def matrix(self, y: Array) -> Array:
        """The block-diagonal matrix of all inequalities, affine in y."""
        rows, (P, Lambda, plus, minus) = self.rows, self.unpack(y)
        part = rows.parts()
        C, eye = rows.Lz[:, part["x"]], np.eye(rows.Lx.shape[1])
        Ex, Ew = eye[part["x"]], eye[part["w"]]
        M = 2 * (Ew - rows.low[:, None] * rows.Lz).T @ (Lambda[:, None] * (Ew - rows.high[:, None] * rows.Lz))
        if rows.discrete:
            M = M + Ex.T @ P @ Ex - rows.Lx.T @ P @ rows.Lx
        else:
            M = M - 2 * Ex.T @ P @ rows.Lx - 2 * Ew.T @ ((plus - minus)[:, None] * (C @ rows.Lx))
        least = rows.low * plus - rows.high * minus
        blocks = [(M + M.T) / 2, P + C.T @ (least[:, None] * C)]
        for i, bound in enumerate(self.bounds):
            if np.isfinite(bound):
                weights = least.copy()
                weights[i] = -(1 - 2 * (plus[i] * self.least[i] - minus[i] * self.most[i])) / bound**2
                blocks.append(P + C.T @ (weights[:, None] * C))
        return np.asarray(scipy.linalg.block_diag(*blocks), dtype=np.float64)

    def structured(self, room: float = _ROOM) -> tuple[Structured, Array]:
        """The data of the interior point with one more variable, the margin; and a start that is far from feasible."""
        nx, nv = self.rows.nx, self.rows.nv
        size = nx * (nx + 1) // 2
        count = size + nv * (3 if self.signed else 1)
        zero = self.matrix(np.zeros(count))
        dense = [self.matrix(unit) - zero for unit in np.eye(count)]
        y = np.concatenate([2 * np.eye(nx)[np.triu_indices(nx)], np.ones(nv), np.full(count - size - nv, 0.1), [0.0]])
        positive = np.eye(count + 1)[size:count]
        total = np.concatenate([np.eye(nx)[np.triu_indices(nx)], np.ones(count - size), [0.0]])
        problem = Structured(
            zero, [], np.zeros((0, len(zero))), np.zeros((0, len(zero))), [*dense, -np.eye(len(zero))],
            np.vstack([positive, -total]), np.append(np.zeros(len(positive)), room * (1 + len(zero))),
        )  # fmt: skip
        y[-1] = float(np.linalg.eigvalsh(self.matrix(y[:-1]))[0]) - 1.0
        return problem, y

    def feasible(self) -> Array | None:
        """Variables with which all inequalities hold by some margin, or None where there are none.

        A homogeneous program (no bounds) is given the largest margin; else the first point that will do is enough.
        """  # noqa: DOC201
        problem, y = self.structured()
        c = -np.eye(len(y))[-1]
        enough = 0.02 if np.isfinite(self.bounds).any() else np.inf
        found = _solve(problem, c, y, rtol=1e-4, enough=lambda y: y[-1] > enough)
        margin = found.y[-1]
        return found.y[:-1] if margin > 1e-9 else None

    def lifted(self, y: Array) -> Array:
        """Feasible variables of the circle criterion as feasible ones with integrals, of small weight."""
        for size in 0.1 ** np.arange(2, 12):
            trial = np.append(y, np.full(2 * self.rows.nv, size))
            if np.linalg.eigvalsh(self.matrix(trial))[0] > 0:
                return trial
        return np.append(y, np.full(2 * self.rows.nv, 1e-14))

    def centre(self, y: Array) -> Array:
        """Variables of about the size of feasible ones, with the largest margin: what to go towards for a proof."""
        nx = self.rows.nx
        size = float(np.trace(self.unpack(y)[0]) + y[nx * (nx + 1) // 2 :].sum())
        problem, start = self.structured(2 * size / (1 + len(self.matrix(y))))
        start[:-1] = y
        first = nx * (nx + 1) // 2
        start[first:-1] += 0.5 * size / max(1, len(y) - first)  # away from the border, where Newton's system is poor
        start[-1] = float(np.linalg.eigvalsh(self.matrix(start[:-1]))[0]) - 1.0
        return _solve(problem, -np.eye(len(start))[-1], start, rtol=1e-2).y[:-1]

    def basin(self, y: Array, v: Array, parts: Sequence[Nonlinearity]) -> Basin:
        """The region of these variables, in the units of the system."""
        found, C = self.numbers(y), self.rows.Lz[:, self.rows.parts()["x"]] * self.s[:, None] @ np.linalg.inv(self.T)
        least = np.minimum(found.eta * self.rows.low, found.eta * self.rows.high)
        return Basin(found.P, found.eta, found.P + C.T @ (least[:, None] * C), C, v, self.bounds * self.s, parts)

    def largest(self, y: Array, v: Array, parts: Sequence[Nonlinearity], steps: int) -> tuple[Array, float]:
        """From feasible variables to ones of a larger region.

        Args:
            y: feasible.
            v: (nv,) the neurons' arguments at the equilibrium.
            parts: their nonlinearities.
            steps: linearisations, at most.

        Returns:
            Strictly feasible variables, and the volume of their region.
        """
        problem, start = self.structured()
        count = len(start) - 1
        fixed = Structured(
            problem.constant, [], problem.p, problem.r, problem.dense[:-1], problem.G[:, :count], problem.h
        )
        nx, upper = self.rows.nx, np.triu_indices(self.rows.nx)
        best = self.basin(y, v, parts).volume()
        for _ in range(steps):
            weight, integrals = self.basin(y, v, parts).gradient()
            inverse = np.linalg.inv(self.T)
            scaled = inverse @ weight @ inverse.T
            slopes = integrals / self.s**2
            c = np.concatenate([(scaled * (2 - np.eye(nx)))[upper], np.zeros(self.rows.nv), slopes, -slopes])[:count]
            target = _solve(fixed, c, y, rtol=1e-5).y
            for share in (1.0, 0.5, 0.2):
                trial = y + share * (target - y)
                volume = self.basin(trial, v, parts).volume()
                if volume > best:
                    break
            else:
                break
            gained, y, best = volume / best, trial, volume
            if gained < 1 + 1e-5:
                break
        return y, best


def _solve(problem: Structured, c: Array, y: Array, **options: Any) -> Solution:
    """`solve`, which ends where float64 does: at the last feasible iterate."""
    with np.errstate(all="ignore"):
        return solve(problem, c, y, **options)
