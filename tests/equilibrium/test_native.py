"""The C steps are torch's operations, to rounding, wherever they run; and where they cannot run, torch does."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

import eqnets as eq
from eqnets.equilibrium import native
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solver import Point
from eqnets.equilibrium.tolerance import Tolerance

F32, F64 = torch.float32, torch.float64
CLOSE = {F32: 2e-4, F64: 1e-11}
SECANT = [
    eq.Anderson(), eq.Anderson(damping=0.3), eq.Anderson(ridge=1e-3, memory=2), eq.Anderson(memory=20),
    eq.Broyden(), eq.Broyden(memory=1), eq.Broyden(memory=4), eq.Broyden(memory=20),
]  # fmt: skip
needs_c = pytest.mark.skipif(native.library(True)[0] is None, reason="no C compiler on this machine")


def in_torch(monkeypatch):
    monkeypatch.setattr(native, "steps", lambda z, fz: None)


@needs_c
@torch.no_grad()
@pytest.mark.parametrize("n", [1, 33, 64])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("solver", SECANT, ids=str)
def test_a_step_is_that_of_torch(solver, dtype, n):
    """Over a memory that fills and goes round, samples that step back, one that is not finite, and a smaller batch."""
    if n == 1:  # one number has one secant: with more of them the solution of the small system is rounding error
        solver = dataclasses.replace(solver, memory=1)
    g = torch.Generator().manual_seed(n)
    draw = [torch.randn(2, 6, n, generator=g, dtype=dtype) for _ in range(26)]
    map = Map(lambda z: z, [], [])
    mine, reference = None, None
    for k, (z, r) in enumerate(draw):
        residual = np.where(np.arange(6) == k % 11, 9.0, 1.0) * 0.99**k  # whose step is taken back
        fz = z + 0.5**k * r
        if k == 5:
            fz[2], residual[2] = torch.nan, np.nan
        library = native.steps(z, fz)
        assert library is not None
        ours, theirs = Point(z, fz, residual, steps=library), Point(z, fz, residual)
        if mine is None or reference is None:
            mine, reference = solver.start(map, ours), solver.start(map, theirs)
        before = copy.deepcopy((z, fz))
        a, b = solver.step(map, ours, mine), solver.step(map, theirs, reference)
        assert torch.equal(z, before[0]) and torch.equal(fz.nan_to_num(7.0), before[1].nan_to_num(7.0))
        size = b.abs().nan_to_num().max()
        torch.testing.assert_close(a, b, rtol=0, atol=float(CLOSE[dtype] * size), equal_nan=True)
    assert torch.isfinite(a[2]).all()


@needs_c
@torch.no_grad()
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize(("rtol", "atol"), [(0.0, 1e-3), (1e-2, 1e-3), (1e-2, 0.0)])
def test_the_residual_is_that_of_torch(dtype, rtol, atol):
    g = torch.Generator().manual_seed(0)
    z, r = torch.randn(2, 9, 37, generator=g, dtype=dtype)
    fz = z + 10.0 ** torch.arange(-6.0, 3.0)[:, None].to(dtype) * r
    fz[3, 4], fz[4, 0], fz[5], z[5] = torch.inf, torch.nan, 0.0, 0.0
    tolerance = Tolerance(rtol, atol)
    found = tolerance.judge(z, fz)
    assert found.steps is not None and found.residual.dtype == z.numpy().dtype
    expected = tolerance.residual(fz, fz - z)
    np.testing.assert_allclose(found.residual, expected, rtol=1e-5 if dtype == F32 else 1e-13)
    assert not np.isfinite(found.residual[[3, 4]]).any()


def contraction(dtype, n=12, batch=40):
    """Samples of every speed, so that some end long before the others."""
    g = torch.Generator().manual_seed(1)
    W = torch.randn(n, n, generator=g, dtype=F64)
    W = W / torch.linalg.matrix_norm(W, 2)
    gain = torch.linspace(0.05, 0.97, batch, dtype=F64)[:, None]
    x = torch.randn(batch, n, generator=g, dtype=F64)
    parts = [part.to(dtype) for part in (gain, x, W)]
    return lambda z, gain, x, W: torch.tanh(gain * (z @ W) + x), torch.zeros(batch, n, dtype=dtype), parts


@needs_c
@pytest.mark.parametrize("in_dims", [None, (0, 0, None)], ids=["whole", "compacted"])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("solver", [eq.Auto(), eq.Picard(0.8), eq.Anderson(damping=0.9), eq.Broyden()], ids=str)
def test_a_solve_is_that_of_torch(solver, dtype, in_dims, monkeypatch):
    f, z0, parts = contraction(dtype)

    def run():
        arguments = [part.clone().requires_grad_() for part in parts]
        sol = eq.fixed_point(f, z0, *arguments, in_dims=in_dims, solver=solver, on_failure="raise", max_steps=2000)
        return sol, torch.autograd.grad(sol.value.sum(), arguments)

    mine, gradients = run()
    in_torch(monkeypatch)
    reference, expected = run()
    assert (mine.steps - reference.steps).abs().max() <= 1
    unit = 1e-3 if dtype == F32 else 1e-7  # a residual of the tolerance, over 1 − 0.97
    torch.testing.assert_close(mine.value, reference.value, rtol=unit, atol=unit)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=100 * unit, atol=100 * unit)


@needs_c
@pytest.mark.parametrize("solver", [eq.Picard(), eq.Anderson(), eq.Broyden()], ids=str)
def test_an_image_may_lie_in_memory_as_it_likes(solver):
    f, z0, parts = contraction(F64)
    usual = eq.fixed_point(f, z0, *parts, solver=solver).value
    for odd in (lambda t: t.T.contiguous().T, lambda t: torch.complex(t, -t).conj().imag):
        assert not odd(z0).is_contiguous() or odd(z0).is_neg()
        sol = eq.fixed_point(lambda *given, odd=odd: odd(f(*given)), z0, *parts, solver=solver)
        torch.testing.assert_close(sol.value, usual, rtol=1e-12, atol=1e-12)
    constant = parts[1][:1]
    sol = eq.fixed_point(lambda z: constant.expand_as(z), z0, solver=solver)
    assert torch.equal(sol.value, constant.expand_as(z0))


def test_what_is_left_to_torch(monkeypatch):
    z = torch.ones(3, 2)
    with torch.no_grad():
        for other in (z.bfloat16(), z.to("meta"), torch.ones(3, 0), torch.complex(z, z).conj().imag):
            assert native.steps(other, other) is None
        assert native.steps(z, z.double()) is None and native.steps(z, z.to("meta")) is None
        monkeypatch.setattr(native, "LARGE", 6)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        assert native.steps(z, z) is None
    monkeypatch.undo()
    assert native.steps(z, z) is None  # gradients are recorded


def test_without_a_compiler_torch_does_it(monkeypatch):
    f, z0, parts = contraction(F64)
    usual = eq.fixed_point(f, z0, *parts, solver=eq.Anderson()).value
    monkeypatch.setattr(native, "library", lambda double: (None, "no C compiler"))
    point = Tolerance(1e-9, 1e-11).judge(z0, z0 + 1)
    assert point.steps is None
    sol = eq.fixed_point(f, z0, *parts, solver=eq.Anderson(), on_failure="raise")
    torch.testing.assert_close(sol.value, usual, rtol=1e-7, atol=1e-7)


def test_a_default_device_elsewhere_does_not_reach_the_c_steps():
    """What C writes to is made where the state is, whatever torch.set_default_device says."""
    z0, gain = torch.zeros(2, 3), 0.5
    with torch.device("meta"):
        for solver in (eq.Picard(), eq.Anderson(), eq.Broyden(), eq.Auto()):
            found = eq.fixed_point(lambda z: gain * torch.sin(z) + 1, z0, solver=solver)
            assert found.value.device.type == found.status.device.type == "cpu"
            assert found.converged.tolist() == [True, True]
