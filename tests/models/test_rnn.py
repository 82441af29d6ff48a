"""The textbook recurrent network against torch's own."""

from __future__ import annotations

import pytest
import torch

from eqnets.errors import InputError
from eqnets.models import RNN


def twins(nu=2, nh=5, ny=3):
    ours = RNN(nu, nh, ny, generator=torch.Generator().manual_seed(0), dtype=torch.float64, dt=0.1)
    theirs = torch.nn.RNN(nu, nh, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_hh_l0.copy_(ours.W)
        theirs.weight_ih_l0.copy_(ours.U)
        theirs.bias_ih_l0.copy_(ours.b)
        theirs.bias_hh_l0.zero_()
    return ours, theirs


def test_it_is_torchs_rnn_with_a_linear_readout():
    ours, theirs = twins()
    u = torch.randn(4, 20, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    h0 = torch.randn(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y, last = ours(u, h0)
    hidden, end = theirs(u, h0[None])
    torch.testing.assert_close(y, hidden @ ours.V.T)
    torch.testing.assert_close(last, end[0])


def test_its_gradients_are_torchs():
    ours, theirs = twins()
    u = torch.randn(4, 20, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours(u)[0].square().sum().backward()
    (theirs(u)[0] @ ours.V.detach().T).square().sum().backward()
    torch.testing.assert_close(ours.W.grad, theirs.weight_hh_l0.grad)
    torch.testing.assert_close(ours.U.grad, theirs.weight_ih_l0.grad)
    torch.testing.assert_close(ours.b.grad, theirs.bias_ih_l0.grad)
    assert float(ours.V.grad.abs().max()) > 0


def test_its_lfr_has_the_blocks_of_the_house():
    ours, _ = twins()
    lfr = ours.explicit()
    assert (lfr.nx, lfr.nv, lfr.nu, lfr.ny, lfr.dt, lfr.dtype) == (5, 5, 2, 3, 0.1, torch.float64)
    assert torch.equal(lfr.B1, torch.eye(5, dtype=torch.float64)) and torch.equal(lfr.C1, ours.W)
    assert torch.equal(lfr.D12, ours.U) and torch.equal(lfr.D21, ours.V) and torch.equal(lfr.bv, ours.b)
    assert not any(lfr.blocks()[name].any() for name in ("A", "B2", "C2", "D11", "D22", "bx", "by"))
    assert lfr.activation.name == "tanh"


def test_wrong_input_is_refused_in_words():
    with pytest.raises(InputError, match="whole numbers"):
        RNN(1, -1, 1)
    with pytest.raises(InputError, match="floating-point"):
        RNN(1, 2, 1)(torch.ones(1, 2, 1, dtype=torch.int64))
