"""Cells for the tests of DEQ and FiniteDepth."""

from __future__ import annotations

import torch
from torch import nn


class Tanh(nn.Module):
    """z ↦ tanh(W z + U x + b) with ‖W‖ = gain, after `inner`, which may be dropout. Counts evaluations and samples."""

    def __init__(self, n=4, m=3, gain=0.7, seed=0, inner=None, dtype=torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.W = nn.Linear(n, n, dtype=dtype)
        self.U = nn.Linear(m, n, dtype=dtype, bias=False)
        self.inner = nn.Identity() if inner is None else inner
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
            self.W.weight.mul_(gain / torch.linalg.matrix_norm(self.W.weight, 2))
        self.calls, self.samples = 0, 0

    def forward(self, z, x):
        self.calls += 1
        self.samples += len(z)
        return torch.tanh(self.W(self.inner(z)) + self.U(x))


class Scales(nn.Module):
    """Two coupled states of different sizes: {"coarse": (2,), "fine": (2, 1)}; x is a pair."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.mix = nn.Parameter(0.3 * torch.randn(4, 4, generator=generator, dtype=torch.float64))

    def forward(self, z, x):
        first, second = x
        flat = torch.cat([z["coarse"], z["fine"].flatten(1)], 1) @ self.mix
        new = torch.sin(flat + torch.cat([first, second.flatten(1)], 1))
        return {"coarse": new[:, :2], "fine": new[:, 2:].reshape(-1, 2, 1)}


def inputs(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters()}
