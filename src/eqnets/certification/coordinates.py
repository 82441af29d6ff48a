"""Coordinates for the search: (★) in units in which P and Λ near a guess are near the identity, and a first guess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows
from eqnets.certification.interior_point import Structured


@dataclass(frozen=True, eq=False)
class Scaled:
    """(★) in coordinates in which P, Λ near a guess are near the identity: ξ = C ξ̃, P = RᵀP̃R, λ = λ₀λ̃.

    Args:
        rows: of the system.
        R: (nx, nx), upper triangular.
        size: (nv,) λ₀.
        u_scale: (nu,) the unit of each input.
    """

    rows: Rows
    R: Array
    size: Array
    u_scale: Array

    @classmethod
    def around(cls, rows: Rows, P: Array, Lambda: Array, u_scale: Array) -> Scaled:
        """The coordinates of a guess P, Λ."""
        R = np.asarray(np.linalg.cholesky(P).T, dtype=np.float64) if len(P) else np.zeros((0, 0))
        return cls(rows, R, Lambda, u_scale)

    @property
    def C(self) -> Array:
        """ξ = C ξ̃."""
        inverse = scipy.linalg.solve_triangular(self.R, np.eye(len(self.R))) if len(self.R) else self.R
        return np.asarray(scipy.linalg.block_diag(inverse, np.diag(1 / np.sqrt(self.size)), np.diag(self.u_scale)))

    def problem(self, rate: float, constant: Array, dense: list[Array], room: float) -> Structured:
        """The program with these extra variables; the trace of P̃ and λ̃ together stays below `room`.

        Args:
            rate: ρ, or c in continuous time.
            constant: (N, N), in scaled coordinates.
            dense: the matrices of the extra variables, in scaled coordinates.
            room: for tr P̃ + Σλ̃.

        Returns:
            The structured program.
        """
        rows, C = self.rows, self.C
        n, q, N = rows.nx, rows.nv, len(C)
        part = rows.parts()
        Ex, F = self.R @ np.eye(N)[part["x"]] @ C, self.R @ rows.Lx @ C
        if rows.discrete:
            congruences = [(rate**2, Ex), (-1.0, F)]
        else:  # −(ExᵀP Lx + LxᵀP Ex) by its squares
            congruences = [(-0.5, Ex + F), (0.5, Ex - F), (-2 * rate, Ex)]
        Lz, Ew = rows.Lz @ C, np.eye(N)[part["w"]] @ C
        weight = np.sqrt(self.size)[:, None]
        p, r = weight * (Ew - rows.low[:, None] * Lz), weight * (Ew - rows.high[:, None] * Lz)
        diagonal = np.eye(n)[np.triu_indices(n)]
        G = np.zeros((q + 1, len(diagonal) + q + len(dense)))
        G[:q, len(diagonal) : len(diagonal) + q] = np.eye(q)
        G[q, : len(diagonal)], G[q, len(diagonal) : len(diagonal) + q] = -diagonal, -1.0
        return Structured(constant, congruences if n else [], p, r, dense, G, np.array([0.0] * q + [room]))

    def witness(self, P: Array, lam: Array) -> tuple[Array, Array]:
        """P and Λ in the system's own coordinates."""
        return self.R.T @ P @ self.R, self.size * lam


def first_guess(rows: Rows, rate: float) -> tuple[Array, Array] | None:
    """P of the system with every slope in the middle of its interval, and Λ between its bounds; None: unstable.

    With all slopes frozen anywhere in their intervals the system has to contract at the rate; this is one of them.

    Args:
        rows: of the system.
        rate: ρ, or c in continuous time.

    Returns:
        P (nx, nx) ≻ 0 and Λ (nv,) > 0, or None.
    """
    middle = (rows.low + rows.high) / 2
    A = frozen(rows, middle)
    if A is None:
        return None
    n = rows.nx
    if rows.discrete:
        if n and max(abs(np.linalg.eigvals(A))) >= rate:
            return None
        P = scipy.linalg.solve_discrete_lyapunov(A.T / rate, np.eye(n)) if n else A
    else:
        if n and max(np.linalg.eigvals(A).real) >= -rate:
            return None
        P = scipy.linalg.solve_continuous_lyapunov((A + rate * np.eye(n)).T, -np.eye(n)) if n else A
    P = (P + P.T) / 2
    try:
        root = np.linalg.cholesky(P).T if n else P
    except np.linalg.LinAlgError:
        return None
    part = rows.parts()
    reach = np.linalg.norm(root @ rows.Lx[:, part["w"]], axis=0) if n else np.ones(rows.nv)
    seen = np.linalg.norm(np.linalg.solve(root.T, rows.Lz[:, part["x"]].T), axis=0) if n else np.ones(rows.nv)
    width = np.maximum(rows.high - rows.low, 1e-3)
    return P, (reach + 1e-6) / (seen + 1e-6) / width


def frozen(rows: Rows, slopes: Array) -> Array | None:
    """A + B1 J (I − D11 J)⁻¹ C1 for J = diag(slopes); None where the neurons' equation is singular there."""
    part = rows.parts()
    A, B1 = rows.Lx[:, part["x"]], rows.Lx[:, part["w"]]
    C1, D11 = rows.Lz[:, part["x"]], rows.Lz[:, part["w"]]
    try:
        return A + (B1 * slopes) @ np.linalg.solve(np.eye(rows.nv) - D11 * slopes, C1)
    except np.linalg.LinAlgError:
        return None
