"""The one matrix inequality behind every claim, built from the LFR alone: in float64 with an error bound, or exactly.

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

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from eqnets.certification.claim import Lipschitz, WithSupply
from eqnets.certification.enclosure import Array, Ball
from eqnets.certification.exact import Exact
from eqnets.certification.labels import Labels
from eqnets.errors import InputError
from eqnets.system.lfr import LFR

Number = Any  # Ball or Exact: both offer exact(), +, −, *, @, T, corner, diagonal, symmetric


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


def storage(rows: Rows, P: Array, Lambda: Array, rate: float, of: Any = Ball) -> Number:
    """The first line of (★): storage and slopes.

    Args:
        rows: of the system.
        P: (nx, nx), symmetric.
        Lambda: (nv,).
        rate: ρ in discrete time, c in continuous time.
        of: what to compute with: `Ball` (float64 with an error bound) or `Exact`.

    Returns:
        The symmetric (n, n) matrix.
    """
    n, parts = rows.Lx.shape[1], rows.parts()
    Ex, Ew = of.exact(np.eye(n)[parts["x"]]), of.exact(np.eye(n)[parts["w"]])
    Lz = of.exact(rows.Lz)
    p = Ew - of.exact(rows.low[:, None]) * Lz
    r = Ew - of.exact(rows.high[:, None]) * Lz
    slopes = p.T @ (of.exact(Lambda[:, None]) * r)
    slopes = slopes + slopes.T
    Lx, PB, number = of.exact(rows.Lx), of.exact(P), of.exact(rate)
    if rows.discrete:
        flow = Lx.T @ (PB @ Lx)
        return ((number * number * PB).corner(n) - flow + slopes).symmetric()
    flow = Ex.T @ (PB @ Lx)
    return (slopes - (flow + flow.T) - (of.exact(2.0) * number * PB).corner(n)).symmetric()


def supply(rows: Rows, Q: Number, S: Number, R: Number) -> Number:
    """The second line of (★): the supply ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu.

    Args:
        rows: of the system.
        Q: (ny, ny), symmetric.
        S: (nu, ny).
        R: (nu, nu), symmetric.

    Returns:
        The symmetric (n, n) matrix.
    """
    n, of = rows.Lx.shape[1], type(Q)
    Ly, Eu = of.exact(rows.Ly), of.exact(np.eye(n)[rows.parts()["u"]])
    cross = Eu.T @ (S @ Ly)
    return (Ly.T @ (Q @ Ly) + (cross + cross.T) + Eu.T @ (R @ Eu)).symmetric()


def supply_of(claim: WithSupply, labels: Labels, of: Any = Ball) -> tuple[Number, Number, Number]:
    """(Q, S, R) of a claim; a gain has (−S_y⁻², 0, γ² S_u⁻²).

    Args:
        claim: settled for the system.
        labels: of the system.
        of: what to compute with; `Exact` takes 1/s² and γ²/s², which need not be dyadic, to the side that makes (★)
            harder.

    Returns:
        Q (ny, ny), S (nu, ny), R (nu, nu).
    """
    if not isinstance(claim, Lipschitz):
        Q, S, R = claim.matrices(labels)
        return of.exact(Q), of.exact(S), of.exact(R)
    u_scale, y_scale = claim.scales(labels)
    S = of.exact(np.zeros((labels.nu, labels.ny)))
    if of is Exact:
        q = [_dyadic(-1 / Fraction(size) ** 2, math.floor) for size in y_scale]
        r = [_dyadic((Fraction(claim.gamma) / Fraction(size)) ** 2, math.floor) for size in u_scale]
        return Exact.of_ratios(q, (len(q),)).diagonal(), S, Exact.of_ratios(r, (len(r),)).diagonal()
    per_u, per_y = Ball.exact(u_scale).reciprocal(), Ball.exact(y_scale).reciprocal()
    weight = Ball.exact(claim.gamma) * per_u
    return -(per_y * per_y).diagonal(), S, (weight * weight).diagonal()


def condensed(rows: Rows, claim: Lipschitz, labels: Labels, Lambda: Array) -> Ball | None:
    """(★) of a gain without its inputs, by a Schur complement, for static networks with more inputs than neurons.

    Where nx = 0, D22 = 0 and α = 0 the block of the inputs is γ²S_u⁻², and (★) says γ²K − N Nᵀ ≻ 0 for the block K of
    the neurons and N = diag(β) Λ D12 S_u: nv × nv instead of (nv + nu) × (nv + nu).

    Args:
        rows: of the system.
        claim: settled for the system.
        labels: of the system.
        Lambda: (nv,).

    Returns:
        (nv, nv), or None where (★) has no such form, or would not be smaller.
    """
    w, u = rows.parts()["w"], rows.parts()["u"]
    if rows.nx or rows.nu <= rows.nv or rows.low.any() or rows.Ly[:, u].any():
        return None
    Q, _, _ = supply_of(claim, labels)
    Ly, gamma = Ball.exact(rows.Ly[:, w]), Ball.exact(claim.gamma)
    K = storage(rows.neurons_alone(), np.zeros((0, 0)), Lambda, 1.0) + Ly.T @ (Q @ Ly)
    size = Ball.exact(claim.scales(labels)[0])
    N = Ball.exact(rows.high[:, None]) * Ball.exact(Lambda[:, None]) * Ball.exact(rows.Lz[:, u]) * size
    return (gamma * gamma * K - N @ N.T).symmetric()


def _dyadic(x: Fraction, towards: Callable[[Fraction], int]) -> tuple[int, int]:
    k = max(96 + x.denominator.bit_length() - abs(x.numerator).bit_length(), 0)
    return Fraction(towards(x * 2**k), 2**k).as_integer_ratio()
