"""The theorems of equilibria: they hold for every solver, every adjoint that promises them, and every kind of state."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import eqnets as eq

SOLVERS = {
    "auto": eq.Auto(),
    "picard": eq.Picard(),
    "damped": eq.Picard(damping=0.7),
    "anderson": eq.Anderson(),
    "broyden": eq.Broyden(),
    "newton": eq.Newton(),
    "newton-krylov": eq.NewtonKrylov(),
    "scipy": eq.ScipyRoot(),
}
TIGHT = {"rtol": 1e-12, "atol": 1e-13, "max_steps": 2000, "on_failure": "raise"}
# torch's own decompositions for forward mode are written in TorchScript
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def draw(seed=0):
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(3, 3, generator=g, dtype=torch.float64)
    W = 0.6 * W / torch.linalg.matrix_norm(W, 2)
    U = torch.randn(2, 3, generator=g, dtype=torch.float64)
    x = torch.randn(2, 2, generator=g, dtype=torch.float64)
    return x, W, U


def tensor_state(x, W, U, depth=None, **how):
    def f(z, x, W, U):
        return torch.tanh(z @ W + x @ U)

    z0 = torch.zeros(2, 3, dtype=torch.float64)
    return iterate(f, z0, depth, x, W, U) if depth else eq.fixed_point(f, z0, x, W, U, **how).value


def pytree_state(x, W, U, depth=None, **how):
    def f(z, x, weights):
        a, b = z["a"], z["b"][0]
        fine = torch.tanh(a @ weights["W"] + 0.2 * b.flatten(1)[:, :1] + x @ weights["U"])
        return {"a": fine, "b": (0.5 * torch.sin(b + fine[:, :2].reshape(-1, 2, 1)),)}

    z0 = {"a": torch.zeros(2, 3, dtype=torch.float64), "b": (torch.zeros(2, 2, 2, dtype=torch.float64),)}
    args = (x, {"W": W, "U": U})
    out = iterate(f, z0, depth, *args) if depth else eq.fixed_point(f, z0, *args, **how).value
    return torch.cat([out["a"].flatten(1), out["b"][0].flatten(1)], 1)


def single_state(x, W, U, depth=None, **how):
    def f(z, x, W, U):
        return torch.tanh(W.T @ z + U.T @ x)

    z0 = torch.zeros(3, dtype=torch.float64)
    args = (x[0], W, U)
    return iterate(f, z0, depth, *args) if depth else eq.fixed_point(f, z0, *args, batch_dims=0, **how).value


def captured_state(x, W, U, depth=None, **how):
    """Everything captured: a leaf, and results of earlier operations."""
    injected = x @ U

    def f(z):
        return torch.tanh(z @ W + injected)

    z0 = torch.zeros(2, 3, dtype=torch.float64)
    return iterate(f, z0, depth) if depth else eq.fixed_point(f, z0, **how).value


def dropping_state(x, W, U, depth=None, **how):
    how = how if depth else {"in_dims": (0, None, None), **how}

    def f(z, x, W, U):
        return torch.tanh(z @ W + x @ U)

    x = x * torch.tensor([[1e-3], [1.0]], dtype=torch.float64)
    z0 = torch.zeros(2, 3, dtype=torch.float64)
    return iterate(f, z0, depth, x, W, U) if depth else eq.fixed_point(f, z0, x, W, U, **how).value


STATES = {
    "tensor": tensor_state,
    "pytree": pytree_state,
    "single": single_state,
    "captured": captured_state,
    "dropping": dropping_state,
}
EXPLICIT = {name: state for name, state in STATES.items() if name != "captured"}


def iterate(f, z, depth, *args):
    for _ in range(depth):
        z = f(z, *args)
    return z


def leaves(seed=0):
    return [t.clone().requires_grad_() for t in draw(seed)]


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_every_solver_finds_the_equilibrium_and_its_first_derivative(solver, state):
    args = leaves()
    expected = state(*args, depth=200)
    found = state(*args, solver=solver, **TIGHT)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)
    cotangent = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = torch.autograd.grad(found, args, cotangent)
    truth = torch.autograd.grad(expected, args, cotangent)
    torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-10)


@forward_mode
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_gradcheck_and_gradgradcheck(solver, state):
    args = leaves()
    adjoint = eq.Implicit(solver=eq.Picard() if isinstance(solver, eq.ScipyRoot) else solver)
    how = {"solver": solver, "adjoint": adjoint, **TIGHT}
    assert gradcheck(lambda *a: state(*a, **how), args, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(lambda *a: state(*a, **how), args, fast_mode=True)


@forward_mode
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_gradcheck_entry_by_entry(state):
    args = leaves(1)
    assert gradcheck(lambda *a: state(*a, **TIGHT), args, check_forward_ad=True)
    assert gradgradcheck(lambda *a: state(*a, **TIGHT), args, check_fwd_over_rev=True)


@pytest.mark.parametrize("state", [tensor_state, dropping_state], ids=["tensor", "dropping"])
@pytest.mark.parametrize(
    "solver", [eq.Picard(), eq.Anderson(), eq.Broyden(), eq.Auto()], ids=lambda s: type(s).__name__
)
def test_unrolled_derivatives_are_those_of_the_algorithm(solver, state):
    args = leaves()
    how = {"solver": solver, "adjoint": eq.Unrolled(), **TIGHT}
    assert gradcheck(lambda *a: state(*a, **how), args)
    ours = torch.autograd.grad(state(*args, **how).square().sum(), args)
    exact = torch.autograd.grad(state(*args, **TIGHT).square().sum(), args)
    torch.testing.assert_close(ours, exact, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_third_derivatives(state):
    args = leaves()

    def third(**how):
        value = state(*args, **how).square().sum()
        for _ in range(3):
            grads = torch.autograd.grad(value, args, create_graph=True)
            value = sum(g.sin().sum() for g in grads)
        return torch.autograd.grad(value, args)

    torch.testing.assert_close(third(**TIGHT), third(depth=100), rtol=1e-8, atol=1e-9)


@forward_mode
@pytest.mark.parametrize("state", EXPLICIT.values(), ids=EXPLICIT)
def test_torch_func_transforms_of_an_unrolled_loop(state):
    args = draw()

    def ours(*a):
        return state(*a, **TIGHT)

    def truth(*a):
        return state(*a, depth=100)

    def close(a, b):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)

    which = (0, 1, 2)
    close(
        grad(lambda *a: ours(*a).square().sum(), which)(*args), grad(lambda *a: truth(*a).square().sum(), which)(*args)
    )
    close(jacrev(ours, which)(*args), jacrev(truth, which)(*args))
    close(jacfwd(ours, which)(*args), jacrev(truth, which)(*args))
    tangents = draw(3)
    close(jvp(ours, args, tangents), jvp(truth, args, tangents))
    close(
        hessian(lambda *a: ours(*a).square().sum(), which)(*args),
        hessian(lambda *a: truth(*a).square().sum(), which)(*args),
    )

    def twice(f):
        return jacrev(lambda *a: jacrev(lambda *b: f(*b).square().sum(), 1)(*a), 1)

    close(twice(ours)(*args), twice(truth)(*args))

    def curvature(f, order):  # forward over forward, of which torch's Functions silently lose the outer part
        for _ in range(order):
            f = lambda *a, f=f: jvp(f, a, tangents)[1]  # noqa: E731
        return f(*args)

    close(curvature(ours, 2), curvature(truth, 2))
    close(curvature(ours, 3), curvature(truth, 3))
    close(jacfwd(jacfwd(lambda *a: ours(*a).square().sum(), 0), 0)(*args),
          hessian(lambda *a: truth(*a).square().sum(), 0)(*args))  # fmt: skip


@pytest.mark.parametrize("state", EXPLICIT.values(), ids=EXPLICIT)
def test_vmap_over_inputs_and_over_parameters(state):
    many = [torch.stack(parts) for parts in zip(*(draw(seed) for seed in range(4)), strict=True)]
    x, W, U = draw()

    def ours(*a):
        return state(*a, **TIGHT)

    def truth(*a):
        return state(*a, depth=100)

    def close(a, b):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)

    close(vmap(ours, (0, None, None))(many[0], W, U), vmap(truth, (0, None, None))(many[0], W, U))
    close(vmap(ours, (None, 0, None))(x, many[1], U), vmap(truth, (None, 0, None))(x, many[1], U))
    loss = grad(lambda *a: ours(*a).square().sum(), (0, 1, 2))
    loss_truth = grad(lambda *a: truth(*a).square().sum(), (0, 1, 2))
    close(vmap(loss)(*many), vmap(loss_truth)(*many))
    close(vmap(vmap(ours, (0, None, None)), (None, 0, None))(many[0], many[1], U),
          vmap(vmap(truth, (0, None, None)), (None, 0, None))(many[0], many[1], U))  # fmt: skip
    close(
        vmap(jacfwd(ours, 1), (0, 0, None))(many[0], many[1], U),
        vmap(jacrev(truth, 1), (0, 0, None))(many[0], many[1], U),
    )


@pytest.mark.parametrize(
    "solver", [s for n, s in SOLVERS.items() if n != "scipy"], ids=[n for n in SOLVERS if n != "scipy"]
)
def test_a_sample_does_not_depend_on_its_neighbours(solver):
    g = torch.Generator().manual_seed(0)
    W = 0.9 * torch.randn(8, 8, generator=g, dtype=torch.float64) / 8**0.5
    x = torch.randn(6, 8, generator=g, dtype=torch.float64) * torch.tensor([1e-3, 0.1, 1, 3, 10, 0.5])[:, None].double()

    def solve(x, in_dims):
        return eq.fixed_point(
            lambda z, x: torch.tanh(z @ W + x),
            torch.zeros_like(x),
            x,
            solver=solver,
            in_dims=in_dims,
            on_failure="ignore",
        )

    together = solve(x, None)
    for in_dims in (None, (0,)):
        alone = [solve(row[None], in_dims) for row in x]
        for i, one in enumerate(alone):
            torch.testing.assert_close(one.value[0], together.value[i], rtol=1e-9, atol=1e-11)
            assert one.status[0] == together.status[i]
            assert abs(int(one.steps[0]) - int(together.steps[i])) <= 1  # rounding may decide one step
    dropped = solve(x, (0,))
    torch.testing.assert_close(dropped.value, together.value, rtol=1e-9, atol=1e-11)
