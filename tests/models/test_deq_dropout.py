"""Dropout that is fixed during a solve, and new for the next one."""

from __future__ import annotations

import pytest
import torch
from tests.models.cells import Tanh, gradients, inputs
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.utils.checkpoint import checkpoint

import eqnets as eq

TIGHT = {"rtol": 1e-12, "atol": 1e-13}


class Recorder(nn.Module):
    """A dropout whose masks can be read."""

    def __init__(self, p=0.5, **options):
        super().__init__()
        self.dropout, self.seen = eq.FixedDropout(p, **options), []

    def forward(self, z):
        out = self.dropout(torch.ones_like(z))
        self.seen.append(out)
        return z * out


def make(p=0.5, gain=0.4):
    torch.manual_seed(0)
    return eq.DEQ(Tanh(inner=Recorder(p), gain=gain), 4, **TIGHT)


def masks(deq):
    seen, inner = deq.cell.inner.seen.copy(), deq.cell.inner
    inner.seen.clear()
    return seen


def test_one_mask_for_a_solve_and_its_backward_and_another_for_the_next():
    deq, x = make(), inputs(6, 3)
    sol = deq.solve(x)
    assert sol.converged.all()
    (first_order,) = torch.autograd.grad(sol.value.sum(), deq.cell.W.weight, create_graph=True)
    first_order.square().sum().backward()
    first = masks(deq)
    assert len(first) > 3 and all(torch.equal(first[0], mask) for mask in first)
    assert set(first[0].unique().tolist()) == {0.0, 2.0}
    assert len({tuple(row.tolist()) for row in first[0]}) > 1  # every sample has its own
    deq(x)
    assert not torch.equal(first[0], masks(deq)[0])


def test_the_value_and_gradients_are_those_of_the_cell_with_that_mask():
    deq, x = make(), inputs(6, 3)
    z = deq(x)
    mask = masks(deq)[0]
    cell = deq.cell
    ours = gradients(deq, z.square().sum())
    other = eq.DEQ(lambda z, x: torch.tanh(cell.W(z * mask) + cell.U(x)), 4, **TIGHT)
    torch.testing.assert_close(z, other(x))
    theirs = gradients(deq, other(x).square().sum())
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])


def test_a_seed_repeats_it():
    deq, x = make(), inputs(6, 3)
    torch.manual_seed(7)
    first = deq(x)
    torch.manual_seed(7)
    assert torch.equal(first, deq(x))
    assert not torch.equal(first, deq(x))


def test_derivatives_under_dropout_pass_first_and_second_order():
    deq = make()

    def function(x, weight):
        torch.manual_seed(3)
        return torch.func.functional_call(deq, {"cell.W.weight": weight}, (x,))

    leaves = [inputs(2, 3).requires_grad_(), deq.cell.W.weight.detach().clone().requires_grad_()]
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves)


def test_torch_func_sees_the_same_mask():
    deq, x = make(), inputs(3, 3)
    parameters = dict(deq.named_parameters())

    def loss(parameters):
        torch.manual_seed(3)
        return torch.func.functional_call(deq, parameters, (x,)).square().sum()

    theirs = gradients(deq, loss(parameters))
    ours = torch.func.grad(loss)({name: p.detach() for name, p in parameters.items()})
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])


def test_mapped_with_randomness_same_every_sample_has_the_same_mask():
    deq, x = make(), inputs(3, 3)

    def loss(parameters, x):
        return torch.func.functional_call(deq, parameters, (x[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0), randomness="same")
    torch.manual_seed(3)
    ours = each({name: p.detach() for name, p in deq.named_parameters()}, x)
    for k in range(3):
        torch.manual_seed(3)
        theirs = gradients(deq, deq(x[k : k + 1]).square().sum())
        for name in theirs:
            torch.testing.assert_close(ours[name][k], theirs[name])


def test_checkpointing_repeats_it():
    deq, x = make(), inputs(6, 3).requires_grad_()
    torch.manual_seed(5)
    plain = gradients(deq, deq(x).square().sum())
    torch.manual_seed(5)
    again = gradients(deq, checkpoint(deq, x, use_reentrant=False).square().sum())
    for name in plain:
        torch.testing.assert_close(plain[name], again[name])


def test_a_module_used_twice_has_two_masks_each_fixed():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = Recorder()

        def forward(self, z, x):
            return torch.tanh(0.3 * self.drop(z) + 0.3 * self.drop(z).flip(1) + x)

    torch.manual_seed(0)
    deq = eq.DEQ(Twice(), 20)
    assert deq.solve(inputs(3, 20)).converged.all()
    seen = deq.cell.drop.seen
    assert not torch.equal(seen[0], seen[1])
    assert all(torch.equal(seen[i % 2], mask) for i, mask in enumerate(seen))


def test_inside_of_an_equilibrium_inside_of_an_equilibrium():
    torch.manual_seed(0)
    inner = make(gain=0.3)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, z, x):
            return self.inner(z[:, :3] + x)

    deq = eq.DEQ(Outer(), 4, rtol=1e-9, atol=1e-10)
    for expected in (True, False):
        sol = deq.solve(inputs(3, 3))
        assert sol.converged.all()
        seen = masks(inner)
        assert all(torch.equal(seen[0], mask) for mask in seen)
        if expected:
            first = seen[0]
    assert not torch.equal(first, seen[0])


def test_shared_dimensions_share_the_mask():
    torch.manual_seed(0)
    drop = eq.FixedDropout(0.5, shared=(2, 3))
    out = drop(torch.ones(4, 8, 5, 5))
    assert all(len(channel.unique()) == 1 for channel in out.flatten(0, 1))
    assert set(out.unique().tolist()) == {0.0, 2.0}


def test_by_itself_it_is_dropout_and_in_eval_mode_nothing():
    torch.manual_seed(0)
    drop, x = eq.FixedDropout(0.3), torch.ones(100_000)
    out = drop(x)
    assert abs(out.mean().item() - 1) < 0.01 and abs((out == 0).float().mean().item() - 0.3) < 0.01
    assert not torch.equal(out, drop(x))
    assert drop.eval()(x) is x
    assert eq.FixedDropout(0.0)(x) is x


def test_what_is_dropped_is_zero_even_where_it_was_not_finite():
    torch.manual_seed(0)
    out = eq.FixedDropout(0.5)(torch.full((100,), torch.inf))
    assert not out.isnan().any() and (out == 0).any()


def test_masks_do_not_stay_with_the_module():
    deq = make()
    before = sorted(name for name, _ in deq.named_modules()), sorted(deq.state_dict())
    deq(inputs(2, 3)).sum().backward()
    assert before == (sorted(name for name, _ in deq.named_modules()), sorted(deq.state_dict()))
    assert isinstance(deq.cell.inner.dropout, eq.FixedDropout)


@pytest.mark.parametrize("p", [-0.1, 1.0, True, "0.5"])
def test_a_bad_probability_is_one_worded_error(p):
    with pytest.raises(eq.InputError, match="FixedDropout"):
        eq.FixedDropout(p)
