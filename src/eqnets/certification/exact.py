"""Matrices of integers over a power of two, with the interface of `Ball`: the exact assembly of (★), and its proof.

Every float64 is an integer over a power of two, so (★) is one over the bits of the deployed weights, P and Λ. With a
diagonal S of powers of two, an approximate Cholesky factor L and a shift c, ‖S M S − cI − LLᵀ‖_∞ < c, an inequality
between integers, gives S M S ≽ LLᵀ + (c − ‖·‖)I ≻ 0. The certificate holds S, c and L; how they were found does not
matter. Products are split into limbs of so few bits that float64 adds them without rounding, in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eqnets.certification.enclosure import Array
from eqnets.certification.proof import Factor, Proof, scaled_eigenvalue

METHOD = "exact integer arithmetic on the bits of the weights, P and Λ (Cholesky residual)"
_MOST_BITS = 60


@dataclass(frozen=True, eq=False)
class Exact:
    """The array numerator / 2^k.

    Args:
        numerator: Python integers (dtype object), any shape.
        k: ≥ 0.
    """

    numerator: NDArray[Any]
    k: int

    @classmethod
    def exact(cls, value: ArrayLike) -> Exact:
        """Float64 numbers taken as they are."""
        array = np.array(value, dtype=np.float64)
        return cls.of_ratios([x.as_integer_ratio() for x in array.ravel().tolist()], array.shape)

    @classmethod
    def of_ratios(cls, ratios: list[tuple[int, int]], shape: tuple[int, ...]) -> Exact:
        """Fractions over powers of two."""
        k = max((d.bit_length() - 1 for _, d in ratios), default=0)
        numerator = np.empty(len(ratios), dtype=object)
        numerator[:] = [n << (k - d.bit_length() + 1) for n, d in ratios]
        return cls(numerator.reshape(shape), k)

    @property
    def T(self) -> Exact:
        """The transpose."""
        return Exact(self.numerator.T, self.k)

    def __neg__(self) -> Exact:
        return Exact(-self.numerator, self.k)

    def __add__(self, other: Exact) -> Exact:
        k = max(self.k, other.k)
        return Exact(self.numerator * (1 << (k - self.k)) + other.numerator * (1 << (k - other.k)), k)

    def __sub__(self, other: Exact) -> Exact:
        return self + (-other)

    def __mul__(self, other: Exact) -> Exact:
        """The product entry by entry (numpy's broadcasting)."""
        return Exact(self.numerator * other.numerator, self.k + other.k)

    def __matmul__(self, other: Exact) -> Exact:
        return Exact(_product(self.numerator, other.numerator), self.k + other.k)

    def symmetric(self) -> Exact:
        """Itself: without rounding, what should be symmetric is."""
        return self

    def corner(self, n: int) -> Exact:
        """The matrix in the upper left corner of an (n, n) zero."""
        size = len(self.numerator)
        numerator = np.full((n, n), 0, dtype=object)
        numerator[:size, :size] = self.numerator
        return Exact(numerator, self.k)

    def diagonal(self) -> Exact:
        """The square matrix with these entries on its diagonal."""
        n = len(self.numerator)
        numerator = np.full((n, n), 0, dtype=object)
        numerator[range(n), range(n)] = self.numerator
        return Exact(numerator, self.k)


def prove_exactly(M: Exact) -> Proof:
    """Try to prove that a symmetric matrix is positive definite, in exact arithmetic.

    Args:
        M: (n, n), symmetric; n = 0 is positive definite.

    Returns:
        The proof with its factor; `holds` is never true for a matrix that is not positive definite.
    """
    n = len(M.numerator)
    if n == 0:
        return Proof(True, 1.0, 1.0, 0.0, Factor([], 1.0, 0, []))
    diagonal = [int(x) for x in np.diagonal(M.numerator)]
    if min(diagonal) <= 0:
        return Proof(False, min(scaled_eigenvalue(_floats(M, [0] * n)), 0.0), -np.inf, 0.0)
    scale = [-round((math.log2(x) - M.k) / 2) for x in diagonal]
    near = _floats(M, scale)
    margin = scaled_eigenvalue(near)
    smallest = float(np.linalg.eigvalsh(near)[0]) if np.isfinite(near).all() else -np.inf
    for share in (0.5, 0.9, 0.1):
        shift = math.ldexp(round(math.ldexp(share * smallest, 80)), -80) if smallest > 0 else 0.0
        factor = _factor(near, scale, shift)
        if factor is not None and (room := _room(M, factor)) > 0:
            return Proof(True, margin, room, 0.0, factor)
    return Proof(False, margin, -np.inf, 0.0)


def _factor(near: Array, scale: list[int], shift: float) -> Factor | None:
    if not shift > 0:
        return None
    try:
        L = np.linalg.cholesky(near - shift * np.eye(len(near)))
    except np.linalg.LinAlgError:
        return None
    # rounding L to `bits` moves LLᵀ by about √n·n·2^-bits in ‖·‖_∞: as few bits as the shift allows keep the file short
    bits = min(_MOST_BITS, math.ceil(-math.log2(shift) + 1.5 * math.log2(len(near) + 1) + 4))
    return Factor(
        scale, shift, bits, [[round(math.ldexp(x, bits)) for x in row[: i + 1]] for i, row in enumerate(L.tolist())]
    )


def _room(M: Exact, factor: Factor) -> float:
    """C − ‖S M S − cI − LLᵀ‖_∞, exact in its sign."""
    n, least = len(factor.scale), min(factor.scale)
    S = np.array([1 << (e - least) for e in factor.scale], dtype=object)
    scaled = Exact(S[:, None] * M.numerator * S[None, :], max(M.k - 2 * least, 0))
    if M.k - 2 * least < 0:
        scaled = Exact(scaled.numerator * (1 << (2 * least - M.k)), 0)
    L = np.full((n, n), 0, dtype=object)
    for i, row in enumerate(factor.L):
        L[i, : i + 1] = row
    shift = Exact.exact(factor.shift * np.eye(n))
    residual = scaled - shift - Exact(L, factor.bits) @ Exact(L.T, factor.bits)
    norm = Fraction(int(np.abs(residual.numerator).sum(axis=1).max()), 1 << residual.k)
    room = Fraction(factor.shift) - norm
    return float(room) or (5e-324 if room > 0 else 0.0)


def _floats(M: Exact, scale: list[int]) -> Array:
    """S M S in float64, every entry correctly rounded (or nearly, for very long integers)."""
    rows = [[_float(int(x), a + b - M.k) for x, b in zip(row, scale, strict=True)]
            for row, a in zip(M.numerator, scale, strict=True)]  # fmt: skip
    return np.array(rows, dtype=np.float64).reshape(len(scale), len(scale))


def _float(n: int, exponent: int) -> float:
    spare = max(n.bit_length() - 1000, 0)
    try:
        return math.ldexp(float(n >> spare), exponent + spare)
    except OverflowError:
        return math.copysign(math.inf, n)


def _product(A: NDArray[Any], B: NDArray[Any]) -> NDArray[Any]:
    """A B of integers, by float64 products of limbs: all sums stay below 2⁵³, which float64 holds exactly."""
    inner = A.shape[-1]
    width = (53 - (inner + 1).bit_length()) // 2
    total: dict[int, NDArray[np.int64]] = {}
    right = _limbs(B, width)
    for i, a in enumerate(_limbs(A, width)):
        for j, b in enumerate(right):
            part = (a @ b).astype(np.int64)
            total[i + j] = total[i + j] + part if i + j in total else part
    result = np.full((A.shape[0], B.shape[1]), 0, dtype=object)
    for place, part in total.items():
        result = result + part.astype(object) * (1 << (width * place))
    return result


def _limbs(X: NDArray[Any], width: int) -> list[Array]:
    """|X| in base 2^width, lowest first, each limb with X's sign, as float64."""
    sign = np.where(X < 0, -1.0, 1.0) if X.size else np.zeros(X.shape)
    rest, limbs = np.abs(X) if X.size else X, []
    while X.size and rest.any():
        limbs.append((rest & ((1 << width) - 1)).astype(np.float64) * sign)
        rest = rest >> width
    return limbs
