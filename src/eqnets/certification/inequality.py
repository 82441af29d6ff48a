"""The one matrix inequality behind every claim, built from the LFR alone, in float64 with an error bound.

For increments ξ = (Δx, Δw, Δu) of two trajectories, with the rows Δx⁺ = Lx ξ, Δv = Lz ξ, Δy = Ly ξ of the LFR, the
selectors Ex, Ew, Eu, and slopes in [α_i, β_i], p_i = Ew_i − α_i Lz_i, r_i = Ew_i − β_i Lz_i:

    M(P, Λ) = ρ² ExᵀP Ex − LxᵀP Lx + Σ λ_i (p_i r_iᵀ + r_i p_iᵀ)                        (storage and slopes)
              + LyᵀQ Ly + EuᵀS Ly + LyᵀSᵀEu + EuᵀR Eu  ≻ 0,   P ≻ 0,  Λ > 0              (supply)          (★)

Since ξᵀ(Σ λ_i …)ξ = 2 Σ λ_i (Δw − αΔv)(Δw − βΔv) ≤ 0 on every pair of trajectories, ξᵀMξ ≥ 0 says
V(Δx⁺) ≤ ρ²V(Δx) + ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu with V = ΔxᵀPΔx: eq. 16 and 29 of Revay, Wang, Manchester 2024 for slopes
[0, 1]. In continuous time the first two terms are −(ExᵀP Lx + LxᵀP Ex) − 2c ExᵀP Ex. For Q ≼ 0 the ww-block contains
Σ λ_i(…)_ww ≻ 0, which makes the neurons' equation well posed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eqnets.certification.claim import Lipschitz
from eqnets.certification.enclosure import Array, Ball
from eqnets.certification.labels import Labels
from eqnets.errors import InputError
from eqnets.system.lfr import LFR


@dataclass(frozen=True, eq=False)
class Rows:
    """The exact rows of an LFR over ξ = (Δx, Δw, Δu), and the slopes: all that (★) sees.

    Args:
        Lx: (nx, n), n = nx + nv + nu.
        Lz: (nv, n).
        Ly: (ny, n).
        low: (nv,) the slopes' lower bounds α.
        high: (nv,) the slopes' upper bounds β.
        discrete: whether time is discrete.
    """

    Lx: Array
    Lz: Array
    Ly: Array
    low: Array
    high: Array
    discrete: bool

    @classmethod
    def of(cls, lfr: LFR) -> Rows:
        """The rows of an LFR; float32 blocks are taken at their exact value.

        Args:
            lfr: the system.

        Returns:
            The rows, float64.

        Raises:
            InputError: a block holds a number that is not finite.
        """
        blocks = {name: block.detach().to("cpu").double().numpy() for name, block in lfr.blocks().items()}
        for name, block in blocks.items():
            if not np.isfinite(block).all():
                raise InputError(f"block {name} of the LFR holds NaN or infinity; nothing can be certified about it.")
        low, high = (bound.double().numpy() for bound in lfr.activation.slopes(lfr.nv))
        return cls(
            np.hstack([blocks["A"], blocks["B1"], blocks["B2"]]),
            np.hstack([blocks["C1"], blocks["D11"], blocks["D12"]]),
            np.hstack([blocks["C2"], blocks["D21"], blocks["D22"]]),
            low,
            high,
            lfr.dt is not None,
        )

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.Lx.shape[0]

    @property
    def nv(self) -> int:
        """Number of neurons."""
        return self.Lz.shape[0]

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.Lx.shape[1] - self.nx - self.nv

    def parts(self) -> dict[str, slice]:
        """Where x, w and u stand in ξ."""
        nx, nv = self.nx, self.nv
        return {"x": slice(0, nx), "w": slice(nx, nx + nv), "u": slice(nx + nv, nx + nv + self.nu)}

    def without_input(self) -> Rows:
        """The rows for Δu = 0, over ξ = (Δx, Δw)."""
        keep = self.nx + self.nv
        return Rows(self.Lx[:, :keep], self.Lz[:, :keep], self.Ly[:, :keep], self.low, self.high, self.discrete)

    def neurons_alone(self) -> Rows:
        """The rows for Δx = 0 and Δu = 0 and no dynamics, over ξ = Δw."""
        w = self.parts()["w"]
        empty = np.zeros((0, self.nv))
        return Rows(empty, self.Lz[:, w], self.Ly[:, w], self.low, self.high, self.discrete)


def storage(rows: Rows, P: Array, Lambda: Array, rate: float) -> Ball:
    """The first line of (★): storage and slopes.

    Args:
        rows: of the system.
        P: (nx, nx), symmetric.
        Lambda: (nv,).
        rate: ρ in discrete time, c in continuous time.

    Returns:
        An enclosure of the symmetric (n, n) matrix.
    """
    n, parts = rows.Lx.shape[1], rows.parts()
    Ex, Ew = np.eye(n)[parts["x"]], Ball.exact(np.eye(n)[parts["w"]])
    Lz = Ball.exact(rows.Lz)
    p = Ew - Ball.exact(rows.low[:, None]) * Lz
    r = Ew - Ball.exact(rows.high[:, None]) * Lz
    slopes = p.T @ (Ball.exact(Lambda[:, None]) * r)
    slopes = slopes + slopes.T
    Lx, PB, number = Ball.exact(rows.Lx), Ball.exact(P), Ball.exact(rate)
    if rows.discrete:
        corner = _corner(number * number * PB, n)
        flow = Lx.T @ (PB @ Lx)
        return (corner - flow + slopes).symmetric()
    corner = _corner(Ball.exact(2.0) * number * PB, n)
    flow = Ball.exact(Ex).T @ (PB @ Lx)
    return (slopes - (flow + flow.T) - corner).symmetric()


def supply(rows: Rows, Q: Ball, S: Ball, R: Ball) -> Ball:
    """The second line of (★): the supply ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu.

    Args:
        rows: of the system.
        Q: (ny, ny), symmetric.
        S: (nu, ny).
        R: (nu, nu), symmetric.

    Returns:
        An enclosure of the symmetric (n, n) matrix.
    """
    n = rows.Lx.shape[1]
    Ly, Eu = Ball.exact(rows.Ly), Ball.exact(np.eye(n)[rows.parts()["u"]])
    cross = Eu.T @ (S @ Ly)
    return (Ly.T @ (Q @ Ly) + (cross + cross.T) + Eu.T @ (R @ Eu)).symmetric()


def gain_supply(claim: Lipschitz, labels: Labels) -> tuple[Ball, Ball, Ball]:
    """(Q, S, R) = (−S_y⁻², 0, γ² S_u⁻²): the supply of a Lipschitz claim."""
    u_scale, y_scale = claim.scales(labels)
    per_u, per_y = Ball.exact(u_scale).reciprocal(), Ball.exact(y_scale).reciprocal()
    gamma = Ball.exact(claim.gamma)
    weight = gamma * per_u
    return -_diagonal(per_y * per_y), Ball.exact(np.zeros((labels.nu, labels.ny))), _diagonal(weight * weight)


def _corner(block: Ball, n: int) -> Ball:
    """A matrix in the upper left corner of an (n, n) zero."""
    k = block.mid.shape[0]
    mid, radius = np.zeros((n, n)), np.zeros((n, n))
    mid[:k, :k], radius[:k, :k] = block.mid, block.radius
    return Ball(mid, radius)


def _diagonal(entries: Ball) -> Ball:
    return Ball(np.diag(entries.mid), np.diag(entries.radius))
