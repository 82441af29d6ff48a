"""How far an adversary moves the outputs of a model of the F16 benchmark; the same budget for every kind of model.

The perturbation d of a base input u has ‖d‖₂ = 0.05 over the whole sequence (standardised signals, same initial state).
Each step sets d to the gradient of ‖Δy‖, brought to that size: a power iteration, which has no step size to tune. Along
the measured input this gives the deviation that the lecture draws. Then u ascends too (Adam on log ‖Δy‖), and the best
ratio ‖Δy‖/‖d‖ is the observed gain: a lower bound of the true one. What is returned is measured, in float64.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SIZE, ALONG, FREE, TIME = 0.05, 40, 40, 1500


@dataclass(frozen=True)
class Attack:
    """What was found.

    Args:
        deviation: Δy (time, ny) along the measured input.
        along: ‖Δy‖/‖d‖ there.
        gain: the best ratio, over inputs too.
    """

    deviation: Tensor
    along: float
    gain: float


def attack(model: nn.Module, u: Tensor, *, along: int = ALONG, free: int = FREE, seed: int = 0) -> Attack:
    """Attack one model.

    Args:
        model: y, x = model(u).
        u: (time, nu), the measured input.
        along: steps along it.
        free: steps in which the input ascends as well.
        seed: of the first perturbation.
    """
    model = copy.deepcopy(model).double().requires_grad_(False)
    u = u.double().clone()
    d = torch.randn(u.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    d = SIZE * d / d.norm()
    optimiser = torch.optim.Adam([u], lr=0.05)
    deviation, best = torch.zeros(0), [0.0, 0.0]
    for step in range(along + free):
        moves = step >= along
        d.requires_grad_(True)
        u.requires_grad_(moves)
        y = model(torch.stack([u, u + d]))[0]
        dy = y[1] - y[0]
        ratio = float(dy.detach().norm()) / SIZE
        if ratio > best[moves]:
            best[moves] = ratio
            deviation = deviation if moves else dy.detach()
        found = torch.autograd.grad(dy.norm().log(), [d, u] if moves else [d])
        d = (SIZE * found[0] / found[0].norm()).detach()
        if moves:
            u.grad = -found[1]
            optimiser.step()
            u = u.detach_()
    return Attack(deviation, best[0], max(best))
