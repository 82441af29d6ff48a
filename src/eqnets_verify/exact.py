"""Matrices of integers over a power of two. Every float64 is such a number, so nothing here is ever rounded."""

from operator import mul
from typing import NamedTuple


class Dyadic(NamedTuple):
    """The matrix rows / 2^k."""

    rows: list
    k: int


def dyadic(rows) -> Dyadic:
    """The exact matrix of rows of floats, integers, or fractions over powers of two."""
    ratios = [[x.as_integer_ratio() for x in row] for row in rows]
    k = max((d.bit_length() - 1 for row in ratios for _, d in row), default=0)
    return Dyadic([[n << (k - d.bit_length() + 1) for n, d in row] for row in ratios], k)


def times(A: Dyadic, B: Dyadic) -> Dyadic:
    """The product A B."""
    columns = list(zip(*B.rows, strict=True))
    return Dyadic([[sum(map(mul, row, column)) for column in columns] for row in A.rows], A.k + B.k)


def scaled(factors, A: Dyadic) -> Dyadic:
    """The product diag(factors) A."""
    ((weights,), k) = dyadic([factors])
    return Dyadic([[weight * x for x in row] for weight, row in zip(weights, A.rows, strict=True)], A.k + k)


def symmetric(n: int, terms: list) -> Dyadic:
    """Σ weight (AᵀB + BᵀA)/2 over the terms (weight, A, B), all with n columns."""
    k = max((A.k + B.k for _, A, B in terms), default=0)
    G = [[0] * n for _ in range(n)]
    for weight, A, B in terms:
        for a, b in zip(A.rows, B.rows, strict=True):
            weighted = [weight * x << (k - A.k - B.k) for x in b]
            for i, factor in enumerate(a):
                if factor:
                    G[i] = [g + factor * x for g, x in zip(G[i], weighted, strict=True)]
    return Dyadic([[G[i][j] + G[j][i] for j in range(n)] for i in range(n)], k + 1)


def is_positive(M: Dyadic, scale: list[int], shift: float, bits: int, L: list[list[int]]) -> bool:
    """Whether ‖SMS − cI − LLᵀ‖_∞ < c, with S = diag(2^scale), c = shift, L = L / 2^bits: then SMS ≻ LLᵀ ≽ 0."""
    sizes_fit = len(scale) == len(M.rows) and [len(row) for row in L] == [*range(1, len(M.rows) + 1)]
    if not (sizes_fit and shift > 0 and 0 <= bits <= 4000 and all(abs(exponent) <= 4000 for exponent in scale)):
        return False
    numerator, denominator = shift.as_integer_ratio()
    k = max(2 * bits, denominator.bit_length() - 1, M.k - 2 * min(scale, default=0))
    c = numerator << (k - denominator.bit_length() + 1)
    sums = [0] * len(scale)
    for i, row in enumerate(L):
        for j in range(i + 1):
            product = sum(map(mul, row, L[j])) << (k - 2 * bits)
            residual = abs((M.rows[i][j] << (k - M.k + scale[i] + scale[j])) - product - (c if i == j else 0))
            sums[i] += residual
            sums[j] += residual if i != j else 0
    return all(total < c for total in sums)
