"""Linear operators W of a monotone network: apply, adjoint, resolvent, symmetric margin, norm.

An operator acts on flat rows (…, size), whatever shape the signal has inside, so that dense, convolutional and
multi-tier networks are one algorithm. The resolvent is V = (I + α(I − W))⁻¹ = ((1 + α)I − αW)⁻¹, factorised once; the
margin is the largest m with (I − W) + (I − W)ᵀ ≽ 2mI. Winston & Kolter, "Monotone operator equilibrium networks", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from eqnets.equilibrium import dense
from eqnets.errors import InputError
from eqnets.system.convolution import CircularConv


@dataclass(frozen=True, eq=False)
class Dense:
    """A matrix.

    Args:
        matrix: W, (size, size).
    """

    matrix: Tensor

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return self.matrix.shape[-1]

    def apply(self, z: Tensor) -> Tensor:
        """W z for every row of z (…, size)."""
        return z @ self.matrix.mT

    def adjoint(self, z: Tensor) -> Tensor:
        """Wᵀ z for every row of z (…, size)."""
        return z @ self.matrix

    def resolvent(self, alpha: float) -> Dense:
        """V = ((1 + α)I − αW)⁻¹, for α > 0; it exists for every α where the margin is not negative."""
        if not bool(self.matrix.isfinite().all()):  # the inverse of infinity is a finite zero, and would hide it
            return Dense(torch.full_like(self.matrix, torch.nan))
        found = dense.resolvent(self.matrix, alpha)
        return Dense(torch.linalg.inv((1 + alpha) * self._identity() - alpha * self.matrix) if found is None else found)

    def margin(self) -> Tensor:
        """m, the smallest eigenvalue of the symmetric part of I − W; a scalar, NaN where W is not finite."""
        symmetric = self._identity() - (self.matrix + self.matrix.mT) / 2
        if not bool(symmetric.isfinite().all()):  # LAPACK would speak of convergence
            return symmetric.new_tensor(torch.nan)
        return torch.linalg.eigvalsh(symmetric)[0]

    def norm(self) -> Tensor:
        """‖W‖₂, a scalar."""
        return torch.linalg.matrix_norm(self.matrix, 2)

    def _identity(self) -> Tensor:
        return torch.eye(self.size, dtype=self.matrix.dtype, device=self.matrix.device)


@dataclass(frozen=True, eq=False)
class BlockBidiagonal:
    """Tiers in a chain: (W z)_i = D_i z_i + C_i z_{i−1}, each z_i a signal on its own grid.

    Args:
        diagonal: D_i, square.
        coupling: C_1, C_2, …, from tier i − 1 to tier i.

    Raises:
        InputError: the sizes of neighbours do not fit.
    """

    diagonal: tuple[CircularConv, ...]
    coupling: tuple[CircularConv, ...]

    def __post_init__(self) -> None:
        sizes = [(operator.size, operator.size) for operator in self.diagonal]
        for (_, rows), (columns, _), operator in zip(sizes[1:], sizes[:-1], self.coupling, strict=True):
            if (operator.rows, operator.columns) != (rows, columns):
                raise InputError(
                    f"a coupling of {operator.columns} to {operator.rows} does not join tiers of {columns} and {rows}."
                )

    @property
    def size(self) -> int:
        """Numbers in a row: the tiers one after another."""
        return sum(operator.size for operator in self.diagonal)

    def split(self, z: Tensor) -> Sequence[Tensor]:
        """The tiers of a row, (…, size of the tier) each."""
        return z.split([operator.size for operator in self.diagonal], dim=-1)

    def apply(self, z: Tensor) -> Tensor:
        """W z for every row of z (…, size)."""
        tiers = self.split(z)
        out = [D.apply(t) for D, t in zip(self.diagonal, tiers, strict=True)]
        for i, C in enumerate(self.coupling):
            out[i + 1] = out[i + 1] + C.apply(tiers[i])
        return torch.cat(out, dim=-1)

    def adjoint(self, z: Tensor) -> Tensor:
        """Wᵀ z for every row of z (…, size)."""
        tiers = self.split(z)
        out = [D.adjoint(t) for D, t in zip(self.diagonal, tiers, strict=True)]
        for i, C in enumerate(self.coupling):
            out[i] = out[i] + C.adjoint(tiers[i + 1])
        return torch.cat(out, dim=-1)

    def resolvent(self, alpha: float) -> Substitution:
        """V = ((1 + α)I − αW)⁻¹ as a substitution over tiers, for α > 0."""
        return Substitution(alpha, tuple(D.resolvent(alpha) for D in self.diagonal), self)

    def margin(self) -> Tensor:
        """m, the smallest eigenvalue of the symmetric part of I − W, over the frequencies of the coarsest grid."""
        blocks = self.blocks()
        return torch.linalg.eigvalsh(torch.eye(blocks.shape[-1]).to(blocks) - (blocks + blocks.mH) / 2).min()

    def norm(self) -> Tensor:
        """‖W‖₂, over the frequencies of the coarsest grid."""
        return torch.linalg.matrix_norm(self.blocks(), 2).max()

    def blocks(self) -> Tensor:
        """W as one complex block per frequency of the coarsest grid, from its response to impulses.

        W commutes with shifts by one coarse cell, so that the points of a cell are channels of a convolution.
        """  # noqa: DOC201
        h, w = self.diagonal[-1].grid
        shapes = [operator.shape for operator in self.diagonal]
        phases = [shape[1] // h for shape in shapes]
        counts = [shape[0] * phase**2 for shape, phase in zip(shapes, phases, strict=True)]
        like, total = self.diagonal[0].spectrum.real, sum(counts)
        cells = torch.zeros(total, total, h, w, dtype=like.dtype, device=like.device)
        cells[range(total), range(total), 0, 0] = 1
        rows = [pixel_shuffle(c, phase) for c, phase in zip(cells.split(counts, dim=1), phases, strict=True)]
        out = self.split(self.apply(torch.cat([row.flatten(1) for row in rows], dim=1)))
        found = [pixel_unshuffle(t.unflatten(1, s), p) for t, s, p in zip(out, shapes, phases, strict=True)]
        return torch.fft.rfft2(torch.cat(found, dim=1)).permute(2, 3, 1, 0)


@dataclass(frozen=True, eq=False)
class Substitution:
    """The resolvent of a chain of tiers: x_i = V_i (b_i + α C_i x_{i−1}), from the first tier to the last.

    Args:
        alpha: α.
        factors: V_i, the resolvents of the diagonal.
        chain: the operator that it is the resolvent of.
    """

    alpha: float
    factors: tuple[CircularConv, ...]
    chain: BlockBidiagonal

    def apply(self, b: Tensor) -> Tensor:
        """V b for every row of b (…, size)."""
        first, *rest = self.chain.split(b)
        x = [self.factors[0].apply(first)]
        for V, C, tier in zip(self.factors[1:], self.chain.coupling, rest, strict=True):
            x.append(V.apply(tier + self.alpha * C.apply(x[-1])))
        return torch.cat(x, dim=-1)

    def adjoint(self, b: Tensor) -> Tensor:
        """Vᵀ b for every row of b (…, size): the same from the last tier to the first."""
        tiers = list(self.chain.split(b))
        x = [self.factors[-1].adjoint(tiers.pop())]
        for V, C in zip(self.factors[-2::-1], self.chain.coupling[::-1], strict=True):
            x.append(V.adjoint(tiers.pop() + self.alpha * C.adjoint(x[-1])))
        return torch.cat(x[::-1], dim=-1)


__all__ = ["BlockBidiagonal", "CircularConv", "Dense", "Substitution"]
