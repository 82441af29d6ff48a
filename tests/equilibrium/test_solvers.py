"""What each solver promises beside finding equilibria."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.equilibrium.newton_krylov import gmres
from eqnets.equilibrium.secant import Secant, combine, dots


def slow_symmetric(n=40, batch=4, dtype=torch.float64, unit=1.0):
    """Ten modes at 0.98: Picard needs hundreds of steps."""
    g = torch.Generator().manual_seed(0)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))
    rates = 0.5 * torch.rand(n, generator=g, dtype=torch.float64)
    rates[:10] = 0.98
    W = (Q * rates) @ Q.T
    x = 0.1 * torch.randn(batch, n, generator=g, dtype=torch.float64)
    return lambda z: unit * torch.tanh(z / unit @ W.to(dtype) + x.to(dtype)), torch.zeros(batch, n, dtype=dtype)


def steps(solver, **kwargs):
    f, z0 = slow_symmetric(**kwargs)
    return int(eq.fixed_point(f, z0, solver=solver, max_steps=1000, on_failure="raise").steps.max())


def test_acceleration_pays_on_slow_modes():
    picard = steps(eq.Picard())
    for solver in (eq.Anderson(), eq.Broyden(), eq.Auto(), eq.Newton(), eq.NewtonKrylov()):
        assert 2 * steps(solver) < picard


@pytest.mark.parametrize("solver", [eq.Anderson(), eq.Broyden(), eq.Auto()])
def test_acceleration_does_not_depend_on_the_units_of_the_state(solver):
    f, z0 = slow_symmetric()
    usual = eq.fixed_point(f, z0, solver=solver, atol=1e-12)
    for unit in (2.0**-20, 2.0**20):
        f, z0 = slow_symmetric(unit=unit)
        sol = eq.fixed_point(f, z0, solver=solver, atol=1e-12 * unit)
        torch.testing.assert_close(sol.value / unit, usual.value, rtol=1e-9, atol=1e-10)
        assert (sol.steps - usual.steps).abs().max() <= 2


@pytest.mark.parametrize("solver", [eq.Anderson(), eq.Broyden(), eq.Anderson(memory=1), eq.Broyden(memory=1)])
def test_an_accelerated_contraction_is_not_slower_than_picard_by_more_than_a_restart(solver):
    g = torch.Generator().manual_seed(3)
    W = torch.randn(20, 20, generator=g, dtype=torch.float64)
    W = 0.8 * W / torch.linalg.matrix_norm(W, 2)
    x = torch.randn(8, 20, generator=g, dtype=torch.float64)
    z0 = torch.zeros_like(x)
    picard = eq.fixed_point(lambda z: torch.relu(z @ W + x), z0, solver=eq.Picard(), on_failure="raise")
    sol = eq.fixed_point(lambda z: torch.relu(z @ W + x), z0, solver=solver, on_failure="raise")
    assert (sol.steps <= 2 * picard.steps + 10).all()


@pytest.mark.parametrize("memory", [1, 2, 3, 7])
def test_broyden_with_a_full_memory_is_the_textbook_method_over_the_last_pairs(memory):
    """J is rebuilt from the last pairs, oldest first, by the good Broyden formula."""
    g = torch.Generator().manual_seed(1)
    W = torch.randn(6, 6, generator=g, dtype=torch.float64)
    W = 0.95 * W / torch.linalg.matrix_norm(W, 2)
    x = torch.randn(1, 6, generator=g, dtype=torch.float64)

    def f(z):
        return torch.tanh(z @ W + x)

    z, trace = torch.zeros_like(x), []
    for _ in range(12):
        trace.append((z[0], f(z)[0]))
        B = -torch.eye(6, dtype=torch.float64)
        for (za, fa), (zb, fb) in list(zip(trace, trace[1:], strict=False))[-memory:]:
            s, y = zb - za, (fb - zb) - (fa - za)
            B = B + torch.outer(y - B @ s, s) / (s @ s)
        z = z - torch.linalg.solve(B, (f(z) - z)[0])[None]
    visited = []

    def spy(z):
        visited.append(z[0].clone())
        return f(z)

    eq.fixed_point(spy, torch.zeros_like(x), solver=eq.Broyden(memory=memory, safeguard=1e9), max_steps=12,
                   rtol=1e-14, atol=1e-15, on_failure="ignore")  # fmt: skip
    for ours, (theirs, _) in zip(visited, trace, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_anderson_is_the_least_squares_mixing():
    g = torch.Generator().manual_seed(2)
    W = 0.5 * torch.randn(6, 6, generator=g, dtype=torch.float64) / 6**0.5
    x = torch.randn(1, 6, generator=g, dtype=torch.float64)

    def f(z):
        return torch.tanh(z @ W + x)

    z, F, R = torch.zeros_like(x), [], []
    visited = []
    for _ in range(7):
        F.append(f(z)[0])
        R.append((f(z) - z)[0])
        visited.append(z[0])
        dF = torch.stack([b - a for a, b in zip(F, F[1:], strict=False)][-3:], 1) if len(F) > 1 else x.new_zeros(6, 0)
        dR = torch.stack([b - a for a, b in zip(R, R[1:], strict=False)][-3:], 1) if len(R) > 1 else x.new_zeros(6, 0)
        gamma = torch.linalg.lstsq(dR, R[-1][:, None]).solution[:, 0] if len(F) > 1 else x.new_zeros(0)
        z = (F[-1] - dF @ gamma)[None]
    seen = []

    def spy(z):
        seen.append(z[0].clone())
        return f(z)

    how = {"rtol": 1e-14, "atol": 1e-15, "on_failure": "ignore"}
    eq.fixed_point(spy, torch.zeros_like(x), solver=eq.Anderson(memory=3, safeguard=1e9), max_steps=7, **how)
    torch.testing.assert_close(torch.stack(seen), torch.stack(visited), rtol=1e-5, atol=1e-7)


def test_newton_finds_what_iteration_cannot():
    z0 = torch.zeros(3, 2, dtype=torch.float64)
    x = torch.tensor([[1.0], [2.0], [-3.0]], dtype=torch.float64)

    def f(z, x):
        return -4 * z - 0.1 * z**3 + x

    assert not eq.fixed_point(f, z0, x, solver=eq.Picard(), on_failure="ignore").converged.any()
    for solver in (eq.Newton(), eq.NewtonKrylov(), eq.ScipyRoot(), eq.ScipyRoot("lm"), eq.Auto(), eq.Auto(dense=0)):
        sol = eq.fixed_point(f, z0, x, solver=solver, on_failure="raise")
        torch.testing.assert_close(5 * sol.value + 0.1 * sol.value**3, x.expand(3, 2), rtol=1e-7, atol=1e-8)


def test_newton_halves_a_step_that_overshoots():
    """atan: the full Newton step from 3 diverges."""
    z0 = torch.full((2, 1), 3.0, dtype=torch.float64)
    z0[1] = 0.1
    for solver in (eq.Newton(), eq.NewtonKrylov()):
        sol = eq.fixed_point(lambda z: z - torch.atan(z), z0, solver=solver, on_failure="raise")
        torch.testing.assert_close(sol.value, torch.zeros_like(z0), rtol=0, atol=1e-8)


def test_a_singular_jacobian_is_not_a_crash():
    z0 = torch.ones(2, 3, dtype=torch.float64)
    for solver in (eq.Newton(), eq.NewtonKrylov()):
        sol = eq.fixed_point(lambda z: z + 1, z0, solver=solver, max_steps=50, on_failure="ignore")
        assert not sol.converged.any() and sol.value.isfinite().all()


def test_gmres_solves_every_sample_to_its_own_tolerance():
    g = torch.Generator().manual_seed(0)
    A = torch.eye(30, dtype=torch.float64) + 0.3 * torch.randn(5, 30, 30, generator=g, dtype=torch.float64) / 30**0.5
    b = torch.randn(5, 30, generator=g, dtype=torch.float64)
    b[3] = 0.0
    tol = torch.tensor([1e-2, 1e-4, 1e-6, 1e-8, 1e-10], dtype=torch.float64)
    x = gmres(lambda v: torch.einsum("bij,bj->bi", A, v), b, tol, 20, 10)
    left = torch.linalg.vector_norm(b - torch.einsum("bij,bj->bi", A, x), dim=1)
    assert (left <= tol * torch.linalg.vector_norm(b, dim=1)).all() and not x[3].any()
    exact = gmres(lambda v: torch.einsum("bij,bj->bi", A, v), b, tol * 0 + 1e-13, 30, 2)
    torch.testing.assert_close(exact, torch.linalg.solve(A, b), rtol=1e-9, atol=1e-10)


def test_scipy_is_a_black_box_and_its_evaluations_are_counted():
    calls = []

    def f(z, x):
        calls.append(len(z))
        return torch.tanh(0.5 * z + x)

    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sol = eq.fixed_point(f, torch.zeros_like(x), x, in_dims=(0,), solver=eq.ScipyRoot(), on_failure="raise")
    assert set(calls[1:-1]) == {1} and sum(calls[1:-1]) + 2 * 3 >= int(sol.steps.sum()) > 9
    whole = eq.fixed_point(f, torch.zeros_like(x), x, solver=eq.ScipyRoot(), on_failure="raise")
    torch.testing.assert_close(whole.value, sol.value, rtol=1e-9, atol=1e-10)


def test_a_black_box_cannot_be_unrolled():
    x = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    for solver in (eq.ScipyRoot(), eq.Newton(), eq.NewtonKrylov()):
        with pytest.raises(eq.InputError, match="not differentiable"):
            eq.fixed_point(
                lambda z, x: 0.5 * z + x, torch.zeros(1, 2).double(), x, solver=solver, adjoint=eq.Unrolled()
            )


@pytest.mark.parametrize("n", [2, 79, 80, 81, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_with_a_memory_do_not_depend_on_its_size(n, dtype):
    """Few numbers are summed, many go to the BLAS: on both sides of the line it is the same product."""
    g = torch.Generator().manual_seed(5)
    start, vector = torch.randn(2, 3, n, generator=g, dtype=torch.float64)
    whole = torch.randn(3, 7, n, generator=g, dtype=torch.float64)
    weights = torch.randn(3, 5, generator=g, dtype=torch.float64)
    rows = whole.to(dtype)[:, :5]  # as a memory that is not full
    near = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    expected = torch.einsum("bmn,bn->bm", whole[:, :5], vector)
    torch.testing.assert_close(dots(rows, vector.to(dtype)).double(), expected, **near)
    expected = start - torch.einsum("bm,bmn->bn", weights, whole[:, :5])
    torch.testing.assert_close(combine(start.to(dtype), weights.to(dtype), rows).double(), expected, **near)


@pytest.mark.parametrize("solver", [eq.Anderson(), eq.Broyden()], ids=lambda s: type(s).__name__)
def test_a_memory_is_not_read_before_it_is_written(solver, monkeypatch):
    """What torch.empty returns may be anything; and a memory that was emptied is like a new one."""
    f, z0 = slow_symmetric()
    how = {"solver": solver, "max_steps": 60, "on_failure": "ignore"}
    usual = eq.fixed_point(f, z0, **how)
    start, forget, emptied = Secant.start, Secant.forget, []

    def poisoned(self, map, point):
        state = start(self, map, point)
        for name in ("left", "right", "small"):
            state[name].fill_(float("nan"))
        return state

    def counted(self, which, state):
        emptied.append(which)
        forget(self, which, state)

    monkeypatch.setattr(Secant, "start", poisoned)
    assert torch.equal(eq.fixed_point(f, z0, **how).value, usual.value)
    monkeypatch.setattr(Secant, "forget", counted)

    def jump(z):  # the residual grows once, far from the start
        return f(z) + 10.0 * (z.abs().amax(1, keepdim=True) > 0.3)

    how["max_steps"] = 12
    assert eq.fixed_point(jump, z0, **how).residual.isfinite().all() and emptied


@pytest.mark.parametrize(
    "solver",
    [eq.Picard(), eq.Anderson(), eq.Broyden(), eq.Anderson(safeguard=float("inf")), eq.Auto(), eq.NewtonKrylov()],
    ids=repr,
)
def test_overflow_is_a_status_and_not_a_warning_of_numpy(solver):
    z0 = torch.ones(3, 4)
    z0[1] = 0.0
    how = {"solver": solver, "rtol": 0.0, "atol": 1e-5, "on_failure": "ignore"}
    sol = eq.fixed_point(lambda z: 1e12 * z * (1 + z**2), z0, **how)
    assert sol.converged.tolist()[1] and (sol.value[1] == 0).all()
    if not isinstance(solver, (eq.Auto, eq.NewtonKrylov)):
        assert (sol.status[[0, 2]] >= eq.Status.MAX_STEPS).all()


@pytest.mark.parametrize("solver", [eq.Anderson(), eq.Broyden()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_after_a_step_back_the_next_difference_is_used_at_once(solver, dtype):
    f, z0 = slow_symmetric(batch=1, dtype=dtype)
    visited = []

    def disturbed(z):
        visited.append(z.clone())
        return f(z) + (10.0 if len(visited) == 5 else 0.0)

    eq.fixed_point(disturbed, z0, solver=solver, max_steps=9, on_failure="ignore")
    assert torch.equal(visited[5], f(visited[3]))  # taken back
    for last, now in zip(visited[5:], visited[6:], strict=False):
        assert (now - f(last)).norm() > 0.1 * (now - last).norm()  # and faster than Picard from then on
