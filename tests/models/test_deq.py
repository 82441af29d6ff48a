"""The equilibrium layer: what it returns, where it starts, and its derivatives for every kind of cell and state."""

from __future__ import annotations

import math

import pytest
import torch
from tests.models.cells import Scales, Tanh, gradients, inputs
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

import eqnets as eq

SOLVERS = [eq.Auto(), eq.Picard(), eq.Anderson(), eq.Broyden(), eq.Newton(), eq.NewtonKrylov()]
TIGHT = {"rtol": 1e-12, "atol": 1e-13}


def unrolled(cell, x, z, steps=200):
    for _ in range(steps):
        z = cell(z, x)
    return z


def name_of(option):
    return type(option).__name__


@pytest.mark.parametrize("solver", SOLVERS, ids=name_of)
def test_the_value_is_the_equilibrium_and_its_gradients_those_of_infinite_depth(solver):
    cell = Tanh()
    deq = eq.DEQ(cell, 4, solver=solver, **TIGHT)
    x = inputs(5, 3).requires_grad_()
    z = deq(x)
    torch.testing.assert_close(z, cell(z, x), rtol=0, atol=1e-11)
    weights = inputs(5, 4, seed=2)
    ours = {**gradients(deq, (z * weights).sum()), "x": x.grad}
    x.grad = None
    deep = unrolled(cell, x, torch.zeros(5, 4, dtype=torch.float64))
    theirs = {**gradients(deq, (deep * weights).sum()), "x": x.grad}
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_derivatives_of_first_and_second_order_through_the_module(training):
    cell = Tanh()
    deq = eq.DEQ(cell, 4, **TIGHT).train(training)
    names = [name for name, _ in deq.named_parameters()]

    def function(x, *tensors):
        return torch.func.functional_call(deq, dict(zip(names, tensors, strict=True)), (x,))

    leaves = [inputs(2, 3).requires_grad_(), *(p.detach().clone().requires_grad_() for p in deq.parameters())]
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves)


def test_a_closure_gets_exact_gradients_of_what_it_captures():
    W, c = (0.4 * inputs(3, 3)).requires_grad_(), inputs(4, 3, seed=2).requires_grad_()

    def function(W, c):
        return eq.DEQ(lambda z, x: torch.tanh(z @ W + x * c), 3, **TIGHT)(inputs(4, 3))

    assert gradcheck(function, [W, c])
    assert gradgradcheck(function, [W, c])


@pytest.mark.parametrize("adjoint", [eq.Unrolled(), eq.Phantom(2), eq.JacobianFree()], ids=name_of)
def test_an_adjoint_that_is_asked_for_by_name_is_used_and_named(adjoint):
    sol = eq.DEQ(Tanh(), 4, adjoint=adjoint, solver=eq.Picard()).solve(inputs(5, 3))
    assert sol.adjoint.name == name_of(adjoint)
    sol.value.sum().backward()
    assert sol.adjoint.solves == 0


# ---- where it starts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        (4, torch.zeros(2, 4)),
        ((3, 5), torch.zeros(2, 3, 5)),
        ((2, (3, 4)), (torch.zeros(2, 2), torch.zeros(2, 3, 4))),
        ({"a": 1, "b": (2, 2)}, {"a": torch.zeros(2, 1), "b": torch.zeros(2, 2, 2)}),
        (lambda x: x + 1, torch.ones(2, 3)),
    ],
)
def test_init_is_a_size_a_shape_a_tree_of_shapes_or_a_guess(init, expected):
    torch.testing.assert_close(eq.DEQ(lambda z, x: z, init).guess(torch.zeros(2, 3)), expected)


def test_zeros_have_the_dtype_of_the_parameters():
    assert eq.DEQ(Tanh(), 4).guess(torch.zeros(2, 3)).dtype == torch.float64
    assert eq.DEQ(nn.Embedding(3, 2), 4).guess(torch.zeros(2, dtype=torch.int64)).dtype == torch.float32


def test_integer_inputs_are_inputs_like_others():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 4)

        def forward(self, z, x):
            return torch.tanh(0.5 * z + self.table(x))

    torch.manual_seed(0)
    deq = eq.DEQ(Tokens(), 4)
    z = deq(torch.tensor([1, 2, 2]))
    assert torch.equal(z[1], z[2])
    z.sum().backward()
    assert deq.cell.table.weight.grad[[1, 2]].abs().min() > 0 and deq.cell.table.weight.grad[3].abs().max() == 0


def test_a_warm_start_costs_fewer_steps_and_gives_the_same_answer():
    deq = eq.DEQ(Tanh(gain=0.9), 4, solver=eq.Picard())
    x = inputs(5, 3)
    first = deq.solve(x)
    cold, warm = deq.solve(x + 1e-6), deq.solve(x + 1e-6, first.value)
    assert (warm.steps < 0.8 * cold.steps).all()
    torch.testing.assert_close(warm.value, cold.value, rtol=1e-7, atol=1e-7)
    assert (deq.solve(x, first.value).steps <= 2).all()


def test_a_stream_does_not_drag_its_past_behind_it():
    deq = eq.DEQ(Tanh(), 4)
    z = None
    for t in range(3):
        z = deq(inputs(5, 3, seed=t), z)
        z.sum().backward()  # a graph that reached into the last step would be backpropagated twice, an error


def test_a_learned_guess_gets_zero_from_the_equilibrium_and_learns_from_its_own_loss():
    torch.manual_seed(0)
    guess = nn.Linear(3, 4, dtype=torch.float64)
    deq = eq.DEQ(Tanh(gain=0.9), guess, solver=eq.Picard())
    x = 0.3 * inputs(50, 3)
    assert torch.equal(gradients(deq, deq(x).square().sum())["init.weight"], torch.zeros(4, 3, dtype=torch.float64))
    before = deq.solve(x).steps.sum()
    optimizer = torch.optim.LBFGS(guess.parameters(), max_iter=50)

    def loss():
        optimizer.zero_grad()
        z0 = deq.guess(x)
        value = (z0 - deq.solve(x, z0).value.detach()).square().mean()
        value.backward()
        return value

    start = loss().item()
    optimizer.step(loss)
    assert loss().item() < 0.1 * start
    assert deq.solve(x).steps.sum() < before


# ---- samples that are done ------------------------------------------------------------------------------------------


def test_samples_that_are_done_cost_nothing_any_more():
    x = torch.zeros(64, 3, dtype=torch.float64)
    x[0] = inputs(3)
    cell = Tanh(gain=0.95)
    with torch.no_grad():
        cell.W.bias.zero_()  # the equilibrium of x = 0 is 0, where the solver starts
    counts = {}
    for in_dims in ("auto", None):
        cell.calls = cell.samples = 0
        sol = eq.DEQ(cell, 4, solver=eq.Picard(), in_dims=in_dims).solve(x)
        assert sol.converged.all()
        counts[in_dims] = cell.samples, sol.value
    assert counts["auto"][0] < 0.1 * counts[None][0]
    torch.testing.assert_close(counts["auto"][1], counts[None][1], rtol=0, atol=1e-12)


def test_a_closure_over_a_batch_is_not_cut():
    shift = inputs(6, 4)
    shift[1:] = 0
    deq = eq.DEQ(lambda z, x: torch.tanh(0.9 * z + shift), 4, solver=eq.Picard())
    sol = deq.solve(torch.zeros(6, 1, dtype=torch.float64))
    assert sol.converged.all() and len(set(sol.steps.tolist())) > 1


def test_leaves_of_x_without_a_batch_are_named_in_in_dims():
    class Biased(nn.Module):
        def forward(self, z, x):
            return torch.tanh(0.9 * z + x["u"] + x["bias"])

    x = {"u": inputs(5, 4), "bias": inputs(4, seed=2)}
    x["u"][1:] = -x["bias"]  # these samples are done at once
    with pytest.raises(eq.InputError, match="in_dims"):
        eq.DEQ(Biased(), 4)(x)
    sol = eq.DEQ(Biased(), 4, in_dims={"u": 0, "bias": None}, solver=eq.Picard()).solve(x)
    assert sol.converged.all() and sol.steps[0] > sol.steps[1]


def test_an_input_that_is_one_sample_a_graph_say():
    adjacency = torch.softmax(inputs(6, 6), 1)
    deq = eq.DEQ(lambda z, x: torch.tanh(0.7 * adjacency @ z + x), (6, 2), batch_dims=0)
    sol = deq.solve(inputs(6, 2, seed=3))
    assert sol.converged.shape == () and sol.converged
    assert sol.value.shape == (6, 2)


# ---- states, nesting ------------------------------------------------------------------------------------------------


def test_a_multiscale_state_in_a_dict():
    cell, x = Scales(), (inputs(2, 2), inputs(2, 2, 1, seed=2))
    deq = eq.DEQ(cell, {"coarse": 2, "fine": (2, 1)}, **TIGHT)
    z = deq(x)
    again = cell(z, x)
    for name in ("coarse", "fine"):
        torch.testing.assert_close(z[name], again[name], rtol=0, atol=1e-11)

    def function(first, second, mix):
        out = torch.func.functional_call(deq, {"cell.mix": mix}, ((first, second),))
        return out["coarse"], out["fine"]

    leaves = [t.detach().clone().requires_grad_() for t in (*x, cell.mix)]
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves)


def test_the_three_variables_of_a_tuple_state():
    deq = eq.DEQ(lambda z, x: (0.5 * z[1].cos() + x, 0.5 * z[2].sin(), 0.3 * z[0]), ((2,), (2,), (2,)))
    a, b, c = deq(inputs(4, 2))
    torch.testing.assert_close(a, 0.5 * b.cos() + inputs(4, 2), rtol=0, atol=1e-8)
    torch.testing.assert_close(c, 0.3 * a, rtol=0, atol=1e-8)


class Outer(nn.Module):
    """A cell with an equilibrium inside."""

    def __init__(self):
        super().__init__()
        self.inner = eq.DEQ(Tanh(2, 3, gain=0.5), 2, **TIGHT)
        self.U = nn.Parameter(0.4 * inputs(2, 2, seed=5))

    def forward(self, z, x):
        return torch.tanh(self.inner(torch.cat([z, x], 1)) @ self.U)


def test_an_equilibrium_inside_of_an_equilibrium():
    deq = eq.DEQ(Outer(), 2, rtol=1e-10, atol=1e-11)
    x = inputs(2, 1)
    z = deq(x)
    torch.testing.assert_close(z, deq.cell(z, x), rtol=0, atol=1e-9)
    names = [name for name, _ in deq.named_parameters()]

    def function(x, *tensors):
        return torch.func.functional_call(deq, dict(zip(names, tensors, strict=True)), (x,))

    leaves = [x.requires_grad_(), *(p.detach().clone().requires_grad_() for p in deq.parameters())]
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves, fast_mode=True)


def test_it_is_a_layer_among_others():
    torch.manual_seed(0)
    deq = eq.DEQ(Tanh(dtype=torch.float32), 4)
    net = nn.Sequential(nn.Linear(2, 3), deq, nn.ReLU(), deq.cell.W, nn.Linear(4, 1))
    loss = net(inputs(8, 2, dtype=torch.float32)).square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(p.grad.abs().max() > 0 for p in deq.parameters())


def test_it_learns_and_a_jacobian_penalty_keeps_it_contracting():
    torch.manual_seed(0)
    deq, head = eq.DEQ(Tanh(16, 2, dtype=torch.float32), 16), nn.Linear(16, 1)
    net = nn.Sequential(deq, head)
    x = inputs(128, 2, dtype=torch.float32)
    y = (x[:, :1] * x[:, 1:]).sin()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        sol = deq.solve(x)
        loss = (head(sol.value) - y).square().mean()
        (loss + 5e-2 * eq.jacobian_norm(deq.cell, sol.value, x).mean()).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * y.var().item() < losses[0]
    assert eq.spectral_radius(deq.cell, sol.value, x).max() < 1


# ---- failure and bad input ------------------------------------------------------------------------------------------


def test_a_cell_without_an_equilibrium_says_so():
    deq = eq.DEQ(lambda z, x: z + 1 + x.exp(), 2, solver=eq.Picard(), max_steps=20)
    x = inputs(3, 2)
    with pytest.warns(eq.NotConvergedWarning, match="3 of 3 samples"):
        deq(x)
    deq.on_failure = "raise"
    with pytest.raises(eq.NotConverged):
        deq(x)
    deq.on_failure = "ignore"
    assert not deq.solve(x).converged.any()


def test_nan_in_one_input_is_the_status_of_that_sample_alone():
    deq = eq.DEQ(Tanh(), 4, on_failure="ignore")
    x = inputs(5, 3)
    clean = deq.solve(x)
    x[2, 1] = math.nan
    sol = deq.solve(x)
    assert sol.status.tolist() == [0, 0, int(eq.Status.NONFINITE), 0, 0]
    rest = [0, 1, 3, 4]
    torch.testing.assert_close(sol.value[rest], clean.value[rest], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: eq.DEQ(3, 4), "cell must be"),
        (lambda: eq.DEQ(Tanh(), 0), "init must be"),
        (lambda: eq.DEQ(Tanh(), 2.5), "init must be"),
        (lambda: eq.DEQ(Tanh(), ()), "init must be"),
        (lambda: eq.DEQ(Tanh(), (4, Tanh())), "must not mix"),
        (lambda: eq.DEQ(Tanh(), 4, on_failure="shout"), "on_failure"),
        (lambda: eq.DEQ(Tanh(), 4, in_dims="batch")(inputs(2, 3)), "in_dims"),
        (lambda: eq.DEQ(Tanh(), 4, in_dims=(0, 0))(inputs(2, 3)), "does not fit"),
        (lambda: eq.DEQ(Tanh(), 4)(3.0), "no batch dimension"),
        (lambda: eq.DEQ(Tanh(), 4)(inputs(0, 3)), "empty batch"),
        (lambda: eq.DEQ(Tanh(), 4, solver="anderson"), "solver must be"),
        (lambda: eq.DEQ(Tanh(), 4, adjoint=eq.Implicit), "adjoint must be"),
        (lambda: eq.DEQ(Tanh(), 4, max_steps=0), "max_steps must be"),
        (lambda: eq.DEQ(Tanh(), 4, batch_dims=2), "batch_dims must be"),
        (lambda: eq.DEQ(lambda z, x: z[:, :2], 4)(inputs(2, 3)), "returned"),
        (lambda: eq.DEQ(lambda z, x: (z, z), 4)(inputs(2, 3)), "structure"),
        (lambda: eq.DEQ(Tanh(), 4)(inputs(2, 3), inputs(3, 4)), "not the batch"),
        (lambda: eq.DEQ(lambda z, x: z.float(), 4)(inputs(2, 3)), "float32"),
        (lambda: eq.DEQ(Tanh(), lambda x: torch.zeros(2, 4, dtype=torch.int64))(inputs(2, 3)), "floating point"),
    ],
)
def test_bad_input_is_one_worded_error(make, words):
    with pytest.raises(eq.InputError, match=words):
        make()


def test_an_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="max_iter"):
        eq.DEQ(Tanh(), 4, max_iter=3)
