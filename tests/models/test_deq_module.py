"""DEQ is an ordinary module: saved, copied, compiled, mapped, run in threads and processes like any other."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from tests.models.cells import Tanh, gradients, inputs
from torch import nn

import eqnets as eq

TIGHT = {"rtol": 1e-12, "atol": 1e-13}


def make(seed=0, **options):
    return eq.DEQ(Tanh(seed=seed, **options), 4, **TIGHT)


def detached(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


# ---- saved and copied -----------------------------------------------------------------------------------------------


def test_state_dict_holds_the_cell_and_nothing_of_a_solve():
    deq, other, x = make(0), make(1), inputs(5, 3)
    deq(x).sum().backward()
    assert sorted(deq.state_dict()) == ["cell.U.weight", "cell.W.bias", "cell.W.weight"]
    assert not torch.equal(deq(x), other(x))
    other.load_state_dict(deq.state_dict())
    assert torch.equal(deq(x), other(x))


def test_deepcopy_and_pickle_after_a_solve():
    deq, x = make(), inputs(5, 3)
    z = deq(x)
    z.sum().backward()
    for twin in (copy.deepcopy(deq), pickle.loads(pickle.dumps(deq))):
        assert torch.equal(twin(x), z)
        twin.cell.W.weight.data.zero_()
    assert torch.equal(deq(x), z)


def test_a_parameter_that_two_layers_share():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = (nn.Linear(3, 3, dtype=torch.float64) for _ in range(2))
            with torch.no_grad():
                self.first.weight.copy_(0.3 * inputs(3, 3, seed=4))
            self.second.weight = self.first.weight

        def forward(self, z, x):
            return torch.tanh(self.second(torch.tanh(self.first(z))) + x)

    torch.manual_seed(0)
    deq, x = eq.DEQ(Tied(), 3, **TIGHT), inputs(2, 3)

    def loss(parameters):
        return torch.func.functional_call(deq, parameters, (x,)).square().sum()

    ours = torch.func.grad(loss)(detached(deq))
    theirs = gradients(deq, deq(x).square().sum())
    assert sorted(ours) == sorted(theirs)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name])


# ---- other parameters than its own ----------------------------------------------------------------------------------


def second_order(function, tensors):
    gs = torch.autograd.grad(function(tensors).square().sum(), list(tensors.values()), create_graph=True)
    return torch.autograd.grad(sum(g.square().sum() for g in gs), list(tensors.values()))


@pytest.mark.parametrize("kind", [nn.Parameter, lambda t: t.clone().requires_grad_()], ids=["parameters", "tensors"])
def test_functional_call_is_right_in_second_order_after_it_has_returned(kind):
    """The second backward evaluates the cell again, when its own parameters are back in place."""
    deq, other, x = make(0), make(1), inputs(5, 3)
    foreign = {name: kind(t) for name, t in detached(other).items()}
    ours = second_order(lambda tensors: torch.func.functional_call(deq, tensors, (x,)), foreign)
    theirs = second_order(lambda tensors: other(x), dict(other.named_parameters()))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two)


def test_a_parameter_replaced_after_the_solve_does_not_reach_its_backward():
    deq, x = make(), inputs(5, 3)
    expected = second_order(lambda tensors: deq(x), dict(deq.named_parameters()))
    old = dict(deq.named_parameters())

    def solve_and_replace(tensors):
        z = deq(x)
        deq.cell.W.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
        return z

    for one, two in zip(second_order(solve_and_replace, old), expected, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own decompositions for forward mode
def test_torch_func_grad_hessian_and_jvp_agree_with_autograd():
    deq, x = make(), inputs(5, 3)
    parameters = detached(deq)

    def loss(parameters):
        return torch.func.functional_call(deq, parameters, (x,)).square().sum()

    ours = torch.func.grad(loss)(parameters)
    theirs = gradients(deq, deq(x).square().sum())
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name])
    direction = {name: inputs(*t.shape, seed=7) for name, t in parameters.items()}
    _, tangent = torch.func.jvp(loss, (parameters,), (direction,))
    torch.testing.assert_close(tangent, sum((direction[name] * theirs[name]).sum() for name in theirs))

    def of_bias(b):
        return loss({**parameters, "cell.W.bias": b})

    b = parameters["cell.W.bias"]
    eye = 1e-5 * torch.eye(4, dtype=torch.float64)
    gradient = torch.func.grad(of_bias)
    numeric = torch.stack([(gradient(b + e) - gradient(b - e)) / 2e-5 for e in eye])
    torch.testing.assert_close(torch.func.hessian(of_bias)(b), numeric, rtol=1e-5, atol=1e-7)


def test_an_ensemble_is_mapped_over_its_parameters():
    models, x = [make(seed) for seed in range(3)], inputs(5, 3)
    parameters, buffers = torch.func.stack_module_state(models)
    base = models[0]

    def loss(parameters, buffers, x):
        return torch.func.functional_call(base, (parameters, buffers), (x,)).square().sum()

    grads = torch.func.vmap(torch.func.grad(loss), in_dims=(0, 0, None))(parameters, buffers, x)
    for k, model in enumerate(models):
        theirs = gradients(model, model(x).square().sum())
        for name in theirs:
            torch.testing.assert_close(grads[name][k], theirs[name])


def test_gradients_per_sample():
    deq, x = make(), inputs(5, 3)

    def loss(parameters, x):
        return torch.func.functional_call(deq, parameters, (x[None],)).square().sum()

    grads = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(detached(deq), x)
    for k in range(5):
        theirs = gradients(deq, deq(x[k : k + 1]).square().sum())
        for name in theirs:
            torch.testing.assert_close(grads[name][k], theirs[name])


# ---- modes ----------------------------------------------------------------------------------------------------------


def test_in_eval_mode_the_gradient_is_the_same():
    deq, x = make(), inputs(5, 3).requires_grad_()
    grads = []
    for training in (True, False):
        (g,) = torch.autograd.grad(deq.train(training)(x).square().sum(), x)
        grads.append(g)
    assert torch.equal(*grads) and grads[0].abs().max() > 0


def test_without_grad_there_is_no_graph():
    deq, x = make(), inputs(5, 3)
    with torch.no_grad():
        assert not deq(x).requires_grad
    with torch.inference_mode():
        z = deq(x)
    torch.testing.assert_close(z, deq(x).detach())


def test_frozen_parameters_get_no_gradient_and_the_others_the_same():
    deq, x = make(), inputs(5, 3)
    theirs = gradients(deq, deq(x).square().sum())
    deq.cell.W.requires_grad_(False)
    deq.zero_grad()
    deq(x).square().sum().backward()
    assert deq.cell.W.weight.grad is None
    torch.testing.assert_close(deq.cell.U.weight.grad, theirs["cell.U.weight"])


@pytest.mark.parametrize("x_dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_the_state_stays_float32_and_the_backward_runs_as_the_forward(x_dtype):
    cell, x = Tanh(dtype=torch.float32), inputs(5, 3, dtype=torch.float32)
    deq = eq.DEQ(cell, 4)
    exact = gradients(deq, deq(x).square().sum())
    with torch.autocast("cpu", torch.bfloat16):
        z = deq(x.to(x_dtype))
    assert z.dtype == torch.float32
    cast = gradients(deq, z.square().sum())  # outside of autocast
    for name in exact:
        assert cast[name].dtype == torch.float32
        assert torch.linalg.norm(cast[name] - exact[name]) < 0.1 * torch.linalg.norm(exact[name])


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_cell(backend):
    deq, x = make(), inputs(5, 3)
    plain = gradients(deq, deq(x).square().sum())
    torch.compiler.reset()
    compiled = eq.DEQ(torch.compile(deq.cell, backend=backend), 4, **TIGHT)
    sol = compiled.solve(x)
    torch.testing.assert_close(sol.value, deq(x))
    ours = gradients(compiled, sol.value.square().sum())
    for name in plain:
        torch.testing.assert_close(ours[name.replace("cell.", "cell._orig_mod.")], plain[name])


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning", "ignore:The .grad attribute of a Tensor:UserWarning"
)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_with_a_held_dropout_and_a_normalised_weight(backend):
    torch.compiler.reset()
    torch.manual_seed(0)
    cell = Tanh(inner=eq.FixedDropout(0.5), gain=0.4)
    cell.W = torch.nn.utils.parametrizations.weight_norm(cell.W)
    cell.W.parametrizations.weight.original0.data.mul_(0.5)
    net = nn.Sequential(nn.Linear(3, 3, dtype=torch.float64), eq.DEQ(cell, 4, **TIGHT), nn.ReLU())
    compiled, x = torch.compile(net, backend=backend), inputs(5, 3)
    values, grads = [], []
    for module in (net, compiled):
        torch.manual_seed(1)
        values.append([module(x), module(x)])
        grads.append(gradients(net, values[-1][1].square().sum()))
    assert not torch.equal(*values[1])  # a new mask for a new solve, compiled or not
    torch.testing.assert_close(values[0], values[1])
    for name in grads[0]:
        torch.testing.assert_close(grads[0][name], grads[1][name])


def test_what_must_be_held_during_a_solve_cannot_hide_in_a_compiled_cell():
    hidden = torch.compile(Tanh(inner=eq.FixedDropout(0.5)), backend="eager")
    with pytest.raises(eq.InputError, match="'inner' is FixedDropout.*compile the submodules"):
        eq.DEQ(hidden, 4)(inputs(5, 3))
    normed = Tanh()
    normed.W = torch.nn.utils.parametrizations.spectral_norm(normed.W)
    with pytest.raises(eq.InputError, match=r"'W.parametrizations.weight.0' is spectral_norm"):
        eq.DEQ(torch.compile(normed, backend="eager"), 4)(inputs(5, 3))


def test_submodules_may_be_compiled_beside_a_held_dropout():
    torch.compiler.reset()
    torch.manual_seed(0)
    cell = Tanh(inner=eq.FixedDropout(0.5), gain=0.4)
    cell.U = torch.compile(cell.U, backend="eager")
    sol = eq.DEQ(cell, 4).solve(inputs(5, 3))
    assert sol.converged.all()
    sol.value.sum().backward()
    assert all(p.grad is not None for p in cell.parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_cell():
    class Script(nn.Module):
        def __init__(self):
            super().__init__()
            self.W = nn.Parameter(0.3 * inputs(3, 3))

        def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(z @ self.W + x)

    cell, x = Script(), inputs(4, 3)
    plain = eq.DEQ(cell, 3, **TIGHT)(x)
    scripted = torch.jit.script(cell)
    z = eq.DEQ(scripted, 3, **TIGHT)(x)
    torch.testing.assert_close(z, plain)
    (g,) = torch.autograd.grad(z.sum(), scripted.W)
    torch.testing.assert_close(g, torch.autograd.grad(plain.sum(), cell.W)[0])


# ---- many at once ---------------------------------------------------------------------------------------------------


def test_used_twice_before_the_backward_and_backward_twice():
    deq, x = make(), inputs(5, 3)
    both = deq(x).square().sum() + deq(x + 1).square().sum()
    grads = [torch.autograd.grad(both, list(deq.parameters()), retain_graph=True) for _ in range(2)]
    parts = [torch.autograd.grad(deq(x + k).square().sum(), list(deq.parameters())) for k in (0, 1)]
    for first, second, one, two in zip(*grads, *parts, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, one + two)


def test_threads_do_not_meet():
    torch.manual_seed(0)
    deq = eq.DEQ(Tanh(inner=nn.Sequential(eq.FixedDropout(0.0)), gain=0.8), 4, **TIGHT)
    deq.cell.W = torch.nn.utils.parametrizations.weight_norm(deq.cell.W)
    deq.cell.W.parametrizations.weight.original0.data.mul_(0.5)
    xs = [inputs(7, 3, seed=k).requires_grad_() for k in range(8)]
    expected = [torch.autograd.grad(deq(x).square().sum(), x)[0] for x in xs]
    found = [None] * 8

    def work(k):
        for _ in range(5):
            found[k] = torch.autograd.grad(deq(xs[k]).square().sum(), xs[k])[0]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two)


def test_in_two_processes_the_gradient_is_that_of_one(gradients_in_processes):
    alone, *shared = gradients_in_processes("""
        from tests.models.cells import Tanh, inputs
        deq = eq.DEQ(Tanh(seed=0), 4, rtol=1e-12, atol=1e-13)
        model, x = torch.nn.Sequential(torch.nn.Linear(3, 3, dtype=torch.float64), deq), inputs(8, 3)
    """)
    for theirs in shared:
        for name in alone:
            torch.testing.assert_close(theirs[name], alone[name])
