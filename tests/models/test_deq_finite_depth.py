"""The explicit network of a given depth, beside the equilibrium of the same cell."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.models.cells import Scales, Tanh, gradients, inputs
from torch import nn
from torch.autograd import gradcheck
from torch.nn.utils import parametrizations

import eqnets as eq


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_it_is_the_cell_applied_that_often(depth):
    cell, x = Tanh(), inputs(5, 3)
    z = torch.zeros(5, 4, dtype=torch.float64)
    for _ in range(depth):
        z = cell(z, x)
    assert torch.equal(eq.FiniteDepth(cell, 4, depth)(x), z)


def test_untied_cells_follow_one_another():
    first, second, x = Tanh(seed=1), Tanh(seed=2), inputs(5, 3)
    net = eq.FiniteDepth([first, second], 4)
    assert net.depth == 2 and len(list(net.parameters())) == 6
    torch.testing.assert_close(net(x), second(first(torch.zeros(5, 4, dtype=torch.float64), x), x), rtol=0, atol=0)


def test_with_depth_it_tends_to_the_equilibrium_value_and_gradient():
    cell, x = Tanh(gain=0.6), inputs(5, 3)
    deq = eq.DEQ(cell, 4, rtol=1e-12, atol=1e-13)
    z = deq(x)
    exact = gradients(deq, z.square().sum())
    errors = []
    for depth in (2, 10, 60):
        net = eq.FiniteDepth(cell, 4, depth)
        y = net(x)
        ours = gradients(net, y.square().sum())
        errors.append([torch.linalg.norm(y - z).item(), *(torch.linalg.norm(ours[n] - exact[n]).item() for n in exact)])
    for coarse, middle, fine in zip(*errors, strict=True):
        assert coarse > 3 * middle > 0 and fine < 1e-9


def test_its_start_is_differentiated():
    net = eq.FiniteDepth(Tanh(), 4, 3)
    assert gradcheck(net, [inputs(2, 3).requires_grad_(), inputs(2, 4, seed=2).requires_grad_()])


def test_states_may_be_trees():
    cell, x = Scales(), (inputs(3, 2), inputs(3, 2, 1, seed=2))
    z = eq.FiniteDepth(cell, {"coarse": 2, "fine": (2, 1)}, 200)(x)
    for name, value in eq.DEQ(cell, {"coarse": 2, "fine": (2, 1)})(x).items():
        torch.testing.assert_close(z[name], value, rtol=1e-8, atol=1e-8)


def test_tied_layers_share_their_dropout_mask_and_untied_ones_do_not():
    torch.manual_seed(0)
    x = torch.ones(2, 50)

    class Add(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = eq.FixedDropout(0.5)

        def forward(self, z, x):
            return z + self.drop(x)

    assert set(eq.FiniteDepth(Add(), 50, 3)(x).unique().tolist()) == {0.0, 6.0}
    assert set(eq.FiniteDepth([Add(), Add()], 50)(x).unique().tolist()) == {0.0, 2.0, 4.0}


def test_a_normalised_weight_is_evaluated_once():
    torch.manual_seed(0)
    cell = Tanh()
    cell.W = parametrizations.spectral_norm(cell.W)
    twin = copy.deepcopy(cell.W)
    eq.FiniteDepth(cell, 4, 5)(inputs(5, 3)).sum().backward()
    twin.weight  # noqa: B018  (one evaluation in train mode is one power iteration)
    assert torch.equal(cell.W.parametrizations.weight[0]._u, twin.parametrizations.weight[0]._u)
    assert all(p.grad is not None for p in cell.parameters())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: eq.FiniteDepth(Tanh(), 4), "depth must be"),
        (lambda: eq.FiniteDepth(Tanh(), 4, -1), "depth must be"),
        (lambda: eq.FiniteDepth(Tanh(), 4, 2.0), "depth must be"),
        (lambda: eq.FiniteDepth([Tanh()], 4, 2), "1 cells for depth=2"),
        (lambda: eq.FiniteDepth(3, 4, 2), "cell must be"),
        (lambda: eq.FiniteDepth([Tanh(), lambda z, x: z], 4), "cell must be"),
        (lambda: eq.FiniteDepth(Tanh(), "four", 2), "init must be"),
    ],
)
def test_bad_input_is_one_worded_error(make, words):
    with pytest.raises(eq.InputError, match=words):
        make()
