"""What splittings cost and refuse, and the traps of others that they avoid."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import eqnets as eq
from eqnets.equilibrium.factored import Factored, Memory
from eqnets.equilibrium.inclusion import Cotangent, Diagonal, Inclusion, Tangent
from eqnets.equilibrium.loop import solve
from eqnets.equilibrium.tolerance import Tolerance
from eqnets.system import nonlinearity
from eqnets.system.operator import Dense

F64 = torch.float64
TOLERANCE = Tolerance(1e-12, 1e-13)
SPLITTINGS = [eq.ForwardBackward(), eq.PeacemanRachford(), eq.DouglasRachford()]


def example(n: int = 8, m: float = 1.0, seed: int = 0, spread: float = 0.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    A, B = (torch.randn(n, n, generator=generator, dtype=F64) for _ in range(2))
    return (1 - m) * torch.eye(n, dtype=F64) - spread * A.T @ A + B - B.T


class Counted:
    """An operator that counts what is asked of it."""

    def __init__(self, W: torch.Tensor) -> None:
        self.dense = Dense(W)
        self.counts = {"apply": 0, "adjoint": 0, "resolvent": 0, "V": 0}

    def apply(self, z):
        self.counts["apply"] += 1
        return self.dense.apply(z)

    def adjoint(self, z):
        self.counts["adjoint"] += 1
        return self.dense.adjoint(z)

    def resolvent(self, alpha):
        self.counts["resolvent"] += 1
        V, counts = self.dense.resolvent(alpha), self.counts

        class Factor:
            def apply(self, z):
                counts["V"] += 1
                return V.apply(z)

            def adjoint(self, z):
                counts["V"] += 1
                return V.adjoint(z)

        return Factor()


@pytest.mark.parametrize("splitting", SPLITTINGS, ids=lambda s: type(s).__name__)
def test_a_step_costs_one_product_and_the_residual_nothing(splitting):
    """Peaceman–Rachford: one product with V a step, and one factorisation in all; the residual is free."""
    operator = Counted(example())
    factored = Factored(operator, 1.0)
    alpha = splitting.chosen(1.0, factored.lipschitz(torch.zeros(1, 8, dtype=F64)))
    operator.counts.update(apply=0, adjoint=0)
    bias = torch.randn(5, 8, generator=torch.Generator().manual_seed(1), dtype=F64)
    for _ in range(2):  # the second solve factorises nothing
        map = Inclusion(factored, nonlinearity.get("tanh"), bias)
        map.factored.takes = False
        found = solve(map, torch.zeros_like(bias), type(splitting)(alpha), TOLERANCE, 10_000)
        assert not found.status.any()
    steps = 2 * int(found.steps.max())
    forward = isinstance(splitting, eq.ForwardBackward)
    assert operator.counts["V"] == (0 if forward else steps - 2)
    assert operator.counts["resolvent"] == (0 if forward else 1)
    assert operator.counts["apply"] == (steps - 2 if forward else 0)  # the start, at zero, costs nothing
    assert operator.counts["adjoint"] == 0


@pytest.mark.parametrize("splitting", SPLITTINGS, ids=lambda s: type(s).__name__)
def test_the_known_value_is_the_value(splitting):
    """The free evaluation h + (h − r)/α equals W h + b: the loop judges the equation that was asked."""
    W, sigma = example(), nonlinearity.get("softplus")
    bias = torch.randn(4, 8, generator=torch.Generator().manual_seed(2), dtype=F64)
    for alpha in (None, 0.05, 1.0) if not isinstance(splitting, eq.ForwardBackward) else (None,):
        map = Inclusion(Factored(Dense(W), 1.0), sigma, bias)
        found = solve(map, torch.zeros_like(bias), type(splitting)(alpha), Tolerance(1e-3, 1e-3), 10_000)
        assert map.known is not None
        value, z = map.known
        torch.testing.assert_close(value, sigma(z @ W.T + bias), rtol=0, atol=1e-12)
        assert bool((found.residual < 1).all())


@pytest.mark.parametrize("splitting", SPLITTINGS, ids=lambda s: type(s).__name__)
def test_the_residual_is_that_of_the_point_returned(splitting):
    """Also where ‖W‖ is large: one more evaluation of σ(Wz + b) would multiply it."""
    W, sigma = example(spread=3.0), nonlinearity.get("relu")
    bias = torch.randn(4, 8, generator=torch.Generator().manual_seed(2), dtype=F64)
    tolerance = Tolerance(1e-6, 1e-6)
    found = solve(Inclusion(Factored(Dense(W), 1.0), sigma, bias), bias * 0, splitting, tolerance, 10_000_000)
    value = sigma(found.value @ W.T + bias)
    residual = torch.as_tensor(tolerance.residual(found.value, value - found.value))
    torch.testing.assert_close(residual, found.residual, rtol=1e-6, atol=1e-6)
    assert bool((found.residual < 1).all())


def test_with_sigma_in_place_of_its_prox_the_point_is_another_one():
    """The trap of others: σ itself at α ≠ 1 converges too, to what solves no equation of the model."""
    W, sigma = example(), nonlinearity.get("tanh")
    bias = torch.randn(3, 8, generator=torch.Generator().manual_seed(3), dtype=F64)
    V = torch.linalg.inv(1.5 * torch.eye(8, dtype=F64) - 0.5 * W)
    u = torch.zeros_like(bias)
    for _ in range(4000):
        s = sigma(u)
        h = (2 * s - u + 0.5 * bias) @ V.T
        u = u + 2 * (h - s)
    wrong = sigma(u)
    assert float((wrong - sigma(wrong @ W.T + bias)).abs().max()) > 1e-2
    found = solve(Inclusion(Factored(Dense(W), 1.0), sigma, bias), bias * 0, eq.PeacemanRachford(0.5), TOLERANCE, 4000)
    assert float((found.value - sigma(found.value @ W.T + bias)).abs().max()) < 1e-11


def test_the_adjoint_is_division_free():
    """Slopes of exactly zero and one, and all between: J/(J + α(1 − J)) is finite, and the solve right."""
    W = example()
    generator = torch.Generator().manual_seed(4)
    J = torch.rand(4, 8, generator=generator, dtype=F64)
    J[0], J[1] = 0.0, 1.0
    J[2] = (J[2] > 0.5).double()
    g = torch.randn(4, 8, generator=generator, dtype=F64)
    assert bool(Diagonal(J).prox(g, 0.3).isfinite().all())
    identity = torch.eye(8, dtype=F64)
    factored = Factored(Dense(W), 1.0)
    for kind, matrix in ((Cotangent, identity - W.T * J[:, None, :]), (Tangent, identity - J[:, :, None] * W)):
        expected = torch.linalg.solve(matrix, g[:, :, None])[:, :, 0]
        for splitting in SPLITTINGS:
            found = solve(kind(factored, Diagonal(J), g), g, splitting, TOLERANCE, 10_000)
            torch.testing.assert_close(found.value, expected, rtol=0, atol=1e-10)


def test_the_chosen_step_is_near_the_best():
    """1/√(mL) within [1/L, 1]: a third above the best at most for m = 1, twice for a small m (`tune` helps)."""
    sigma = nonlinearity.get("relu")
    for spread, m, worse in ((0.2, 1.0, 1.34), (0.5, 1.0, 1.34), (2.0, 1.0, 1.34), (0.5, 0.3, 2.0)):
        factored = Factored(Dense(example(20, m, spread=spread)), m)
        bias = torch.randn(16, 20, generator=torch.Generator().manual_seed(5), dtype=F64)

        def steps(solver, factored=factored, bias=bias):
            found = solve(Inclusion(factored, sigma, bias), bias * 0, solver, Tolerance(1e-8, 1e-8), 5000)
            return float(found.steps.double().mean())

        best = min(steps(eq.PeacemanRachford(2.0 ** (k / 2))) for k in range(-14, 3))
        assert steps(eq.PeacemanRachford()) < worse * best


def test_peaceman_rachford_does_not_mind_the_condition_as_forward_backward_does():
    sigma, bias = nonlinearity.get("relu"), torch.randn(4, 12, generator=torch.Generator().manual_seed(6), dtype=F64)
    ratio = []
    for spread in (0.1, 1.0):
        factored = Factored(Dense(example(12, spread=spread)), 1.0)
        counts = [
            int(solve(Inclusion(factored, sigma, bias), bias * 0, s, Tolerance(1e-8, 1e-8), 50_000).steps.max())
            for s in (eq.ForwardBackward(), eq.PeacemanRachford())
        ]
        ratio.append(counts[0] / counts[1])
    assert 3 < ratio[0] < ratio[1]


def test_a_splitting_refuses_a_bare_function():
    for splitting in SPLITTINGS:
        with pytest.raises(TypeError, match="MonotoneDEQ"):
            eq.fixed_point(torch.tanh, torch.zeros(2, 3), solver=splitting)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), "big", True])
def test_a_step_that_is_no_positive_number_is_refused(alpha):
    for kind in (eq.ForwardBackward, eq.PeacemanRachford, eq.DouglasRachford):
        with pytest.raises(eq.InputError, match="alpha"):
            kind(alpha)


def test_splittings_are_values():
    for splitting in (*SPLITTINGS, eq.PeacemanRachford(0.3)):
        assert pickle.loads(pickle.dumps(splitting)) == splitting == copy.deepcopy(splitting)
        with pytest.raises(AttributeError):
            splitting.alpha = 1.0  # frozen: the step cannot change during a solve
    with pytest.raises(TypeError):
        eq.PeacemanRachford(tolerance=1e-3)  # type: ignore[call-arg]


def test_the_memory_knows_weights_by_value():
    made = []

    def factor(W):
        made.append(W)
        return Factored(Dense(W), 1.0)

    memory, W = Memory(), example()
    first = memory.recall(factor, (W,))
    assert memory.recall(factor, (W.clone(),)) is first and len(made) == 1
    W.data[0, 0] += 1e-9  # no version counter sees this
    second = memory.recall(factor, (W,))
    assert second is not first and torch.equal(second.operator.matrix, W)
    assert memory.recall(factor, (W.float(),)) is not second
    assert copy.deepcopy(memory)._last is None
