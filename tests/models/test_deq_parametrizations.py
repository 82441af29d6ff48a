"""Weights under torch.nn.utils.parametrizations inside of a cell: exact, and never stale."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.models.cells import Tanh, gradients, inputs
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils import parametrizations, parametrize

import eqnets as eq

TIGHT = {"rtol": 1e-12, "atol": 1e-13}
NORMS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": lambda module: parametrizations.spectral_norm(module, n_power_iterations=3),
}


def make(name="weight_norm", training=True):
    torch.manual_seed(0)
    cell = Tanh(gain=0.5)
    cell.W = NORMS[name](cell.W)
    if name == "spectral_norm":
        cell.U.weight.data.mul_(3)
    return eq.DEQ(cell, 4, **TIGHT).train(training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_the_layer_is_the_one_with_the_normalised_weight(name, training):
    deq, x = make(name, training), inputs(5, 3)
    probe = copy.deepcopy(deq.cell.W)
    W, U, b = probe.weight, deq.cell.U.weight, probe.bias  # in train mode: one power iteration, as the solve will make
    sol = deq.solve(x)
    assert sol.converged.all()
    plain = eq.DEQ(lambda z, x: torch.tanh(z @ W.T + b + x @ U.T), 4, **TIGHT)(x)
    torch.testing.assert_close(sol.value, plain)
    ours = gradients(deq, sol.value.square().sum())
    plain.square().sum().backward()
    for key, p in probe.named_parameters():
        torch.testing.assert_close(ours[f"cell.W.{key}"], p.grad)


class Unit(nn.Module):
    """Weight normalisation in plain operations."""

    def forward(self, W):
        return 0.5 * W / torch.linalg.vector_norm(W, dim=1, keepdim=True)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "unit"])
def test_its_derivatives_of_first_and_second_order(name):
    if name == "unit":
        deq = eq.DEQ(Tanh(), 4, **TIGHT)
        parametrize.register_parametrization(deq.cell.W, "weight", Unit())
    else:
        deq = make(name, training=False)  # in train mode spectral_norm holds its singular vectors constant
    names = [name for name, _ in deq.named_parameters()]

    def function(x, *tensors):
        return torch.func.functional_call(deq, dict(zip(names, tensors, strict=True)), (x,))

    leaves = [inputs(2, 3).requires_grad_(), *(p.detach().clone().requires_grad_() for p in deq.parameters())]
    assert gradcheck(function, leaves)
    if name != "weight_norm":  # gradgradcheck of torch 2.13's weight_norm fails by itself, without a solve
        assert gradgradcheck(function, leaves)


@pytest.mark.parametrize("name", NORMS)
def test_torch_func_agrees_with_autograd(name):
    deq, x = make(name, training=False), inputs(5, 3)

    def loss(parameters):
        return torch.func.functional_call(deq, parameters, (x,)).square().sum()

    ours = torch.func.grad(loss)({name: p.detach() for name, p in deq.named_parameters()})
    theirs = gradients(deq, deq(x).square().sum())
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key])


def test_spectral_norm_makes_one_power_iteration_a_solve():
    deq, x = make("spectral_norm"), inputs(5, 3)
    module = deq.cell.W
    vectors = module.parametrizations.weight[0]
    twin = copy.deepcopy(module)
    before = vectors._u.clone()
    deq(x).sum().backward()
    twin.weight  # noqa: B018  (one evaluation in train mode is one update)
    assert not torch.equal(before, vectors._u)
    assert torch.equal(vectors._u, twin.parametrizations.weight[0]._u)


def test_an_expensive_parametrisation_is_evaluated_once_a_solve():
    class Counted(nn.Module):
        calls = 0

        def forward(self, W):
            Counted.calls += 1
            return 0.5 * W

    deq = eq.DEQ(Tanh(), 4)
    parametrize.register_parametrization(deq.cell.W, "weight", Counted())
    Counted.calls = 0
    deq(inputs(5, 3)).sum().backward()
    assert Counted.calls == 1


CHANGES = {
    "load_state_dict": lambda deq: deq.load_state_dict(
        {name: t * 0.8 if t.dim() == 2 else t for name, t in deq.state_dict().items()}
    ),
    "in place": lambda deq: [p.data.mul_(0.8) for p in deq.parameters()],
    "double": lambda deq: deq.float().double(),
    "deepcopy": lambda deq: deq,
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_stale_after_a_change(change, name):
    deq, x = make(name, training=False), inputs(5, 3)
    first = deq(x)
    first.sum().backward()
    deq = copy.deepcopy(deq)
    CHANGES[change](deq)
    W, U, b = deq.cell.W.weight.detach(), deq.cell.U.weight.detach(), deq.cell.W.bias.detach()
    z = deq(x)
    torch.testing.assert_close(z, torch.tanh(z @ W.T + b + x @ U.T), rtol=0, atol=1e-10)
    assert torch.equal(z, first) == (change == "deepcopy")
    z.sum().backward()  # the graph of the first solve is not in the way


def test_the_cell_itself_is_not_touched():
    deq = make()
    kinds = [type(m) for m in deq.modules()]
    keys = sorted(deq.state_dict())
    deq(inputs(5, 3)).sum().backward()
    assert kinds == [type(m) for m in deq.modules()] and keys == sorted(deq.state_dict())
    assert parametrize.is_parametrized(deq.cell.W)
