"""The one matrix inequality, in integers; its terms and what it implies are written out below.

For increments ξ = (Δx, Δw, Δu) of two trajectories, rows Δx⁺ = Lx ξ, Δv = Lz ξ, Δy = Ly ξ, and slopes in [α_i, β_i]:

    M = ρ² ExᵀP Ex − LxᵀP Lx + Σ λ_i (p_i r_iᵀ + r_i p_iᵀ) + LyᵀQ Ly + EuᵀS Ly + LyᵀSᵀEu + EuᵀR Eu ≻ 0        (★)

with p_i = Ew_i − α_i Lz_i, r_i = Ew_i − β_i Lz_i. On trajectories the sum over i is ≤ 0 where λ ≥ 0, so that
V(Δx⁺) ≤ ρ² V(Δx) + ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu for V = ΔxᵀPΔx. In continuous time the first two terms are
−(ExᵀP Lx + LxᵀP Ex) − 2c ExᵀP Ex. Over Δw alone, or with Q ≼ 0, it says that the neurons have exactly one solution.
"""

import math
from fractions import Fraction
from typing import Any, NamedTuple

from eqnets_verify.exact import Dyadic, dyadic, scaled, symmetric, times

ROWS = {"x": ("A", "B1", "B2"), "w": ("C1", "D11", "D12"), "y": ("C2", "D21", "D22")}


class System(NamedTuple):
    """The matrices by name, nx, nw, nu, ny by letter, the slope intervals, dt, P and Λ."""

    blocks: dict[str, list]
    size: dict[str, int]
    slopes: list[tuple[float, float]]
    dt: float | None
    P: list
    Lambda: list[float]


def inequality(s: System, rate: float, parts: str, supply: tuple | None = None, eta: tuple | list = ()) -> Dyadic:
    """(★) over these parts of ξ ("w", "xw" or "xwu"), with a supply (Q, S, R), and with integrals weighted by η."""
    Ex, Ew, Eu = (_selector(s, parts, part) for part in "xwu")
    Lx, Lz, Ly = (_rows(s, parts, part) for part in "xwy")
    low, high = ([interval[end] for interval in s.slopes] for end in (0, 1))
    terms = [(2, _sector(Ew, Lz, low), scaled(s.Lambda, _sector(Ew, Lz, high)))]
    if "x" in parts:
        P, rates = dyadic(s.P), [Fraction(rate)] * len(s.P)
        if s.dt is None:
            terms += [(-2, Ex, times(P, Lx)), (-2, scaled(rates, Ex), times(P, Ex))]
        else:
            terms += [(-1, Lx, times(P, Lx)), (1, scaled(rates, Ex), times(P, scaled(rates, Ex)))]
    terms += [(-2, Ew, scaled(eta, times(dyadic(s.blocks["C1"]), Lx)))] if any(eta) else []
    if supply is not None:
        Q, S, R = map(dyadic, supply)
        terms += [(1, Ly, times(Q, Ly)), (1, Eu, times(R, Eu))] + [(2, Eu, times(S, Ly))] * any(Ly.rows)
    return symmetric(sum(s.size[part] for part in parts), terms)


def monotone(s: System, m: float) -> Dyadic:
    """I − (D11 + D11ᵀ)/2 − mI."""
    I, n = _selector(s, "w", "w"), s.size["w"]
    return symmetric(n, [(1, I, I), (-1, I, dyadic(s.blocks["D11"])), (-1, I, scaled([m] * n, I))])


def supply_of(claim: dict[str, Any], nu: int, ny: int) -> tuple:
    """(Q, S, R) of a claim; 1/s² and γ²/s² of a gain are rounded to the side that makes (★) harder."""
    if "Q" in claim:
        return claim["Q"], claim["S"], claim["R"]
    if claim["kind"] == "passive":
        strict = [-2 * Fraction(claim[end]) for end in ("output_strict", "input_strict")]
        return _diagonal(strict[:1] * ny), _diagonal([1] * nu), _diagonal(strict[1:] * nu)
    s_u, s_y = claim["u_scale"] or [1.0] * nu, claim["y_scale"] or [1.0] * ny
    Q = [-rounded(1 / Fraction(size) ** 2, math.ceil) for size in s_y]
    R = [rounded((Fraction(claim["gamma"]) / Fraction(size)) ** 2, math.floor) for size in s_u]
    return _diagonal(Q), [[0] * ny for _ in range(nu)], _diagonal(R)


def rounded(x: Fraction, towards: Any) -> Fraction:
    """A fraction over a power of two within 2^−80 or so of x, on the side of math.ceil or math.floor."""
    k = max(80 + x.denominator.bit_length() - x.numerator.bit_length(), 0)
    return Fraction(towards(x * 2**k), 2**k)


def _diagonal(entries: list) -> list:
    return [[entry if i == j else 0 for j in range(len(entries))] for i, entry in enumerate(entries)]


def _selector(s: System, parts: str, part: str) -> Dyadic:
    begin, n = sum(s.size[p] for p in parts.split(part)[0]), sum(s.size[p] for p in parts)
    return Dyadic([[int(j == begin + i) for j in range(n)] for i in range(s.size[part] * (part in parts))], 0)


def _rows(s: System, parts: str, part: str) -> Dyadic:
    blocks = [s.blocks[name] for name, column in zip(ROWS[part], "xwu", strict=True) if column in parts]
    return dyadic([sum(rows, []) for rows in zip(*blocks, strict=True)])


def _sector(Ew: Dyadic, Lz: Dyadic, bounds: list[float]) -> Dyadic:
    rows, k = scaled(bounds, Lz)
    return Dyadic([[(e << k) - b for e, b in zip(*pair, strict=True)] for pair in zip(Ew.rows, rows, strict=True)], k)
