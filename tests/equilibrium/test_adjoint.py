"""The backward pass: which derivative it is, what it reports, and every place where others lose it."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint

import eqnets as eq

TIGHT = {"rtol": 1e-12, "atol": 1e-13, "max_steps": 1000}


class Cell(nn.Module):
    def __init__(self, n=4, seed=0, dtype=torch.float64):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        W = torch.randn(n, n, generator=g, dtype=torch.float64)
        self.W = nn.Parameter((0.6 * W / torch.linalg.matrix_norm(W, 2)).to(dtype))
        self.b = nn.Parameter((0.1 * torch.randn(n, generator=g, dtype=torch.float64)).to(dtype))
        self.register_buffer("gain", torch.ones((), dtype=dtype))

    def forward(self, z, x):
        return torch.tanh(self.gain * z @ self.W + x + self.b)


def inputs(batch=3, n=4, dtype=torch.float64):
    return torch.randn(batch, n, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)


def unrolled(cell, x, depth=100):
    z = torch.zeros_like(x)
    for _ in range(depth):
        z = cell(z, x)
    return z


def grads(value, *tensors, **kwargs):
    return torch.autograd.grad(value.square().sum(), tensors, **kwargs)


def close(a, b, rtol=1e-8, atol=1e-10):
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def test_inexact_adjoints_say_so_and_leave_the_value_alone():
    cell, x = Cell(), inputs()
    exact = eq.fixed_point(cell, torch.zeros_like(x), x, **TIGHT)
    truth = grads(exact.value, cell.W, cell.b)
    errors = []
    for adjoint in (eq.JacobianFree(), eq.Phantom(steps=5), eq.Phantom(steps=60), eq.Phantom(steps=60, damping=0.7)):
        sol = eq.fixed_point(cell, torch.zeros_like(x), x, adjoint=adjoint, **TIGHT)
        assert torch.equal(sol.value, exact.value)
        assert sol.adjoint.name == type(adjoint).__name__ and not sol.adjoint.exact
        ours = grads(sol.value, cell.W, cell.b)
        errors.append(max(float((a - b).norm() / b.norm()) for a, b in zip(ours, truth, strict=True)))
    assert errors[0] > 0.05 and errors[0] > errors[1] > 1e-6 and errors[2] < 1e-9 and errors[3] < 1e-5
    one = cell(exact.value.detach(), x)
    sol = eq.fixed_point(cell, torch.zeros_like(x), x, adjoint=eq.JacobianFree(), **TIGHT)
    close(torch.autograd.grad(sol.value.sum(), cell.W), torch.autograd.grad(one.sum(), cell.W))


def test_inexact_adjoints_work_under_torch_func():
    cell, x = Cell(), inputs()
    W = cell.W.detach()

    def f(z, x, W):
        return torch.tanh(z @ W + x)

    for adjoint in (eq.JacobianFree(), eq.Phantom(steps=3)):

        def loss(W, x, adjoint=adjoint):
            value = eq.fixed_point(f, torch.zeros_like(x), x, W, adjoint=adjoint, **TIGHT).value
            return value.square().sum()

        leaf = W.clone().requires_grad_()
        close(grad(loss)(W, x), torch.autograd.grad(loss(leaf, x), leaf)[0])
        close(vmap(grad(loss), (0, None))(torch.stack([W, W / 2]), x)[0], grad(loss)(W, x))
    with pytest.raises(eq.InputError, match="Unrolled"):
        grad(lambda W: eq.fixed_point(f, torch.zeros_like(x), x, W, adjoint=eq.Unrolled()).value.sum())(W)


def test_the_backward_solve_is_reported_after_backward():
    cell, x = Cell(), inputs()
    sol = eq.fixed_point(cell, torch.zeros_like(x), x)
    assert sol.adjoint.steps is None and sol.adjoint.converged is None and sol.adjoint.solves == 0
    sol.value.square().sum().backward()
    assert sol.adjoint.steps.shape == (3,) and sol.adjoint.converged.all() and (sol.adjoint.residual < 1).all()
    assert sol.adjoint.solves == 1


def test_a_failed_backward_solve_obeys_the_policy():
    cell, x = Cell(), inputs()
    short = eq.Implicit(solver=eq.Picard(), max_steps=2)
    with pytest.warns(eq.NotConvergedWarning, match="adjoint equation"):
        sol = eq.fixed_point(cell, torch.zeros_like(x), x, adjoint=short)
        sol.value.sum().backward()
    assert not sol.adjoint.converged.any()
    sol = eq.fixed_point(cell, torch.zeros_like(x), x, adjoint=short, on_failure="raise")
    with pytest.raises(eq.NotConverged, match="adjoint equation") as raised:
        sol.value.sum().backward()
    assert raised.value.status.shape == (3,)
    model = DEQ(cell, adjoint=short, on_failure="raise")
    with pytest.raises(eq.NotConverged, match="adjoint equation"):
        grad(lambda p: functional_call(model, p, x).sum())(dict(model.named_parameters()))


def test_the_gradient_does_not_depend_on_the_scale_of_the_loss():
    """A tolerance relative to a fixed number would call a tiny cotangent solved before the first step."""
    cell, x = Cell(dtype=torch.float32), inputs(dtype=torch.float32)
    z = eq.fixed_point(cell, torch.zeros_like(x), x).value
    usual = torch.autograd.grad(z.sum(), cell.W, retain_graph=True)[0]
    for scale in (1e-12, 1e12):
        scaled = torch.autograd.grad(scale * z.sum(), cell.W, retain_graph=True)[0]
        close(scaled / scale, usual, rtol=1e-4, atol=1e-6)


class DEQ(nn.Module):
    """The shortest implicit layer: no state of its own."""

    def __init__(self, cell, **how):
        super().__init__()
        self.cell, self.how = cell, how

    def forward(self, x):
        return eq.fixed_point(self.cell, torch.zeros_like(x), x, **self.how).value


def test_a_module_has_its_parameters_lifted_under_torch_func():
    model, x = DEQ(Cell(), **TIGHT), inputs()
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def loss(p, x):
        return functional_call(model, p, (x,)).square().sum()

    ours = grad(loss)(parameters, x)
    truth = torch.autograd.grad(unrolled(model.cell, x).square().sum(), list(model.parameters()))
    close(list(ours.values()), list(truth))
    per_sample = vmap(grad(loss), (None, 0))(parameters, x[:, None])
    close(per_sample["cell.W"].sum(0), truth[0])
    models = [DEQ(Cell(seed=s), **TIGHT) for s in range(3)]
    stacked, buffers = stack_module_state(models)
    out = vmap(lambda p, b: functional_call(models[0], (p, b), (x,)))(stacked, buffers)
    close(out, torch.stack([unrolled(m.cell, x) for m in models]))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own decompositions for forward mode
def test_a_captured_tensor_under_torch_func_is_an_error_that_names_args():
    x, W = inputs(), Cell().W.detach()
    z0 = torch.zeros_like(x)
    calls = [
        lambda: grad(lambda W: eq.fixed_point(lambda z: torch.tanh(z @ W + x), z0).value.sum())(W),
        lambda: jacrev(lambda x: eq.fixed_point(lambda z: torch.tanh(z @ W + x), z0).value.sum())(x),
        lambda: torch.func.jvp(lambda W: eq.fixed_point(lambda z: torch.tanh(z @ W + x), z0).value, (W,), (W,)),
        lambda: vmap(lambda x: eq.fixed_point(lambda z: torch.tanh(z @ W + x), z0[0], batch_dims=0).value)(x),
        lambda: grad(
            lambda W: vmap(lambda x: eq.fixed_point(lambda z: torch.tanh(z @ W), x, batch_dims=0).value)(x).sum()
        )(W),
        lambda: vmap(lambda x: eq.fixed_point(lambda z, x: torch.tanh(z @ P + x), x, x, batch_dims=0).value)(x),
    ]
    P = W.clone().requires_grad_()
    for call in calls:
        with pytest.raises(eq.InputError, match=r"\*args"):
            call()
    with torch.no_grad():
        assert calls[-1]().shape == x.shape


def test_captured_results_get_their_own_gradient_at_every_order():
    x, W = inputs().requires_grad_(), Cell().W
    hidden = (x * 2).sin()
    shared = W * 1.0

    def loss(value):
        return sum(
            g.square().sum() for g in torch.autograd.grad(value.square().sum(), (hidden, shared), create_graph=True)
        )

    z0 = torch.zeros_like(x)
    ours = loss(eq.fixed_point(lambda z, W: torch.tanh(z @ W + hidden), z0, shared, **TIGHT).value)
    captured = loss(eq.fixed_point(lambda z: torch.tanh(z @ shared + hidden), z0, **TIGHT).value)
    truth = loss(unrolled(lambda z, h: torch.tanh(z @ shared + h), hidden))
    close(ours, truth)
    close(captured, truth)
    expected = torch.autograd.grad(truth, (x, W), retain_graph=True)
    close(torch.autograd.grad(ours, (x, W), retain_graph=True), expected)
    close(torch.autograd.grad(captured, (x, W)), expected)


def test_weights_shared_between_the_cell_and_what_feeds_it_are_counted_once():
    W, x = Cell().W, inputs()

    def truth_of(solve):
        value = solve(x @ W).square().sum()
        (first,) = torch.autograd.grad(value, W, create_graph=True)
        return first, torch.autograd.grad(first.square().sum(), W)[0]

    expected = truth_of(lambda h: unrolled(lambda z, h: torch.tanh(z @ W + h), h))
    z0 = torch.zeros_like(x)
    for solve in (
        lambda h: eq.fixed_point(lambda z, h: torch.tanh(z @ W + h), z0, h, **TIGHT).value,
        lambda h: eq.fixed_point(lambda z: torch.tanh(z @ W + h), z0, **TIGHT).value,
        lambda h: eq.fixed_point(lambda z, h, W: torch.tanh(z @ W + h), z0, h, W, **TIGHT).value,
    ):
        close(truth_of(solve), expected)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_on_a_parameter_runs_once(create_graph):
    cell, x = Cell(), inputs()
    expected = grads(eq.fixed_point(cell, torch.zeros_like(x), x).value, cell.W)[0]
    calls = []
    handle = cell.W.register_hook(lambda g: calls.append(1) or 2 * g)
    doubled = grads(eq.fixed_point(cell, torch.zeros_like(x), x).value, cell.W, create_graph=create_graph)[0]
    close(doubled, 2 * expected)
    assert len(calls) == 1
    handle.remove()
    close(grads(eq.fixed_point(cell, torch.zeros_like(x), x).value, cell.W)[0], expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own decompositions for forward mode
def test_complex_and_integer_arguments():
    x, shift = inputs(), torch.tensor([2, 0, 1])
    phase = torch.tensor([0.3 + 0.4j], dtype=torch.complex128)

    def f(z, x, phase, shift):
        return (
            torch.tanh(0.5 * z[:, [1, 0, 2, 3]] + x[:, shift[0] :].sum(1, keepdim=True)) * phase.abs()
            + (phase * z).real
        )

    def ours(x, phase):
        return eq.fixed_point(f, torch.zeros_like(x), x, phase, shift, **TIGHT).value.square().sum()

    def truth(x, phase):
        return unrolled(lambda z, x: f(z, x, phase, shift), x).square().sum()

    leaves = x.clone().requires_grad_(), phase.clone().requires_grad_()
    expected = torch.autograd.grad(truth(*leaves), leaves, create_graph=True)
    first = torch.autograd.grad(ours(*leaves), leaves, create_graph=True)
    close(first, expected)
    close(grad(ours, (0, 1))(x, phase), expected)
    second, expected = (
        torch.autograd.grad(sum(g.abs().square().sum() for g in gs), leaves) for gs in (first, expected)
    )
    close(second, expected)


class Squash(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(y := torch.tanh(a + b))
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y), g * (1 - y * y)


def test_a_tensor_that_only_a_custom_function_sees_is_not_lost():
    x, W = inputs().requires_grad_(), Cell().W
    hidden = x * 2
    z = eq.fixed_point(lambda z: Squash.apply(z @ W, hidden), torch.zeros_like(x), **TIGHT).value
    truth = unrolled(lambda z, h: torch.tanh(z @ W + 2 * h), x)
    close(grads(z, x, W), grads(truth, x, W))


def test_gradients_in_eval_mode_and_of_the_input_alone():
    """Forces: −∂E/∂x at evaluation, with the parameters frozen."""
    model, x = DEQ(Cell(), **TIGHT).eval().requires_grad_(False), inputs().requires_grad_()
    close(grads(model(x), x), grads(unrolled(model.cell, x), x))


def test_a_start_with_a_graph_gets_a_zero_gradient_and_not_none():
    cell, x = Cell(), inputs()
    guess = nn.Linear(4, 4, dtype=torch.float64)
    eq.fixed_point(cell, guess(x), x).value.sum().backward()
    assert guess.weight.grad is not None and not guess.weight.grad.any()
    z0 = torch.zeros_like(x, requires_grad=True)
    eq.fixed_point(lambda z: 0.5 * torch.cos(z), z0).value.sum().backward()
    assert z0.grad is not None and not z0.grad.any()
    assert not grad(lambda z0: eq.fixed_point(lambda z: 0.5 * torch.cos(z), z0).value.sum())(z0.detach()).any()


def test_a_module_used_twice_before_backward():
    model, x = DEQ(Cell(), **TIGHT), inputs().requires_grad_()
    twice = model(model(x))
    truth = unrolled(model.cell, unrolled(model.cell, x))
    tensors = (x, model.cell.W, model.cell.b)
    close(grads(twice, *tensors), grads(truth, *tensors))


def test_retain_graph_gives_the_same_gradient_twice_and_without_it_torch_complains():
    model, x = DEQ(Cell(), **TIGHT), inputs()
    loss = model(x).square().sum()
    first = torch.autograd.grad(loss, model.cell.W, retain_graph=True)[0]
    second = torch.autograd.grad(loss, model.cell.W)[0]
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, model.cell.W)


def test_an_equilibrium_inside_an_equilibrium():
    inner, outer, x = Cell(seed=1), Cell(seed=2), inputs().requires_grad_()

    def f(z, x):
        return outer(z, 0.5 * eq.fixed_point(inner, torch.zeros_like(z), 0.5 * z + x, **TIGHT).value)

    def g(z, x):
        return outer(z, 0.5 * unrolled(inner, 0.5 * z + x, 60))

    tensors = (x, inner.W, outer.W)
    ours, truth = eq.fixed_point(f, torch.zeros_like(x), x, **TIGHT).value, unrolled(g, x, 60)
    first, expected = (grads(v, *tensors, create_graph=True) for v in (ours, truth))
    close(first, expected)
    second, expected = (torch.autograd.grad(sum(g.square().sum() for g in gs), tensors) for gs in (first, expected))
    close(second, expected, rtol=1e-7, atol=1e-8)


def test_memory_does_not_grow_with_the_steps():
    cell, x = Cell(), inputs()

    def saved(adjoint, steps):
        total = 0

        def pack(t):
            nonlocal total
            total += t.numel() * t.element_size()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            sol = eq.fixed_point(cell, torch.zeros_like(x), x, solver=eq.Picard(damping=0.05), adjoint=adjoint,
                                 max_steps=steps, on_failure="ignore")  # fmt: skip
        assert (sol.steps == steps).all()
        return total

    assert saved(eq.Implicit(), 10) == saved(eq.Implicit(), 100)
    assert saved(eq.Unrolled(), 100) > 5 * saved(eq.Unrolled(), 10)


def test_checkpointing_and_offloading_keep_the_gradient():
    model, x = DEQ(Cell(), **TIGHT), inputs().requires_grad_()
    tensors = (x, model.cell.W)
    expected = grads(model(x), *tensors)
    close(grads(checkpoint(model, x, use_reentrant=False), *tensors), expected)
    with torch.autograd.graph.save_on_cpu():
        value = model(x)
    close(grads(value, *tensors), expected)
    first = grads(checkpoint(model, x, use_reentrant=False), *tensors, create_graph=True)
    truth = grads(unrolled(model.cell, x), *tensors, create_graph=True)
    close(torch.autograd.grad(first[0].sum(), tensors), torch.autograd.grad(truth[0].sum(), tensors))


def test_no_graph_is_kept_where_none_is_asked_for():
    model, x = DEQ(Cell()), inputs()
    with torch.no_grad():
        assert not model(x).requires_grad
    with torch.inference_mode():
        assert not model(x).requires_grad
    assert not DEQ(Cell().requires_grad_(False))(x).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_entered_again_in_the_backward_pass(dtype):
    cell, x = Cell(n=16, dtype=torch.float32), inputs(n=16, dtype=torch.float32).requires_grad_()
    z0 = torch.zeros_like(x)
    exact = eq.fixed_point(cell, z0, x)
    with torch.autocast("cpu", dtype):
        sol = eq.fixed_point(cell, z0, x)
        twice = eq.fixed_point(cell, z0, sol.value, in_dims=(0,))
    assert sol.value.dtype == torch.float32 and sol.converged.all() and sol.value.isfinite().all()
    close(sol.value, exact.value, rtol=0.1, atol=0.1)
    ours, truth = grads(sol.value, x, cell.W, retain_graph=True), grads(exact.value, x, cell.W)
    for a, b in zip(ours, truth, strict=True):
        assert a.dtype == torch.float32 and (a - b).norm() < 0.1 * b.norm()
    assert all(g.isfinite().all() for g in grads(twice.value, x, cell.W, create_graph=True))
    with torch.autocast("cpu", dtype), pytest.raises(eq.InputError, match="10 eps"):
        eq.fixed_point(cell, z0, x, rtol=1e-4, atol=1e-4)


def test_under_autocast_no_parameter_loses_its_gradient():
    """Autocast caches the casts of parameters: a cast made without a graph must not be found by the step with one."""
    layer = torch.nn.Linear(16, 16)
    cell, x = Cell(n=16, dtype=torch.float32), inputs(n=16, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            layer(x)
        if not layer(x.detach()).requires_grad:
            pytest.skip(f"torch {torch.__version__} keeps such a cast itself, in its own layers too")
        with torch.no_grad():
            eq.fixed_point(cell, torch.zeros_like(x), x)
        z = eq.fixed_point(cell, torch.zeros_like(x), x).value
    z.sum().backward()
    assert cell.W.grad is not None and cell.W.grad.any()


def test_a_model_with_equilibria_is_copied_and_pickled_after_use():
    model, x = DEQ(Cell(), solver=eq.Anderson(memory=3)), inputs()
    model(x).sum().backward()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))


def test_changing_a_weight_between_forward_and_backward_is_noticed():
    model, x = DEQ(Cell()), inputs()
    value = model(x)
    with torch.no_grad():
        model.cell.W.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.sum().backward()


def test_a_function_that_ignores_the_state_or_the_inputs():
    x = inputs().requires_grad_()
    z0 = torch.zeros_like(x)
    close(torch.autograd.grad(eq.fixed_point(lambda z, x: x.sin(), z0, x).value.sum(), x)[0], x.cos())
    (none,) = torch.autograd.grad(eq.fixed_point(lambda z, x: 0.5 * torch.cos(z) + 0 * x, z0, x).value.sum(), x)
    assert not none.any()
    close(grad(lambda x: eq.fixed_point(lambda z, x: x.sin(), z0, x).value.sum())(x.detach()), x.detach().cos())


def test_batched_backward_of_plain_autograd_is_refused_in_words():
    model, x = DEQ(Cell()), inputs().requires_grad_()
    value = model(x)
    for batched in (
        lambda: torch.autograd.grad(value, x, torch.stack([value, value]), is_grads_batched=True, retain_graph=True),
        lambda: vmap(lambda v: torch.autograd.grad(value, x, v, retain_graph=True)[0])(torch.stack([value, value])),
    ):
        with warnings.catch_warnings(), pytest.raises(eq.InputError, match="jacrev"):
            warnings.simplefilter("ignore")
            batched()
