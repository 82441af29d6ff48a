"""Convolution on a torus, by its blocks over frequencies: exact inverse, norm and margin at the cost of small matrices.

A convolution with stride r does not commute with shifts by one pixel, but with shifts by r: its r² sub-grids are taken
as channels (pixel_unshuffle), and it is an ordinary convolution on the coarse grid; so is its product with its adjoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


def spectrum(kernel: Tensor, grid: tuple[int, int], phase_in: int = 1, phase_out: int = 1) -> Tensor:
    """The blocks of (A z)[o, p] = Σ K[o, i, δ] z[i, p + δ], δ centred, indices modulo the grid, as in conv2d.

    Args:
        kernel: K, (out, in, kh, kw), odd kh and kw.
        grid: (h, w), the coarse grid.
        phase_in: r, when the input lives on the grid (rh, rw).
        phase_out: r for a convolution of that grid to itself, or 1 for one with stride r.

    Returns:
        (h, w//2 + 1, out·phase_out², in·phase_in²), complex, differentiable with respect to the kernel.
    """
    h, w = grid
    r, (kh, kw) = phase_in, kernel.shape[2:]
    real = {"dtype": kernel.dtype, "device": kernel.device}
    rows = _axis(kh, h, r, phase_out, torch.arange(h, **real))
    columns = _axis(kw, w, r, phase_out, torch.arange(w // 2 + 1, **real))
    blocks = torch.einsum("xabk,oikl,ycdl->xyoacibd", rows, kernel.to(rows.dtype), columns)
    return blocks.reshape(h, w // 2 + 1, kernel.shape[0] * phase_out**2, kernel.shape[1] * r**2)


def _axis(k: int, n: int, phase_in: int, phase_out: int, frequency: Tensor) -> Tensor:
    """e^{iωΔ} at [ω, a, b, δ] where position a + δ is position b of the cell Δ away, and zero elsewhere."""
    table = torch.zeros(len(frequency), phase_out, phase_in, k, dtype=(1j * frequency).dtype, device=frequency.device)
    for a in range(phase_out):
        for tap in range(k):
            cell, b = divmod(a + tap - k // 2, phase_in)
            table[:, a, b, tap] = torch.polar(torch.ones_like(frequency), 2 * math.pi * cell / n * frequency)
    return table


@dataclass(frozen=True, eq=False)
class CircularConv:
    """A convolution on a torus, real to real, given by one complex block per frequency.

    Args:
        spectrum: (h, w//2 + 1, rows, columns), as `spectrum` makes it; sums, products and adjoints of blocks are again
            convolutions.
        grid: (h, w).
        phase_in: the input is (columns/r², rh, rw).
        phase_out: the output is (rows/r², rh, rw).
    """

    spectrum: Tensor
    grid: tuple[int, int]
    phase_in: int = 1
    phase_out: int = 1

    @property
    def rows(self) -> int:
        """Numbers in an output."""
        return self.spectrum.shape[2] * math.prod(self.grid)

    @property
    def columns(self) -> int:
        """Numbers in an input."""
        return self.spectrum.shape[3] * math.prod(self.grid)

    @property
    def size(self) -> int:
        """Numbers in a row, for a square operator."""
        return self.columns

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an input."""
        r, (h, w) = self.phase_in, self.grid
        return self.spectrum.shape[3] // r**2, r * h, r * w

    def apply(self, z: Tensor) -> Tensor:
        """W z for every row of z (…, columns)."""
        return self._product(z, self.spectrum.mT, self.phase_in, self.phase_out)

    def adjoint(self, z: Tensor) -> Tensor:
        """Wᵀ z for every row of z (…, rows)."""
        return self._product(z, self.spectrum.conj(), self.phase_out, self.phase_in)

    def resolvent(self, alpha: float) -> CircularConv:
        """V = ((1 + α)I − αW)⁻¹, frequency by frequency, for α > 0."""
        inverse = torch.linalg.inv((1 + alpha) * self._identity() - alpha * self.spectrum)
        return CircularConv(inverse, self.grid, self.phase_in, self.phase_out)

    def margin(self) -> Tensor:
        """m, the smallest eigenvalue of the symmetric part of I − W, over all frequencies; a scalar."""
        return torch.linalg.eigvalsh(self._identity() - (self.spectrum + self.spectrum.mH) / 2).min()

    def norm(self) -> Tensor:
        """‖W‖₂, the largest norm of a block; a scalar."""
        return torch.linalg.matrix_norm(self.spectrum, 2).max()

    def _identity(self) -> Tensor:
        return torch.eye(self.spectrum.shape[-1], dtype=self.spectrum.dtype, device=self.spectrum.device)

    def _product(self, z: Tensor, blocks: Tensor, phase_in: int, phase_out: int) -> Tensor:
        """Rows of channels times blocks (h, w//2 + 1, in, out); a plain transpose brings the frequencies first."""
        h, w = self.grid
        inner, outer = blocks.shape[2:]
        image = z.reshape(-1, inner // phase_in**2, phase_in * h, phase_in * w)
        image = pixel_unshuffle(image, phase_in) if phase_in > 1 else image
        count = len(image)
        signal = torch.fft.rfft2(image).reshape(count * inner, -1).mT.reshape(-1, count, inner)
        out = torch.bmm(signal, blocks.reshape(-1, inner, outer)).reshape(h, -1, count, outer)
        image = torch.fft.irfft2(out.permute(2, 3, 0, 1), s=(h, w))
        image = pixel_shuffle(image, phase_out) if phase_out > 1 else image
        return image.reshape(*z.shape[:-1], -1)
