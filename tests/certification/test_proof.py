"""The float64 proof never accepts a matrix that is not positive definite, and accepts the others down to rounding."""

from __future__ import annotations

import numpy as np
import pytest

from eqnets.certification.enclosure import Ball
from eqnets.certification.proof import prove_positive, scaled_eigenvalue


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("n", [2, 5, 20])
def test_an_exactly_singular_matrix_is_never_proved(seed: int, n: int) -> None:
    # an integer Gram matrix of rank n − 1: exact in float64, λ_min = 0, often computed as a small positive number
    rng = np.random.default_rng(seed)
    G = rng.integers(-9, 10, (n - 1, n)).astype(float)
    G[:, np.abs(G).sum(axis=0) == 0] = 1.0
    assert not prove_positive(Ball.exact(G.T @ G)).holds


def test_some_of_those_singular_matrices_look_positive_to_eigvalsh() -> None:
    looks = 0
    for seed in range(30):
        G = np.random.default_rng(seed).integers(-9, 10, (19, 20)).astype(float)
        looks += scaled_eigenvalue(G.T @ G) > 0
    assert looks > 0  # else the theorem above would be a test of nothing


@pytest.mark.parametrize("level, holds", [(1e-6, True), (1e-11, True), (-1e-11, False), (-1e-6, False)])
@pytest.mark.parametrize("seed", range(5))
def test_a_known_smallest_eigenvalue_is_decided(level: float, holds: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    M = Q @ np.diag([level, *np.linspace(0.1, 1, 39)]) @ Q.T
    proof = prove_positive(Ball.exact(np.tril(M) + np.tril(M, -1).T))
    assert proof.holds is holds
    if holds:
        assert 0 < proof.lower


@pytest.mark.parametrize("seed", range(5))
def test_scaling_of_the_coordinates_changes_neither_the_verdict_nor_the_margin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((30, 20))
    M = G.T @ G
    d = 2.0 ** rng.integers(-300, 300, 20)
    plain, scaled = (prove_positive(Ball.exact(X)) for X in (M, np.tril(M * d[:, None] * d[None, :])
                     + np.tril(M * d[:, None] * d[None, :], -1).T))  # fmt: skip
    assert plain.holds and scaled.holds
    assert scaled.margin == pytest.approx(plain.margin, rel=1e-6)


def test_the_radius_counts() -> None:
    M = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert prove_positive(Ball(M, np.full((2, 2), 0.1))).holds
    assert not prove_positive(Ball(M, np.full((2, 2), 0.3))).holds  # [0.7, 0.8; 0.8, 0.7] lies inside


@pytest.mark.parametrize("M", [np.array([[np.nan]]), np.array([[np.inf]]), np.array([[0.0]]), np.array([[-1.0]])])
def test_what_is_not_positive_is_not_proved(M: np.ndarray) -> None:
    assert not prove_positive(Ball.exact(M)).holds


def test_the_empty_matrix_is_positive_definite() -> None:
    assert prove_positive(Ball.exact(np.zeros((0, 0)))).holds
