"""The explicit form of the convolutional monotone networks: kernels to taps, in real space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eqnets.system.taps import ConvLFR, Taps

if TYPE_CHECKING:
    from eqnets.models.monotone_conv import MonotoneConvDEQ
    from eqnets.models.multi_tier import MultiTierDEQ


def one_grid(model: MonotoneConvDEQ) -> ConvLFR:
    """A network on one grid as a static LFR, y = z; float64, differentiable.

    Args:
        model: whose kernels are taken.

    Returns:
        The network; W has the kernel size 2k − 1.
    """
    A, B, U = (Taps.of(kernel.double()) for kernel in (model.A, model.B, model.U))
    W = (1 - model.m) * Taps.identity(A) - A.mT @ A + B - B.mT
    return ConvLFR(W, U, model.b.double(), model.grid, model.activation, model.border)


def tiers(model: MultiTierDEQ) -> ConvLFR:
    """A multi-tier network as a static LFR on its coarsest grid, y = z; float64, differentiable.

    Args:
        model: whose kernels are taken.

    Returns:
        The network; the neurons of a cell are ordered as in `BlockBidiagonal.blocks`.
    """
    count = len(model.shapes)
    phases = [2 ** (count - 1 - i) for i in range(count)]  # pixels of each tier along a cell of the coarsest
    A, B = ([Taps.of(kernel.double(), r, r) for kernel, r in zip(kernels, phases, strict=True)]
            for kernels in (model.A, model.B))  # fmt: skip
    C = [Taps.of(kernel.double(), r, r // 2) for kernel, r in zip(model.C, phases, strict=False)]
    parts: list[list[Taps | None]] = [[None] * count for _ in range(count)]
    for i in range(count):
        W = (1 - model.m) * Taps.identity(A[i]) - A[i].mT @ A[i] + B[i] - B[i].mT
        parts[i][i] = W - C[i].mT @ C[i] if i + 1 < count else W
        if i:
            parts[i][i - 1] = -2 * (A[i].mT @ C[i - 1])
    first = Taps.of(model.U.double(), phases[0], phases[0])
    b = torch.cat([bias.double().repeat_interleave(r**2) for bias, r in zip(model.b, phases, strict=True)])
    U = first.map(lambda matrix: _filled(matrix, len(b)))
    return ConvLFR(Taps.blocks(parts), U, b, (model.shapes[-1][1], model.shapes[-1][2]), model.activation)


def _filled(matrix: Tensor, rows: int) -> Tensor:
    return torch.cat([matrix, matrix.new_zeros(rows - len(matrix), matrix.shape[1])])
