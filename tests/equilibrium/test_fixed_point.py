"""The verb: what it refuses, what it reports, what it costs."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import Counter

import pytest
import torch

import eqnets as eq
from eqnets.equilibrium import Solver
from eqnets.equilibrium.solver import Point


def cell(z, x):
    return torch.tanh(0.5 * z + x)


def problem(batch=4, n=3, dtype=torch.float64, seed=0):
    x = torch.randn(batch, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.zeros_like(x), x


class Splitting(Solver):
    needs_inclusion = True


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda z, x: eq.fixed_point(lambda z, x: torch.cat([z, z]), z, x), "f returned"),
        (lambda z, x: eq.fixed_point(lambda z, x: z.float(), z, x), "float32"),
        (lambda z, x: eq.fixed_point(lambda z, x: (z, z), z, x), r"a tensor, but returned \(a tensor, a tensor\)"),
        (lambda z, x: eq.fixed_point(lambda z, x: None, z, x), "structure of z0, a tensor, but returned NoneType"),
        (lambda z, x: eq.fixed_point(lambda z, x: z.mul_(0.5).add_(x), z, x), "f changes z in place"),
        (lambda z, x: eq.fixed_point(lambda z: {"a": z["a"].relu_() + 1}, {"a": z}), "f changes z in place"),
        (lambda z, x: eq.fixed_point(lambda z, x: x.add_(z), z, x), "f changes a tensor among its arguments"),
        (lambda z, x: eq.fixed_point(cell, z.to("meta"), x), "meta device"),
        (lambda z, x: eq.fixed_point(cell, z[:0], x[:0]), "empty batch"),
        (lambda z, x: eq.fixed_point(lambda z, x: z @ x.mT @ x, z.float(), x), r"float32.*float64.*agree"),
        (lambda z, x: eq.fixed_point(lambda z, x: torch.cos(z) / 2 + x[:, :1], z[:3], x), r"\(3, .*agree"),
        (lambda z, x: eq.fixed_point(torch.nn.Linear(99, 99).double(), z), r"99.*agree"),
        (lambda z, x: eq.fixed_point(cell, z.long(), x), "floating point"),
        (lambda z, x: eq.fixed_point(cell, z.to(torch.complex128), x), "floating point"),
        (lambda z, x: eq.fixed_point(cell, {"a": z, "b": z[:2]}, x), "different batches"),
        (lambda z, x: eq.fixed_point(cell, "z", x), "tensor or a pytree"),
        (lambda z, x: eq.fixed_point(cell, (), x), "tensor or a pytree"),
        (lambda z, x: eq.fixed_point(cell, torch.tensor(1.0), x), "no batch dimension"),
        (lambda z, x: eq.fixed_point(cell, z, x, batch_dims=2), "batch_dims"),
        (lambda z, x: eq.fixed_point(cell, z, x, on_failure="shout"), "on_failure"),
        (lambda z, x: eq.fixed_point(cell, z, x, max_steps=0), "max_steps"),
        (lambda z, x: eq.fixed_point(cell, z, x, rtol=-1.0), "rtol"),
        (lambda z, x: eq.fixed_point(cell, z, x, atol=True), "atol"),
        (lambda z, x: eq.fixed_point(cell, z.float(), x.float(), rtol=1e-9), "10 eps"),
        (lambda z, x: eq.fixed_point(cell, z, x, solver="anderson"), "solver must be"),
        (lambda z, x: eq.fixed_point(cell, z, x, solver=eq.Anderson), "solver must be"),
        (lambda z, x: eq.fixed_point(cell, z, x, adjoint="implicit"), "adjoint must be"),
        (lambda z, x: eq.fixed_point(3, z, x), "callable"),
        (lambda z, x: eq.fixed_point(cell, z, x, in_dims=(0, 0)), "in_dims"),
        (lambda z, x: eq.fixed_point(cell, z, x, in_dims=0), "in_dims"),
        (lambda z, x: eq.fixed_point(cell, z, x, in_dims=(1,)), "is the batch"),
        (lambda z, x: eq.fixed_point(cell, z, x, in_dims=(5,)), "in_dims"),
        (lambda z, x: eq.fixed_point(cell, z[0], x[0], in_dims=(0,), batch_dims=0), "batch_dims=0"),
    ],
)
def test_bad_input_is_one_sentence_before_the_solve(call, words):
    with pytest.raises(eq.InputError, match=words):
        call(*problem())


def test_an_error_of_f_itself_passes_as_it_is():
    def f(z):
        raise RuntimeError("the sensor is off")

    with pytest.raises(RuntimeError, match="^the sensor is off$"):
        eq.fixed_point(f, torch.zeros(2, 3))


def test_a_splitting_solver_needs_a_model_that_is_an_inclusion():
    z0, x = problem()
    with pytest.raises(TypeError, match="MonotoneDEQ"):
        eq.fixed_point(cell, z0, x, solver=Splitting())
    with pytest.raises(TypeError, match="MonotoneDEQ"):  # before the solve, not in its backward
        eq.fixed_point(cell, z0, x, adjoint=eq.Implicit(solver=eq.PeacemanRachford()))


def test_a_start_that_two_samples_share_is_not_a_change_in_place():
    z0, x = problem()
    found = eq.fixed_point(cell, z0[:1].expand_as(z0), x)
    torch.testing.assert_close(found.value, cell(found.value, x), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "make",
    [
        lambda: eq.Picard(damping=0.0), lambda: eq.Picard(damping=1.5), lambda: eq.Anderson(memory=0),
        lambda: eq.Anderson(memory=2.5), lambda: eq.Anderson(ridge=-1.0), lambda: eq.Anderson(safeguard=0.5),
        lambda: eq.Broyden(memory=-1), lambda: eq.Newton(halvings=-1), lambda: eq.NewtonKrylov(krylov=0),
        lambda: eq.ScipyRoot(method="magic"), lambda: eq.Auto(memory=True), lambda: eq.Implicit(solver="gmres"),
        lambda: eq.Implicit(max_steps=0), lambda: eq.Phantom(steps=0), lambda: eq.Phantom(damping=2.0),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(make):
    with pytest.raises(eq.InputError):
        make()


@pytest.mark.parametrize("kind", [eq.Picard, eq.Anderson, eq.Broyden, eq.Newton, eq.NewtonKrylov, eq.ScipyRoot, eq.Auto,
                                  eq.Implicit, eq.Unrolled, eq.Phantom, eq.JacobianFree])  # fmt: skip
def test_unknown_options_are_errors_and_options_are_plain_data(kind):
    with pytest.raises(TypeError):
        kind(f_maxiter=3)
    one = kind()
    assert pickle.loads(pickle.dumps(one)) == one == copy.deepcopy(one)
    assert hash(one) == hash(kind())
    with pytest.raises(AttributeError):
        one.tol = 3


def test_the_statistics_are_per_sample():
    z0, x = problem()
    sol = eq.fixed_point(cell, z0, x)
    for t in (sol.status, sol.converged, sol.residual, sol.steps):
        assert t.shape == (4,) and not t.requires_grad
    assert sol.converged.all() and (sol.residual < 1).all()
    one = eq.fixed_point(cell, z0[0], x[0], batch_dims=0)
    for t in (one.status, one.converged, one.residual, one.steps):
        assert t.shape == ()
    torch.testing.assert_close(one.value, sol.value[0], rtol=1e-8, atol=1e-10)
    assert sol.adjoint.name == "Implicit" and sol.adjoint.exact and sol.adjoint.status is None
    assert len(pickle.dumps(sol)) > 0


@pytest.mark.parametrize("rtol", [1e-3, 0.0])
def test_the_residual_is_the_stated_one(rtol):
    z0, x = problem()
    sol = eq.fixed_point(cell, z0, x, solver=eq.Picard(), max_steps=3, rtol=rtol, atol=1e-4, on_failure="ignore")
    z = cell(cell(z0, x), x)
    fz = cell(z, x)
    expected = ((fz - z) / (1e-4 + rtol * fz.abs())).square().mean(1).sqrt()
    torch.testing.assert_close(sol.residual, expected)
    torch.testing.assert_close(sol.value, fz)
    assert (sol.steps == 3).all()


def test_the_residual_does_not_depend_on_the_dimension():
    z0, x = problem(batch=1)
    few = eq.fixed_point(cell, z0, x, solver=eq.Picard())
    many = eq.fixed_point(cell, z0.repeat(1, 50), x.repeat(1, 50), solver=eq.Picard())
    assert few.steps == many.steps
    torch.testing.assert_close(few.residual, many.residual, rtol=1e-3, atol=1e-6)


def test_nan_in_one_sample_is_the_status_of_that_sample_alone():
    z0, x = problem()
    x[2, 1] = torch.nan
    clean = [0, 1, 3]
    for solver in (eq.Auto(), eq.Picard(), eq.Anderson(), eq.Broyden(), eq.Newton(), eq.NewtonKrylov()):
        with pytest.warns(eq.NotConvergedWarning, match=r"1 of 4 samples \(2\)"):
            sol = eq.fixed_point(cell, z0, x, solver=solver)
        assert sol.status.tolist() == [0, 0, int(eq.Status.NONFINITE), 0]
        assert sol.value.isfinite().all()
        torch.testing.assert_close(sol.value[clean], cell(sol.value, x)[clean], rtol=1e-8, atol=1e-9)


def test_divergence_stalling_and_running_out_are_told_apart():
    scale = torch.tensor([[0.5], [3.0], [-1.0], [0.999]], dtype=torch.float64)
    z0 = torch.ones(4, 2, dtype=torch.float64)
    sol = eq.fixed_point(lambda z, s: s * z + 1, z0, scale, solver=eq.Picard(), max_steps=100, on_failure="ignore")
    assert [eq.Status(s).name for s in sol.status.tolist()] == ["CONVERGED", "DIVERGED", "STALLED", "MAX_STEPS"]
    for status in eq.Status:
        assert status.sentence.endswith(".")


def test_the_policy_warns_raises_or_ignores_and_carries_the_status():
    z0, x = problem()

    def solve(**how):
        return eq.fixed_point(lambda z, x: -z + x, z0, x, solver=eq.Picard(), **how)

    with pytest.warns(eq.NotConvergedWarning, match="largest residual") as caught:
        solve()
    assert (caught[0].message.status == int(eq.Status.STALLED)).all()
    with pytest.raises(eq.NotConverged, match="NewtonKrylov") as raised:
        solve(on_failure="raise")
    assert raised.value.status.shape == (4,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not solve(on_failure="ignore").converged.any()


def test_the_best_finite_iterate_is_kept_when_later_ones_overflow():
    """z ← z² + 1 has no real fixed point: the iterates overflow, and the best of them is finite."""
    z0 = torch.zeros(2, 1)
    sol = eq.fixed_point(lambda z: z * z + 1, z0, solver=eq.Picard(), on_failure="ignore")
    assert sol.value.isfinite().all() and sol.residual.isfinite().all() and not sol.converged.any()


@pytest.mark.parametrize("solver", [eq.Auto(), eq.Picard(), eq.Anderson(), eq.Broyden()])
def test_finished_samples_cost_nothing_where_in_dims_is_given(solver):
    """63 of 64 samples are done after one step: they are evaluated once or twice, not until the last is done."""
    x = torch.full((64, 2), 1e-7, dtype=torch.float64)
    x[7] = 2.0
    count = Counter()

    def f(z, x):
        count["samples"] += len(z)
        count["calls"] += 1
        return torch.sin(0.9 * z) + x

    sol = eq.fixed_point(f, torch.zeros_like(x), x, in_dims=(0,), solver=solver, rtol=1e-6, atol=1e-6)
    assert sol.converged.all() and sol.steps[7] > 5
    assert count["samples"] <= 64 * 2 + 2 * int(sol.steps[7])
    assert count["samples"] <= int(sol.steps.sum()) + 64


def test_the_backward_solve_drops_finished_samples_too():
    x = torch.full((64, 2), 1e-7, dtype=torch.float64)
    x[7] = 0.7
    scale = torch.zeros(64, 1, dtype=torch.float64)
    scale[7] = 0.9
    x.requires_grad_()
    sizes = []

    def f(z, x, scale):
        sizes.append(len(z))
        return scale * torch.sin(z) + x

    sol = eq.fixed_point(f, torch.zeros(64, 2, dtype=torch.float64), x, scale, in_dims=(0, 0))
    forward = len(sizes)
    sol.value.sum().backward()
    assert sizes[forward:] == [1]  # one evaluation, of the one sample that was left
    assert sol.adjoint.steps[7] > 5 and (sol.adjoint.steps[:7] <= 2).all()
    torch.testing.assert_close(x.grad[7], 1 / (1 - 0.9 * torch.cos(sol.value[7])).detach(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("solver", [eq.Auto(), eq.Picard(), eq.Anderson(), eq.Broyden()])
def test_f_is_evaluated_once_a_step_and_once_for_the_graph(solver):
    z0, x = problem()
    x.requires_grad_()
    count = Counter()

    def f(z, x):
        count["calls"] += 1
        return torch.tanh(0.3 * z + x)

    sol = eq.fixed_point(f, z0, x, solver=solver)
    assert count["calls"] == int(sol.steps.max()) + 1
    sol.value.sum().backward()
    assert count["calls"] == int(sol.steps.max()) + 1
    count.clear()
    with torch.no_grad():
        sol = eq.fixed_point(f, z0, x, solver=solver)
    assert count["calls"] == int(sol.steps.max())


def test_states_of_different_dtypes_keep_them():
    z0 = {"a": torch.zeros(2, 3, dtype=torch.float64), "b": torch.zeros(2, dtype=torch.float32)}
    x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)

    def f(z, x):
        return {"a": 0.5 * torch.cos(z["a"]) + x, "b": 0.1 * z["a"].sum(1).float() + 0.1 * z["b"]}

    sol = eq.fixed_point(f, z0, x)
    assert sol.value["a"].dtype == torch.float64 and sol.value["b"].dtype == torch.float32
    sol.value["b"].sum().backward()
    assert x.grad.isfinite().all() and (x.grad != 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_states_are_iterated_in_float32(dtype):
    z0, x = problem(dtype=dtype)
    seen = []

    class Spy(eq.Picard):
        def step(self, map, point: Point, state):
            seen.append(point.z.dtype)
            return super().step(map, point, state)

    sol = eq.fixed_point(lambda z, x: torch.tanh(0.3 * z + x), z0, x, solver=Spy())
    assert sol.value.dtype == dtype and sol.converged.all() and set(seen) <= {torch.float32}


def test_a_state_without_numbers_is_an_equilibrium():
    assert eq.fixed_point(lambda z: z, torch.zeros(3, 0)).converged.all()


@pytest.mark.parametrize("easy", [2, 3], ids=["two left", "one left, which broadcasts"])
@pytest.mark.parametrize(
    "solver", [eq.Picard(), eq.Anderson(), eq.Broyden(), eq.Auto()], ids=lambda s: type(s).__name__
)
def test_a_batch_that_f_closes_over_cannot_be_dropped_from(solver, easy):
    _, c = problem()
    gain = torch.full((4, 1), 0.01, dtype=torch.float64)
    gain[easy:] = 0.98

    def f(z, gain):
        return gain * torch.sin(z) + c

    with pytest.raises(eq.InputError, match="in_dims asks .* f closes over"):
        eq.fixed_point(f, torch.zeros_like(c), gain, in_dims=(0,), solver=solver, max_steps=3000)
    assert eq.fixed_point(f, torch.zeros_like(c), gain, solver=solver, max_steps=3000).converged.all()


def test_an_f_that_returns_another_batch_later_is_refused():
    z0, _ = problem()
    calls = []

    def f(z):
        calls.append(z)
        return torch.tanh(z) + 1 if len(calls) == 1 else z[:1]

    with pytest.raises(eq.InputError, match="between evaluations"):
        eq.fixed_point(f, z0, solver=eq.Picard())
