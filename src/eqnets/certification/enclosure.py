"""Matrices with an error bound: every operation adds its own rounding error, so the exact result stays inside.

A `Ball` encloses, entry by entry, all real matrices within `radius` of `mid`. The only thing assumed of the machine is
IEEE float64 with rounding to nearest and sums of products in any order, with or without fused multiply–add:
|fl(AB) − AB| ≤ γ_k |A||B|, γ_k = k u/(1 − k u) (Higham 2002, eq. 3.13). Underflow, flushed to zero or not, is covered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

UNIT = 2.0**-53
"""Half the distance from 1 to the next float64."""
TINY = float(np.finfo(np.float64).tiny)
_UPWARDS = 1.0 + 2.0**-40
"""Makes up for the rounding of the radii themselves: few operations, or sums of fewer than 4000 terms each."""


@dataclass(frozen=True, eq=False)
class Ball:
    """A float64 array and a radius per entry.

    Args:
        mid: the computed entries, any shape.
        radius: of the same shape, ≥ 0.
    """

    mid: Array
    radius: Array

    @classmethod
    def exact(cls, value: ArrayLike) -> Ball:
        """Float64 numbers taken as they are."""
        mid = np.array(value, dtype=np.float64)
        return cls(mid, np.zeros_like(mid))

    @property
    def T(self) -> Ball:
        """The transpose."""
        return Ball(self.mid.T, self.radius.T)

    def __neg__(self) -> Ball:
        return Ball(-self.mid, self.radius)

    def __add__(self, other: Ball) -> Ball:
        mid = self.mid + other.mid
        return Ball(mid, _UPWARDS * (self.radius + other.radius + UNIT * np.abs(mid)) + TINY)

    def __sub__(self, other: Ball) -> Ball:
        return self + (-other)

    def __mul__(self, other: Ball) -> Ball:
        """The product entry by entry (numpy's broadcasting)."""
        mid = self.mid * other.mid
        spread = np.abs(self.mid) * other.radius + self.radius * (np.abs(other.mid) + other.radius)
        small = 8 * TINY * (1 + np.abs(self.mid) + np.abs(other.mid) + self.radius + other.radius)
        return Ball(mid, _UPWARDS * (spread + UNIT * np.abs(mid) + small))

    def __matmul__(self, other: Ball) -> Ball:
        terms = self.mid.shape[-1]
        a, b = np.abs(self.mid), np.abs(other.mid)
        spread = a @ (gamma(terms) * b + other.radius) + self.radius @ (b + other.radius)
        largest = sum(part.max(initial=0.0) for part in (a, b, self.radius, other.radius))
        small = 8 * TINY * terms * (1 + largest)
        return Ball(self.mid @ other.mid, (1 + 4 * gamma(terms + 8)) * _UPWARDS * (spread + small))

    def reciprocal(self) -> Ball:
        """1/x of an exact, positive array (radius 0)."""
        if np.any(self.radius) or np.any(self.mid <= 0):
            raise ValueError("only exact positive numbers have this reciprocal")
        mid = 1.0 / self.mid
        return Ball(mid, _UPWARDS * (UNIT * mid + TINY))

    def symmetric(self) -> Ball:
        """The same enclosure for a matrix that is known to be symmetric: the lower triangle, mirrored."""
        lower, radius = np.tril(self.mid), np.tril(self.radius)
        return Ball(lower + np.tril(self.mid, -1).T, radius + np.tril(self.radius, -1).T)

    def corner(self, n: int) -> Ball:
        """The matrix in the upper left corner of an (n, n) zero."""
        size = len(self.mid)
        mid, radius = np.zeros((n, n)), np.zeros((n, n))
        mid[:size, :size], radius[:size, :size] = self.mid, self.radius
        return Ball(mid, radius)

    def diagonal(self) -> Ball:
        """The square matrix with these entries on its diagonal."""
        return Ball(np.diag(self.mid), np.diag(self.radius))

    def norm(self) -> float:
        """An upper bound on the spectral norm of every symmetric matrix inside: the largest row sum of |mid|+radius."""
        n = self.mid.shape[-1]
        rows = (np.abs(self.mid) + self.radius).sum(axis=-1)
        return float(rows.max(initial=0.0) * (1 + 4 * gamma(n + 4)) * _UPWARDS)


def gamma(terms: int) -> float:
    """An upper bound on γ_k = k u/(1 − k u); k is far below 2⁴⁰ here."""
    return 1.001 * (terms + 1) * UNIT
