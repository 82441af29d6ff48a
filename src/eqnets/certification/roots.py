"""Roots of unity, enclosed: cos and sin of 2πj/n from integer arithmetic, correct to half a unit of float64.

π is Machin's 16 arctan(1/5) − 4 arctan(1/239); an angle is reduced to its quadrant exactly, as a fraction of a turn,
and its sine and cosine (`sines`) are far closer than what float64 rounds away.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from eqnets.certification.enclosure import UNIT, Ball
from eqnets.certification.sines import cosine, sine

_ONE = 1 << 128


def roots_of_unity(n: int) -> tuple[Ball, Ball]:
    """cos(2πj/n) and sin(2πj/n) for j = 0 … n − 1.

    Args:
        n: ≥ 1.

    Returns:
        Two balls, (n,) each; 0 and ±1 are exact.
    """
    pi = 16 * _arctan(5) - 4 * _arctan(239)
    cosines, sines = np.zeros(n), np.zeros(n)
    for j in range(n):
        quadrant, rest = divmod(Fraction(4 * j, n), 1)
        angle = Fraction(pi * rest.numerator // (2 * rest.denominator), _ONE)
        c, s = float(cosine(angle)), float(sine(angle))
        for _ in range(int(quadrant)):
            c, s = -s, c
        cosines[j], sines[j] = c, s
    return Ball(cosines, _radius(cosines)), Ball(sines, _radius(sines))


def _radius(values: np.ndarray) -> np.ndarray:
    """Half a unit in the last place is at most 2^−54 for |x| < 1; a twice as large one takes in the series."""
    return np.where(np.isin(values, (-1.0, 0.0, 1.0)), 0.0, UNIT)


def _arctan(inverse: int) -> int:
    """Arctan(1/inverse), times 2^128."""
    size, total, power = _ONE // inverse, 0, 1
    while size:
        total += size // power if power % 4 < 2 else -(size // power)
        size, power = size // inverse**2, power + 2
    return total
