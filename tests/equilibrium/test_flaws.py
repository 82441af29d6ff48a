"""What other libraries of equilibrium layers get silently wrong, each as the thing it should have protected.

Derivatives of second order, every state kind and every adjoint solver stand in tests/laws; eval mode, autocast, modules
used twice and captured parameters in test_adjoint.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

import eqnets as eq
from eqnets.equilibrium import Solver


def contraction(n=30, batch=4, norm=0.9, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    W = torch.randn(n, n, generator=g, dtype=torch.float64)
    W = (W + W.T) / torch.linalg.matrix_norm(W + W.T, 2) * norm
    x = torch.randn(batch, n, generator=g, dtype=torch.float64)
    return W.to(dtype), x.to(dtype)


def cell(z, x, W):
    return torch.tanh(z @ W + x)


@pytest.mark.parametrize("exponent", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("solver", [eq.Broyden(memory=3), eq.Broyden(), eq.Anderson(memory=2), eq.Auto()])
def test_no_solver_stops_above_the_tolerance_it_was_asked_for(solver, exponent):
    """Broyden elsewhere: asked 1e-3, stopped at 2.6e-3 after 30 steps, said nothing."""
    W, x = contraction(norm=0.99)
    rtol = 10.0**-exponent
    sol = eq.fixed_point(
        cell, torch.zeros_like(x), x, W, solver=solver, rtol=rtol, atol=rtol, max_steps=2000, on_failure="raise"
    )
    z = sol.value
    before = (cell(z, x, W) - z) / (rtol + rtol * z.abs())
    assert (before.square().mean(1).sqrt() < 1).all()


def test_more_than_thirty_steps_are_made_when_they_are_needed():
    W, x = contraction(norm=0.995)
    sol = eq.fixed_point(cell, torch.zeros_like(x), x, W, solver=eq.Broyden(memory=2), on_failure="raise")
    assert sol.steps.max() > 30


@pytest.mark.parametrize("max_steps", [1, 2, 3])
@pytest.mark.parametrize("solver", [eq.Anderson(), eq.Broyden(), eq.Picard(), eq.Auto()])
def test_few_steps_do_not_return_the_start(solver, max_steps):
    W, x = contraction()
    z0 = torch.zeros_like(x)
    sol = eq.fixed_point(cell, z0, x, W, solver=solver, max_steps=max_steps, on_failure="ignore")
    assert (sol.value != z0).any() and (sol.steps == max_steps).all()
    start = torch.linalg.vector_norm(cell(z0, x, W) - z0)
    assert torch.linalg.vector_norm(cell(sol.value, x, W) - sol.value) < start


def test_anderson_is_not_slower_than_iteration_at_tight_tolerances():
    """An absolute ridge takes 61 steps where plain iteration takes 22."""
    W, x = contraction(norm=0.4)
    for scale in (1e-3, 1.0):
        how = {"rtol": 1e-12, "atol": 1e-13 * scale, "on_failure": "raise"}
        f = lambda z, x, W, s=scale: s * cell(z / s, x, W)  # noqa: E731
        anderson = eq.fixed_point(f, torch.zeros_like(x), x, W, solver=eq.Anderson(), **how)
        picard = eq.fixed_point(f, torch.zeros_like(x), x, W, solver=eq.Picard(), **how)
        assert (anderson.steps < picard.steps).all()


def test_the_default_gradient_is_exact_and_an_inexact_one_is_named():
    W, x = contraction(norm=0.6)
    W.requires_grad_()
    z = torch.zeros_like(x)
    for _ in range(200):
        z = cell(z, x, W)
    truth = torch.autograd.grad(z.sum(), W)[0]
    sol = eq.fixed_point(cell, torch.zeros_like(x), x, W)
    torch.testing.assert_close(torch.autograd.grad(sol.value.sum(), W)[0], truth, rtol=1e-7, atol=1e-8)
    sol = eq.fixed_point(cell, torch.zeros_like(x), x, W, adjoint=eq.JacobianFree())
    error = (torch.autograd.grad(sol.value.sum(), W)[0] - truth).norm() / truth.norm()
    assert error > 0.1 and not sol.adjoint.exact


def test_a_failed_linear_solve_is_not_a_silent_zero_gradient():
    W, x = contraction()
    x.requires_grad_()
    adjoint = eq.Implicit(solver=eq.Picard(), max_steps=1)
    sol = eq.fixed_point(cell, torch.zeros_like(x), x, W, adjoint=adjoint)
    with pytest.warns(eq.NotConvergedWarning, match="adjoint"):
        sol.value.sum().backward()
    assert x.grad.any() and not sol.adjoint.converged.any()


EVERY = [
    eq.Picard(), eq.Picard(0.5), eq.Anderson(), eq.Broyden(), eq.Newton(), eq.NewtonKrylov(), eq.ScipyRoot(), eq.Auto(),
]  # fmt: skip


@pytest.mark.parametrize("solver", EVERY, ids=lambda solver: type(solver).__name__)
def test_every_advertised_solver_can_solve_the_adjoint_equation(solver):
    W, x = contraction(n=6)
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    sol = eq.fixed_point(cell, torch.zeros_like(x), leaf, W, adjoint=eq.Implicit(solver=solver), on_failure="raise")
    sol.value.square().sum().backward()
    z = torch.zeros_like(x)
    for _ in range(400):
        z = cell(z, other, W)
    z.square().sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-7, atol=1e-8)


def test_options_belong_to_one_solver_and_are_never_changed():
    one, other = eq.Anderson(memory=3), eq.Anderson()
    assert (one.memory, other.memory) == (3, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.memory = 9
    W, x = contraction()
    eq.fixed_point(cell, torch.zeros_like(x), x, W, solver=one)
    assert one == eq.Anderson(memory=3)
    with pytest.raises(TypeError):
        eq.fixed_point(cell, torch.zeros_like(x), x, W, f_max_iter=9)


def test_inputs_and_the_start_are_not_written_to():
    W, x = contraction()
    z0 = 0.1 * torch.ones_like(x)
    kept = [t.clone() for t in (z0, x, W)]
    for solver in (eq.Picard(), eq.Anderson(), eq.Broyden(), eq.Newton(), eq.NewtonKrylov(), eq.ScipyRoot(), eq.Auto()):
        eq.fixed_point(lambda z, x, W: z.lerp(cell(z, x, W), 0.5), z0, x, W, solver=solver)
        eq.fixed_point(lambda z, x, W: z, z0, x, W, solver=solver)
        for t, before in zip((z0, x, W), kept, strict=True):
            assert torch.equal(t, before)


def test_the_batch_is_what_batch_dims_says():
    """A vector of five numbers is five samples of one number, or one sample of five: never a guess."""
    z0 = torch.zeros(5, dtype=torch.float64)
    x = torch.linspace(0, 1, 5, dtype=torch.float64)
    many = eq.fixed_point(lambda z, x: 0.5 * torch.cos(z) + x, z0, x)
    one = eq.fixed_point(lambda z, x: 0.5 * torch.cos(z) + x, z0, x, batch_dims=0)
    assert many.status.shape == (5,) and one.status.shape == ()
    torch.testing.assert_close(many.value, one.value, rtol=1e-8, atol=1e-10)


def test_a_mixing_function_is_solved_as_one_sample():
    """A graph or attention over the nodes: they are one sample."""
    A = 0.8 * torch.eye(4, dtype=torch.float64).roll(1, 0)
    x = torch.arange(4, dtype=torch.float64)[:, None].requires_grad_()
    sol = eq.fixed_point(lambda z, x: A @ z + x, torch.zeros(4, 1, dtype=torch.float64), x, batch_dims=0)
    expected = torch.linalg.inv(torch.eye(4, dtype=torch.float64) - A)
    torch.testing.assert_close(sol.value, (expected @ x), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(
        torch.autograd.grad(sol.value.sum(), x)[0], expected.sum(0)[:, None], rtol=1e-7, atol=1e-8
    )


def test_a_sample_that_is_done_does_not_change_any_more():
    """Elsewhere the whole batch goes on until the last is done."""
    W, x = contraction(batch=2)
    x[0] *= 50  # saturated: fast
    both = eq.fixed_point(cell, torch.zeros_like(x), x, W, solver=eq.Picard())
    alone = eq.fixed_point(cell, torch.zeros_like(x[:1]), x[:1], W, solver=eq.Picard())
    assert both.steps[0] == alone.steps[0] < both.steps[1]
    torch.testing.assert_close(both.value[:1], alone.value, rtol=1e-14, atol=0)


def test_every_public_solver_is_a_solver():
    for kind in (eq.Auto, eq.Picard, eq.Anderson, eq.Broyden, eq.Newton, eq.NewtonKrylov, eq.ScipyRoot):
        assert issubclass(kind, Solver) and kind.__doc__
