"""Enclosures contain the exact result, checked in rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from eqnets.certification.enclosure import TINY, Ball

Exact = list[list[Fraction]]


def _exact(a: np.ndarray) -> Exact:
    return [[Fraction(float(v)) for v in row] for row in a]


def _product(a: Exact, b: Exact) -> Exact:
    return [
        [sum((x * y for x, y in zip(row, col, strict=True)), Fraction(0)) for col in zip(*b, strict=True)] for row in a
    ]


def _contains(ball: Ball, exact: Exact) -> bool:
    return all(
        abs(Fraction(float(ball.mid[i, j])) - exact[i][j]) <= Fraction(float(ball.radius[i, j]))
        for i in range(len(exact))
        for j in range(len(exact[0]))
    )


def _wild(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape) * 10.0 ** rng.integers(-12, 12, shape)


@pytest.mark.parametrize("seed", range(10))
def test_a_chain_of_products_and_sums_contains_the_exact_result(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c, d = _wild(rng, 3, 7), _wild(rng, 7, 5), _wild(rng, 5, 3), _wild(rng, 3, 3)
    ball = (Ball.exact(a) @ (Ball.exact(b) @ Ball.exact(c)) - Ball.exact(d)) * Ball.exact(d)
    product = _product(_product(_exact(a), _exact(b)), _exact(c))
    exact = [[(p - q) * q for p, q in zip(r, s, strict=True)] for r, s in zip(product, _exact(d), strict=True)]
    assert _contains(ball, exact)
    assert not _contains(Ball(ball.mid, np.zeros_like(ball.radius)), exact)  # there was something to enclose


def test_the_reciprocal_contains_one_over_x() -> None:
    x = np.random.default_rng(0).uniform(1e-5, 1e5, (1, 200))
    assert _contains(Ball.exact(x).reciprocal(), [[1 / v for v in _exact(x)[0]]])


@pytest.mark.parametrize("bad", [np.array([0.0]), np.array([-1.0])])
def test_only_positive_numbers_have_a_reciprocal(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="positive"):
        Ball.exact(bad).reciprocal()


def test_underflow_is_enclosed() -> None:
    a = np.array([[2.0**-1000]])
    assert _contains(Ball.exact(a) @ Ball.exact(a), [[Fraction(2) ** -2000]])
    assert _contains(Ball.exact(a) * Ball.exact(a), [[Fraction(2) ** -2000]])
    assert (Ball.exact(a) * Ball.exact(a)).radius[0, 0] >= TINY


def test_the_norm_bounds_every_symmetric_matrix_inside() -> None:
    rng = np.random.default_rng(1)
    mid, radius = rng.standard_normal((6, 6)), rng.uniform(0, 0.1, (6, 6))
    ball = Ball(mid, radius).symmetric()
    for _ in range(50):
        inside = ball.mid + np.tril(rng.uniform(-1, 1, (6, 6))) * ball.radius
        inside = np.tril(inside) + np.tril(inside, -1).T
        assert np.abs(np.linalg.eigvalsh(inside)).max() <= ball.norm()
