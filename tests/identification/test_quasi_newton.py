"""Limited-memory BFGS: known minima, descent, stored and continued to the bit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from eqnets.identification.quasi_newton import Function, QuasiNewton


def quadratic(n: int, seed: int) -> tuple[Function, Tensor]:
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=g, dtype=torch.float64)
    H = root @ root.mT + torch.diag(torch.logspace(-3, 3, n, dtype=torch.float64))
    centre = torch.randn(n, generator=g, dtype=torch.float64)
    return lambda x: (float((x - centre) @ H @ (x - centre)) / 2, H @ (x - centre)), centre


def rosenbrock(x: Tensor) -> tuple[float, Tensor]:
    x = x.clone().requires_grad_()
    value = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
    (gradient,) = torch.autograd.grad(value, x)
    return float(value.detach()), gradient


def minimise(f: Function, x: Tensor, most: int = 1000) -> QuasiNewton:
    run = QuasiNewton(x)
    run.evaluate(f)
    for _ in range(most):
        if not run.iterate(f):
            break
    return run


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [1, 2, 40])
def test_a_quadratic_of_condition_a_million(n: int, seed: int) -> None:
    f, centre = quadratic(n, seed)
    run = minimise(f, torch.zeros(n, dtype=torch.float64))
    assert torch.allclose(run.x, centre, atol=1e-4) and float(run.gradient.abs().max()) < 1e-6


@pytest.mark.parametrize("n", [2, 10])
def test_rosenbrock(n: int) -> None:
    run = minimise(rosenbrock, torch.full((n,), -0.5, dtype=torch.float64))
    assert torch.allclose(run.x, torch.ones(n, dtype=torch.float64), atol=1e-5)


def test_every_step_descends_and_a_minimum_is_said() -> None:
    f, _ = quadratic(5, 0)
    run = QuasiNewton(torch.ones(5, dtype=torch.float64))
    run.evaluate(f)
    values = [run.value]
    while run.iterate(f):
        values.append(run.value)
        assert len(values) < 500
    assert all(b < a for a, b in zip(values, values[1:], strict=False))
    assert not run.iterate(f)


def test_where_the_function_has_no_value_the_search_turns_back() -> None:
    def barrier(x: Tensor) -> tuple[float, Tensor]:  # x − log x, none for x ≤ 0
        return (float((x - x.log()).sum()), 1 - 1 / x) if bool((x > 0).all()) else (math.inf, torch.zeros_like(x))

    run = minimise(barrier, torch.full((3,), 50.0, dtype=torch.float64))
    assert torch.allclose(run.x, torch.ones(3, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("at", [0, 1, 35])
def test_stored_and_continued_is_the_same_to_the_bit(at: int) -> None:
    start = torch.full((10,), -0.5, dtype=torch.float64)
    whole = minimise(rosenbrock, start, 60)
    first = minimise(rosenbrock, start, at)
    second = QuasiNewton.restored({name: value.clone() for name, value in first.state().items()})
    for _ in range(60 - at):
        second.iterate(rosenbrock)
    assert torch.equal(second.x, whole.x) and second.value == whole.value
