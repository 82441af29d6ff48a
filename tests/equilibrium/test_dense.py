"""The solve in one call of C gives what the loop gives: steps, values, residuals, failures, gradients."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.equilibrium import dense
from eqnets.equilibrium.dense import resolvent, settle
from eqnets.equilibrium.factored import Factored
from eqnets.equilibrium.inclusion import Cotangent, Diagonal, Inclusion, Tangent
from eqnets.equilibrium.loop import solve
from eqnets.equilibrium.problem import How
from eqnets.equilibrium.tolerance import Tolerance
from eqnets.system import nonlinearity
from eqnets.system.operator import Dense

TOLERANCE = {torch.float32: Tolerance(1e-3, 1e-4), torch.float64: Tolerance(1e-10, 1e-11)}
SPLITTINGS = [eq.PeacemanRachford(), eq.PeacemanRachford(0.3), eq.DouglasRachford()]
EQUATIONS = ["relu", "leaky_relu(0.3)", "identity", "adjoint"]

compiled = pytest.mark.skipif(dense.library(True)[0] is None, reason=dense.library(True)[1])


def example(equation: str, n: int, batch: int, dtype: torch.dtype) -> tuple[Inclusion, torch.Tensor]:
    """An inclusion with I − W ≽ I, and a start that is not zero."""
    generator = torch.Generator().manual_seed(n)
    draw = {"generator": generator, "dtype": dtype}
    A, B, J = torch.randn(n, n, **draw) / n**0.5, torch.randn(n, n, **draw), torch.rand(batch, n, **draw)
    factored, bias = Factored(Dense(B - B.T - A.T @ A), 1.0), torch.randn(batch, n, **draw)
    J[:, ::2] = (J[:, ::2] > 0.5).to(dtype)  # slopes of exactly zero and one, too
    if equation == "adjoint":
        return Cotangent(factored, Diagonal(J), bias), bias
    return Inclusion(factored, nonlinearity.get(equation), bias), torch.randn(batch, n, **draw)


def how(solver: eq.PeacemanRachford, dtype: torch.dtype, max_steps: int = 3000) -> How:
    return How(solver, TOLERANCE[dtype], max_steps, "raise", 1)


@compiled
@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("splitting", SPLITTINGS, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_it_finds_what_the_loop_finds(dtype, splitting, equation):
    """At sizes below, at and above a vector and a tile, with fewer and more samples than are carried at once."""
    for n, batch in ((1, 1), (7, 3), (16, 8), (33, 37), (87, 5)):
        map, start = example(equation, n, batch, dtype)
        for z0 in (torch.zeros_like(start), start):
            with torch.no_grad():
                found = settle(map, z0, how(splitting, dtype))
                expected = solve(map, z0, splitting, TOLERANCE[dtype], 3000)
            assert found is not None and not expected.status.any() and not found.status.any()
            assert int((found.steps - expected.steps).abs().max()) <= 1  # rounding decides where a residual is nearly 1
            same = found.steps == expected.steps
            close = {"rtol": 0.0, "atol": 2e-5 if dtype == torch.float32 else 1e-12}
            torch.testing.assert_close(found.value[same], expected.value[same], **close)
            assert int(same.sum()) > 0 and bool((found.residual < 1).all())


@compiled
@pytest.mark.parametrize("equation", EQUATIONS)
def test_a_sample_knows_nothing_of_its_neighbours(equation):
    """Bitwise: alone, and in whatever company and order. (From zero: elsewhere torch's product rounds by the batch.)"""
    map, start = example(equation, 19, 40, torch.float64)
    start = torch.zeros_like(start)
    with torch.no_grad():
        whole = settle(map, start, how(eq.PeacemanRachford(), torch.float64))
        assert whole is not None
        for rows in ([7], [39, 3, 20], list(range(39, -1, -1))):
            index = torch.tensor(rows)
            part = settle(map.take(index), start[index], how(eq.PeacemanRachford(), torch.float64))
            assert part is not None
            assert all(torch.equal(a, b[index]) for a, b in zip(part, whole, strict=True))


@compiled
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_the_resolvent_is_the_inverse(dtype):
    """Also where a row has to be swapped, where W lies transposed, and not where there is none."""
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 7, 16, 33, 87):
        for alpha in (0.05, 1.0, 20.0):
            W = torch.randn(n, n, generator=generator, dtype=dtype)
            W[0, 0] = (1 + alpha) / alpha  # the first pivot is zero
            for matrix in (W, W.T):
                inverse = (1 + alpha) * torch.eye(n).double() - alpha * matrix.double()
                with torch.no_grad():
                    V = resolvent(matrix, alpha)
                if n == 1:  # it is singular, but for rounding
                    continue
                assert V is not None
                error = torch.linalg.matrix_norm(V.double() @ inverse - torch.eye(n).double(), 2)
                assert float(error) < 20 * n * torch.finfo(dtype).eps * float(torch.linalg.cond(inverse))
    with torch.no_grad():
        assert resolvent(2 * torch.eye(3, dtype=dtype), 1.0) is None
        assert resolvent(torch.full((3, 3), torch.nan, dtype=dtype), 1.0) is None
    assert resolvent(torch.eye(3, dtype=dtype), 1.0) is None  # gradients are recorded


@compiled
@pytest.mark.parametrize("equation", ["relu", "adjoint"])
def test_threads_share_the_samples(equation, monkeypatch):
    """Bitwise the same with one thread and with several, whatever share each has; a failure of one is seen."""
    map, start = example(equation, 7, 45, torch.float64)
    start, asked = torch.zeros_like(start), how(eq.PeacemanRachford(), torch.float64)
    with torch.no_grad():
        expected = settle(map, start, asked)
        monkeypatch.setattr(dense, "SHARE", 400)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
        found = settle(map, start, asked)
        assert found is not None and expected is not None
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        map.bias[44, 3] = torch.nan
        assert settle(map, start, asked) is None


@compiled
def test_rows_may_lie_in_memory_as_they_like():
    map, start = example("relu", 19, 6, torch.float64)
    other = Inclusion(map.factored, map.sigma, map.bias.T.contiguous().T)
    one = Inclusion(map.factored, map.sigma, map.bias[:1].expand(6, 19))
    with torch.no_grad():
        asked = how(eq.PeacemanRachford(), torch.float64)
        first, second = settle(map, start, asked), settle(other, start.T.contiguous().T, asked)
        zero = torch.zeros(1, 19).double()
        third, alone = settle(one, zero.expand(6, 19), asked), settle(map.take(torch.tensor([0])), zero, asked)
    assert first is not None and second is not None and third is not None and alone is not None
    assert torch.equal(first.value, second.value)
    assert torch.equal(third.value, alone.value.expand(6, 19))


def test_where_it_is_not_open_it_answers_nothing():
    """A graph, another σ, the tangent, a large W, half precision, too few steps, a sample that is not finite."""
    map, start = example("relu", 8, 4, torch.float64)
    asked, none = how(eq.PeacemanRachford(), torch.float64), torch.no_grad()
    assert settle(map, start, asked) is None
    with none:
        assert settle(map, start, how(eq.ForwardBackward(), torch.float64)) is None
        assert settle(map, start, how(eq.PeacemanRachford(), torch.float64, max_steps=2)) is None
        assert settle(Inclusion(map.factored, nonlinearity.get("tanh"), map.bias), start, asked) is None
        assert settle(Tangent(map.factored, Diagonal(torch.rand_like(start)), map.bias), start, asked) is None
        assert settle(example("relu", 300, 1, torch.float64)[0], torch.zeros(1, 300).double(), asked) is None
        assert settle(Inclusion(map.factored, map.sigma, map.bias * float("nan")), start, asked) is None
        assert settle(Inclusion(map.factored, map.sigma, map.bias.half()), start.half(), asked) is None


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_model_is_the_same_with_and_without_it(activation, monkeypatch):
    """Values, steps, gradients of first and second order, and the sample that fails."""

    def run() -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(3)
        made = {"generator": generator, "dtype": torch.float64}
        deq = eq.MonotoneDEQ(4, 9, activation=activation, rtol=1e-12, atol=1e-12, on_failure="ignore", **made)
        x = torch.randn(5, 4, **made).requires_grad_()
        solution = deq.solve(x)
        loss = solution.value.square().sum()
        first = torch.autograd.grad(loss, [x, *deq.parameters()], create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), deq.U)
        plain = torch.autograd.grad(deq(x).square().sum(), [x, *deq.parameters()])
        bad = deq.solve(torch.cat([x.detach()[:2], torch.full((1, 4), torch.nan).double()]))
        assert bad.status.tolist() == [eq.Status.CONVERGED, eq.Status.CONVERGED, eq.Status.NONFINITE]
        return solution.value, *first, *second, *plain, bad.value[:2]

    fast = run()
    monkeypatch.setattr(dense, "library", lambda double: (None, "as on a machine without a compiler"))
    for a, b in zip(fast, run(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
