"""Sectors of a nonlinearity around one point, from exact arithmetic: α s² ≤ s (φ(v + s) − φ(v)) ≤ β s² for |s| ≤ bound.

A sector speaks of one point, slopes of every pair; around one equilibrium a sector is all that is needed, and it is
narrower. With q(s) = (φ(v + s) − φ(v))/s, the sector of Δ(v) = v − sin v is found on a grid: q is a mean of Δ' on the
way, so that |q''| ≤ 1/3 and between two nodes h apart q leaves their values by at most h²/24; |∂q/∂v| ≤ 1 takes in that
the point is known up to a tolerance. Sines are summed in integers (`sines`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from eqnets.certification.sines import cosine, sine
from eqnets.system.elementwise import Nonlinearity

_CELLS = 255
"""Odd, so that s = 0 is no node."""
_PAD = Fraction(1, 2**40)
"""More than all rounding here and of whoever checks the sector."""
SINE_SECTOR = 1.2172336283
"""An upper bound of 1 − sin s/s over all s ≠ 0: the first minimum of sin s/s lies at s = tan s = 4.4934."""
LARGEST = 10.0
"""Of |v| + bound, for the series of the sine; a wider bound is none."""


@dataclass(frozen=True)
class Sector:
    """What is known of one neuron around its point.

    Args:
        low: α.
        high: β.
        least: a lower bound of the smaller of ∫₀ˢ(φ(v + σ) − φ(v))dσ at s = ±bound; 0 without a bound.
        most: an upper bound of the larger.
    """

    low: float
    high: float
    least: float = 0.0
    most: float = 0.0


def is_local(activation: Nonlinearity) -> bool:
    """Whether a bound narrows the sector of this activation; for the others it would only be a restriction."""
    return activation.name in ("sine_defect", "hardtanh")


def sector(activation: Nonlinearity, v: Fraction, tolerance: float, bound: float | None) -> Sector:
    """The sector around a point that is known up to a tolerance.

    Args:
        activation: φ.
        v: the point.
        tolerance: the true point lies within v ± tolerance.
        bound: of |s|, positive; None: all s.

    Returns:
        The sector, rounded outwards; never wider than the slopes.
    """
    low, high = map(Fraction, activation.slope)
    if activation.name == "sine_defect" and bound is None and v == 0 and tolerance == 0:
        return Sector(0.0, SINE_SECTOR)
    if bound is None:
        return Sector(float(low), float(high))
    z, off = Fraction(bound), Fraction(tolerance)
    if activation.name == "sine_defect" and abs(v) + z <= LARGEST:
        nodes = [z * (2 * j - _CELLS) / _CELLS for j in range(_CELLS + 1)]
        found = [1 - (sine(v + s) - sine(v)) / s for s in nodes]
        spare = (2 * z / _CELLS) ** 2 / 24 + off + _PAD
        low, high = max(low, min(found) - spare), min(high, max(found) + spare)
        ends = [s * s / 2 + cosine(v + s) - cosine(v) + s * sine(v) for s in (-z, z)]
        spare = off * z * z / 2 + _PAD
        return Sector(*outward(low, high), *outward(min(ends) - spare, max(ends) + spare))
    if activation.name == "hardtanh" and abs(v) + off <= 1:
        # concave above the point, convex below it: q is least at the ends
        low = min(Fraction(1), (1 - abs(v) - off) / z)
    low, high = map(Fraction, outward(low, high))
    return Sector(float(low), float(high), *outward(low * z * z / 2, high * z * z / 2))


def outward(low: Fraction, high: Fraction) -> tuple[float, float]:
    """The nearest float64 at or below the one, at or above the other."""
    a, b = float(low), float(high)
    return (a if a <= low else math.nextafter(a, -math.inf)), (b if b >= high else math.nextafter(b, math.inf))
