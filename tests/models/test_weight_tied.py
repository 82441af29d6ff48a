"""Bai, Kolter, Koltun 2019: a feed-forward network equals a weight-tied one, and its equilibrium."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.models.cells import gradients, inputs
from torch import nn

import eqnets as eq


def networks():
    torch.manual_seed(0)
    shared = nn.Tanh()
    return {
        "one layer": nn.Sequential(nn.Linear(3, 2)),
        "tanh": nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 2)),
        "mixed": nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 9), nn.Sigmoid(), nn.Linear(9, 9),
                               nn.GELU(), nn.Linear(9, 1), nn.Softplus()),
        "deep": nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(3, 3), nn.LeakyReLU())]),
        "one activation, twice": nn.Sequential(nn.Linear(3, 4), shared, nn.Linear(4, 4), shared),
        "linear and chained": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Tanh(), nn.ReLU(), nn.Linear(4, 2)),
        "large weights": nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(3, 3), nn.SiLU())]),
    }  # fmt: skip


NAMES = list(networks())


def make(name):
    mlp = networks()[name].double()
    if name == "large weights":
        with torch.no_grad():
            for p in mlp.parameters():
                p.mul_(5)
    return mlp, *eq.weight_tied(mlp)


@pytest.mark.parametrize("name", NAMES)
def test_depth_applications_from_zeros_equal_the_network_value_and_gradients(name):
    mlp, cell, readout = make(name)
    x = inputs(6, 3).requires_grad_()
    theirs = gradients(mlp, mlp(x).square().sum())
    x_grad, x.grad = x.grad, None
    y = readout(eq.FiniteDepth(cell, cell.features, cell.depth)(x))
    torch.testing.assert_close(y, mlp(x), rtol=1e-12, atol=1e-12)
    ours = gradients(mlp, y.square().sum())
    torch.testing.assert_close(x.grad, x_grad, rtol=1e-12, atol=1e-12)
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", [eq.Picard(), eq.Auto()], ids=["Picard", "Auto"])
@pytest.mark.parametrize("name", NAMES)
def test_the_equilibrium_equals_the_network_value_and_gradients(name, solver):
    mlp, cell, readout = make(name)
    x = inputs(6, 3)
    theirs = gradients(mlp, mlp(x).square().sum())
    deq = eq.DEQ(
        cell, cell.features, solver=solver, adjoint=eq.Implicit(solver=eq.Picard(), rtol=1e-14, atol=1e-14), rtol=1e-13
    )
    sol = deq.solve(x)
    assert sol.converged.all()
    if solver == eq.Picard():
        assert (sol.steps <= cell.depth + 1).all()  # nilpotent: exact after as many steps as there are layers
    torch.testing.assert_close(readout(sol.value), mlp(x), rtol=1e-12, atol=1e-12)
    ours = gradients(mlp, readout(sol.value).square().sum())
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_matrices_are_a_block_lower_shift_and_give_the_same_map(name):
    _, cell, _ = make(name)
    W, U, b = cell.matrices()
    assert torch.equal(torch.linalg.matrix_power(W, cell.depth), torch.zeros_like(W))
    start, blocks = 0, []
    for k, n in enumerate(cell.widths):
        rows = slice(start, start + n)
        before = slice(start - (cell.widths[k - 1] if k else 0), start)
        outside = W[rows].clone()
        outside[:, before] = 0
        assert outside.abs().max() == 0 and (k == 0) == bool(U[rows].abs().max() > 0)
        blocks.append(rows)
        start += n
    z, x = inputs(5, cell.features), inputs(5, 3, seed=2)
    v = z @ W.T + x @ U.T + b
    whole = torch.cat([sigma(v[:, rows]) for sigma, rows in zip(cell.activations, blocks, strict=True)], 1)
    torch.testing.assert_close(cell(z, x), whole, rtol=1e-12, atol=1e-12)


def test_from_any_start_it_forgets_the_start():
    mlp, cell, readout = make("deep")
    x = inputs(4, 3)
    y = readout(eq.FiniteDepth(cell, cell.features, cell.depth)(x, 100 * inputs(4, cell.features, seed=3)))
    torch.testing.assert_close(y, mlp(x), rtol=1e-12, atol=1e-12)


def test_the_parameters_are_those_of_the_network():
    mlp, cell, readout = make("mixed")
    assert {id(p) for p in cell.parameters()} == {id(p) for p in mlp.parameters()}
    x = inputs(4, 3)
    parted = copy.deepcopy(cell)
    before = mlp(x)
    with torch.no_grad():
        mlp[0].weight.mul_(2)

    def deep(cell):
        return readout(eq.FiniteDepth(cell, cell.features, cell.depth)(x))

    torch.testing.assert_close(deep(cell), mlp(x))
    torch.testing.assert_close(deep(parted), before)


@pytest.mark.parametrize(
    ("mlp", "words"),
    [
        (nn.Linear(3, 3), "nn.Sequential"),
        (nn.Sequential(), "no Linear"),
        (nn.Sequential(nn.ReLU(), nn.Linear(3, 3)), "before the first Linear"),
        (nn.Sequential(nn.Linear(3, 4), nn.Linear(3, 4)), "must fit"),
        (nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=1)), "Softmax"),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), "LayerNorm"),
        (nn.Sequential(nn.Linear(3, 4), nn.Dropout()), "Dropout"),
    ],
)
def test_what_has_no_such_form_is_refused(mlp, words):
    with pytest.raises(eq.InputError, match=words):
        eq.weight_tied(mlp)
