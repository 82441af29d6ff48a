"""DistributedDataParallel: two processes that share a batch have the gradient of one that sees all of it."""

from __future__ import annotations

import torch

MODEL = """
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.W = nn.Parameter(0.4 * torch.randn(4, 4, generator=g, dtype=torch.float64) / 2)
        self.U = nn.Parameter(torch.randn(3, 4, generator=g, dtype=torch.float64))
        self.guess = nn.Linear(3, 4, dtype=torch.float64)
    def forward(self, x):
        hidden = x @ self.U
        z0 = 0.1 * self.guess(x)
        sol = eq.fixed_point(lambda z, h: torch.tanh(z @ self.W + h), z0, hidden, rtol=1e-12, atol=1e-13)
        return sol.value

g = torch.Generator().manual_seed(1)
x = torch.randn(6, 3, generator=g, dtype=torch.float64) * torch.linspace(0.01, 3, 6)[:, None]
model = Model()
"""


def test_two_processes_have_the_gradient_of_one(gradients_in_processes):
    alone, first, second = gradients_in_processes(MODEL)
    for name, gradient in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], gradient, rtol=1e-9, atol=1e-11)
    assert alone["W"].any() and alone["U"].any() and not alone["guess.weight"].any()
