"""Exact arithmetic: sums and products are those of fractions, and a proof is never given for what is not positive."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from eqnets.certification.exact import Exact, prove_exactly
from eqnets.certification.proof import Factor
from eqnets_verify.exact import Dyadic, is_positive


def fractions(value: np.ndarray) -> np.ndarray:
    out = np.empty(value.shape, dtype=object)
    for index in np.ndindex(*value.shape):
        out[index] = Fraction(float(value[index]))
    return out


def value_of(x: Exact) -> np.ndarray:
    out = np.empty(x.numerator.shape, dtype=object)
    for index in np.ndindex(*out.shape):
        out[index] = Fraction(int(x.numerator[index]), 1 << x.k)
    return out


def wild(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers of all sizes, zeros among them."""
    return rng.normal(size=shape) * 10.0 ** rng.integers(-40, 40, size=shape) * (rng.random(shape) > 0.2)


@pytest.mark.parametrize("seed", range(5))
def test_every_operation_is_that_of_fractions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = wild(rng, 3, 4), wild(rng, 3, 4), wild(rng, 4, 2)
    A, B, C = map(Exact.exact, (a, b, c))
    fa, fb, fc = map(fractions, (a, b, c))
    for got, expected in ((A + B, fa + fb), (A - B, fa - fb), (-A, -fa), (A * B, fa * fb), (A @ C, fa @ fc),
                          (A.T, fa.T), (Exact.exact(3.5) * A, Fraction(7, 2) * fa)):  # fmt: skip
        assert (value_of(got) == expected).all()
    square = value_of(Exact.exact(np.eye(2)).corner(3))
    assert (square == fractions(np.diag([1.0, 1.0, 0.0]))).all()
    assert (value_of(Exact.exact([1.0, 2.0]).diagonal()) == fractions(np.diag([1.0, 2.0]))).all()


@pytest.mark.parametrize("shape", [(0, 3, 2), (3, 0, 2), (2, 3, 0), (1, 1, 1), (1, 700, 1)])
def test_products_of_all_shapes(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    a, b = wild(rng, shape[0], shape[1]), wild(rng, shape[1], shape[2])
    got = value_of(Exact.exact(a) @ Exact.exact(b))
    assert got.shape == (shape[0], shape[2])
    expected = np.full(got.shape, Fraction(0), dtype=object)
    if shape[1]:
        expected = fractions(a) @ fractions(b)
    assert (got == expected).all()


def test_limbs_at_their_largest() -> None:
    # all bits set, and as many terms as a large model has: the sums of limbs must not leave 2⁵³
    top = (1 << 66) - 1
    A = Exact(np.full((2, 1000), top, dtype=object), 0)
    assert ((A @ A.T).numerator == 1000 * top * top).all()
    mixed = Exact(np.array([[top, -top, 1], [-1, 0, top]], dtype=object), 0)
    assert ((mixed @ mixed.T).numerator == np.array([[2 * top**2 + 1, 0], [0, top**2 + 1]], dtype=object)).all()


def matrix(rng: np.random.Generator, smallest: float, n: int = 12) -> np.ndarray:
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    eigenvalues = np.concatenate([[smallest], rng.uniform(0.1, 1, n - 1)])
    M = (Q * eigenvalues) @ Q.T
    scale = 2.0 ** rng.integers(-20, 20, size=n)
    return (M + M.T) / 2 * scale[:, None] * scale[None, :]


def definite(M: np.ndarray) -> bool:
    A = fractions(M)
    for k in range(len(A)):
        if A[k, k] <= 0:
            return False
        A[k + 1 :, k:] -= np.multiply.outer(A[k + 1 :, k] / A[k, k], A[k, k:])
    return True


@pytest.mark.parametrize("smallest", [1e-1, 1e-4, 1e-8, 1e-11, 1e-13, 1e-16, 0.0, -1e-16, -1e-13, -1e-8, -0.5])
def test_a_proof_is_never_given_for_an_indefinite_matrix(smallest: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        M = matrix(rng, smallest)
        proof = prove_exactly(Exact.exact(M))
        if proof.holds:
            assert definite(M) and proof.factor is not None and proof.lower > 0
            exact = Exact.exact(M)
            rows = Dyadic([[int(x) for x in row] for row in exact.numerator], exact.k)
            f = proof.factor
            assert is_positive(rows, f.scale, f.shift, f.bits, f.L)  # the checker agrees
        assert proof.holds or smallest < 1e-11
        assert not proof.holds or smallest > -1e-15


def test_empty_and_single_matrices() -> None:
    assert prove_exactly(Exact.exact(np.zeros((0, 0)))).factor == Factor([], 1.0, 0, [])
    for entry, holds in ((5e-324, True), (1e308, True), (0.0, False), (-1.0, False)):
        assert prove_exactly(Exact.exact([[entry]])).holds is holds


def test_factors_are_as_short_as_the_margin_allows() -> None:
    rng = np.random.default_rng(1)
    bits = [prove_exactly(Exact.exact(matrix(rng, s))).factor.bits for s in (0.1, 1e-4, 1e-8)]  # type: ignore[union-attr]
    assert bits[0] < 20 and bits == sorted(bits)
