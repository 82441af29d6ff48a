"""Sine and cosine of a fraction, far closer than float64: Taylor's series, summed in integers over 2^128."""

from __future__ import annotations

from fractions import Fraction

_BITS = 128


def sine(x: Fraction) -> Fraction:
    """Sin x for |x| ≤ 10, up to 2^−80."""
    return _series(x, 1)


def cosine(x: Fraction) -> Fraction:
    """Cos x for |x| ≤ 10, up to 2^−80."""
    return _series(x, 0)


def _series(x: Fraction, power: int) -> Fraction:
    """Σ (−1)^k x^(2k + power)/(2k + power)!; the terms reach e^10 < 2^15, each truncation is below 1."""
    scaled = (x.numerator << _BITS) // x.denominator
    term, total = (scaled if power else 1 << _BITS), 0
    while abs(term) > 1:
        total += term
        term = -((term * scaled * scaled) >> 2 * _BITS) // ((power + 1) * (power + 2))
        power += 2
    return Fraction(total, 1 << _BITS)
