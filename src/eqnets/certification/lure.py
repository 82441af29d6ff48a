"""The inequalities around one equilibrium: circle and Lur'e–Postnikov, over ξ = (x − x*, w − w*).

With v = C1 x, D11 = 0 and every neuron in a sector [α_i, β_i] around its point while |v_i − v_i*| < z_i,

    V = ξ_xᵀP ξ_x + 2 Σ η_i ∫₀ (φ_i − w_i*),     V' < 0  where  M = (★)(P, Λ; α, β) − (EwᵀH C1 Lx + its transpose) ≻ 0,

H = diag η of either sign (Lur'e–Postnikov; η = 0 is the circle criterion, which holds in discrete time too). Since
α v² ≤ 2∫ ≤ β v², V is at least ξ_xᵀP'ξ_x, P' = P + Σ m_j c_j c_jᵀ, m_j = min(η_j α_j, η_j β_j), c_j the rows of C1:

    P' ≻ 0                                                             V is positive
    P' − m_i c_i c_iᵀ − t_i c_i c_iᵀ ≻ 0,  t_i z_i² = 1 − 2 min η_i∫    V > 1 where |v_i − v_i*| = z_i (∫ taken at ±z_i)

so that {V < 1, |v − v*| < z} is left by no trajectory, is bounded, and is star-shaped about x*: V' along a ray from x*
is at least ξ_xᵀP'ξ_x. In discrete time, η = 0, the ellipsoid lies inside the bounds, and V falls at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from eqnets.certification.enclosure import Array
from eqnets.certification.exact import Exact
from eqnets.certification.inequality import Rows, storage
from eqnets.certification.sector import Sector, outward

Bounds = tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class Numbers:
    """What proves a claim around an equilibrium.

    Args:
        P: (nx, nx), symmetric.
        Lambda: (nv,), positive.
        eta: (nv,), 0 for the circle criterion.
    """

    P: Array
    Lambda: Array
    eta: Array


def within(rows: Rows, sectors: Sequence[Sector]) -> Rows:
    """The rows without inputs, with the sectors in place of the slopes."""
    low, high = (np.array([getattr(s, end) for s in sectors], dtype=np.float64) for end in ("low", "high"))
    return replace(rows.without_input(), low=low, high=high)


def decrease(rows: Rows, numbers: Numbers, of: Any = Exact) -> Any:
    """M, which makes V fall.

    Args:
        rows: of `within`.
        numbers: P, Λ, η.
        of: what to compute with.

    Returns:
        (nx + nv, nx + nv), symmetric.
    """
    part = rows.parts()
    C1, Ew = of.exact(rows.Lz[:, part["x"]]), of.exact(np.eye(rows.Lx.shape[1])[part["w"]])
    flow = Ew.T @ (of.exact(numbers.eta[:, None]) * (C1 @ of.exact(rows.Lx)))
    first = storage(rows, numbers.P, numbers.Lambda, float(rows.discrete), of)
    return (first - (flow + flow.T)).symmetric()


def levels(rows: Rows, numbers: Numbers, sectors: Sequence[Sector], bounds: Bounds) -> list[Exact]:
    """P', and the matrix of every bound: all of them positive definite makes the region one that nothing leaves.

    Args:
        rows: of the system.
        numbers: P, Λ, η.
        sectors: within the bounds.
        bounds: z, None where there is none.

    Returns:
        Exact matrices (nx, nx).
    """
    C1, eta = rows.Lz[:, rows.parts()["x"]], [Fraction(float(x)) for x in numbers.eta]
    least = [min(h * Fraction(s.low), h * Fraction(s.high)) for h, s in zip(eta, sectors, strict=True)]
    result = [_plus(numbers.P, C1, least)]
    for i, (bound, s) in enumerate(zip(bounds, sectors, strict=True)):
        if bound is not None:
            stored = 2 * min(eta[i] * Fraction(s.least), eta[i] * Fraction(s.most))
            edge = Fraction(outward(Fraction(0), (1 - stored) / Fraction(bound) ** 2)[1])
            result.append(_plus(numbers.P, C1, [*least[:i], -edge, *least[i + 1 :]]))
    return result


def block_diagonal(blocks: list[Exact]) -> Exact:
    """One matrix of several, which is positive definite if all of them are."""
    k, n = max(block.k for block in blocks), sum(len(block.numerator) for block in blocks)
    numerator, at = np.full((n, n), 0, dtype=object), 0
    for block in blocks:
        end = at + len(block.numerator)
        numerator[at:end, at:end] = block.numerator * (1 << (k - block.k))
        at = end
    return Exact(numerator, k)


def _plus(P: Array, C1: Array, weights: list[Fraction]) -> Exact:
    rows = Exact.exact(C1)
    diagonal = Exact.of_ratios([w.as_integer_ratio() for w in weights], (len(weights), 1))
    return Exact.exact(P) + rows.T @ (diagonal * rows)
