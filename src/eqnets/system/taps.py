"""Convolutions on a torus of cells by their real taps, and the static LFR whose D11 and D12 are such operators.

(K z)[p] = Σ_Δ K_Δ z[p + Δ]: cells p, Δ are counted on one grid (for several tiers the coarsest); the pixels that a
finer tier has inside a cell are channels of it. Sums, products and transposes of taps are taps, without a Fourier
transform: the explicit form of a convolutional network, with its exact zeros.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system import nonlinearity
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Activation, Nonlinearity

Shift = tuple[int, int]
LARGEST_DENSE = 4000
"""Neurons of a network that may be written out: D11 is then 128 MB."""


@dataclass(frozen=True, eq=False)
class Taps:
    """An operator that commutes with shifts by a cell.

    Args:
        at: the matrices K_Δ, (rows, columns) each and of one dtype, by the shift Δ in cells; at least one.
    """

    at: Mapping[Shift, Tensor]

    @classmethod
    def of(cls, kernel: Tensor, phase_in: int = 1, phase_out: int = 1) -> Taps:
        """A kernel as conv2d takes it: (A z)[o, p] = Σ A[o, i, k] z[i, s p + k − centre], s = phase_in/phase_out.

        Args:
            kernel: (out, in, kh, kw), odd kh and kw.
            phase_in: the input has phase_in² pixels in a cell.
            phase_out: the output has phase_out² pixels in a cell; phase_in/phase_out is the stride.

        Returns:
            The taps, (out·phase_out², in·phase_in²), channels ordered as by pixel_unshuffle.
        """
        rows, columns, height, width = kernel.shape
        found: dict[Shift, Tensor] = {}
        shape = (rows, phase_out, phase_out, columns, phase_in, phase_in)
        for a, k in _pairs(phase_out, height):
            dy, b = divmod(a * (phase_in // phase_out) + k - height // 2, phase_in)
            for c, l in _pairs(phase_out, width):
                dx, d = divmod(c * (phase_in // phase_out) + l - width // 2, phase_in)
                matrix = found.setdefault((dy, dx), kernel.new_zeros(shape))
                matrix[:, a, c, :, b, d] += kernel[:, :, k, l]
        return cls({at: matrix.reshape(rows * phase_out**2, columns * phase_in**2) for at, matrix in found.items()})

    @classmethod
    def identity(cls, like: Taps) -> Taps:
        """The identity on the columns of another operator."""
        matrix = next(iter(like.at.values()))
        return cls({(0, 0): torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)})

    @classmethod
    def blocks(cls, parts: Sequence[Sequence[Taps | None]]) -> Taps:
        """A matrix of operators; None is zero, and every row and column holds at least one operator."""
        heights = [next(t.shape[0] for t in row if t is not None) for row in parts]
        widths = [next(t.shape[1] for t in column if t is not None) for column in zip(*parts, strict=True)]
        shifts = {at for row in parts for t in row if t is not None for at in t.at}
        like = next(iter(next(t for row in parts for t in row if t is not None).at.values()))

        def entry(t: Taps | None, at: Shift, i: int, j: int) -> Tensor:
            return t.at[at] if t is not None and at in t.at else like.new_zeros(heights[i], widths[j])

        def whole(at: Shift) -> Tensor:
            rows = [torch.cat([entry(t, at, i, j) for j, t in enumerate(row)], 1) for i, row in enumerate(parts)]
            return torch.cat(rows)

        return cls({at: whole(at) for at in sorted(shifts)})

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers per cell: rows, columns."""
        matrix = next(iter(self.at.values()))
        return matrix.shape[0], matrix.shape[1]

    @property
    def mT(self) -> Taps:
        """The adjoint: K_{−Δ}ᵀ."""
        return Taps({(-dy, -dx): matrix.mT for (dy, dx), matrix in self.at.items()})

    def map(self, function: Callable[[Tensor], Tensor]) -> Taps:
        """The same with a function applied to every matrix."""
        return Taps({at: function(matrix) for at, matrix in self.at.items()})

    def __neg__(self) -> Taps:
        return self.map(torch.neg)

    def __add__(self, other: Taps) -> Taps:
        total = dict(self.at)
        for at, matrix in other.at.items():
            total[at] = total[at] + matrix if at in total else matrix
        return Taps(total)

    def __sub__(self, other: Taps) -> Taps:
        return self + (-other)

    def __rmul__(self, factor: float) -> Taps:
        return self.map(lambda matrix: factor * matrix)

    def __matmul__(self, other: Taps) -> Taps:
        total: dict[Shift, Tensor] = {}
        for (ay, ax), a in self.at.items():
            for (by, bx), b in other.at.items():
                at, product = (ay + by, ax + bx), a @ b
                total[at] = total[at] + product if at in total else product
        return Taps(total)


def _pairs(phases: int, size: int) -> list[tuple[int, int]]:
    return [(a, k) for a in range(phases) for k in range(size)]


@dataclass(frozen=True, eq=False)
class ConvLFR:
    """A static LFR on a grid of cells: w = φ(W w + U u + b), y = w; W and U convolutions, no state.

    Where `border` is not 0, w is held at zero on a border of so many cells around the picture, and u lives inside it:
    on a torus of that size the taps then act as on an unbounded plane, which is zero padding.

    Args:
        W: (n, n) per cell, the operator D11.
        U: (n, k) per cell, the operator D12.
        b: (n,), the same in every cell.
        grid: height and width in cells, the border included.
        activation: a name or a `Nonlinearity`, one for all neurons.
        border: in cells.

    Raises:
        InputError: shapes or dtypes do not fit, or the taps reach around the torus over the border.
    """

    W: Taps
    U: Taps
    b: Tensor
    grid: tuple[int, int]
    activation: Activation = "relu"  # type: ignore[assignment]
    border: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", nonlinearity.get(self.activation))
        if not isinstance(self.activation, Nonlinearity):
            raise InputError("a convolutional network has one activation for all neurons; give a single name.")
        n = len(self.b)
        if self.W.shape != (n, n) or self.U.shape[0] != n:
            raise InputError(
                f"W {self.W.shape}, U {self.U.shape} and b ({n},) do not fit; W is (n, n), U (n, k) per cell."
            )
        kinds = {matrix.dtype for taps in (self.W, self.U) for matrix in taps.at.values()} | {self.b.dtype}
        if len(kinds) > 1:
            raise InputError(f"W, U and b must share one dtype, got {', '.join(sorted(map(str, kinds)))}.")
        reach = max(abs(d) for taps in (self.W, self.U) for at in taps.at for d in at)
        if self.border and reach > 2 * self.border:
            raise InputError(
                f"taps reach {reach} cells, over a border of {self.border}; it takes half the reach or more."
            )

    def __repr__(self) -> str:
        return (
            f"ConvLFR(n={len(self.b)} and k={self.U.shape[1]} per cell, grid={self.grid}, border={self.border}, "
            f"activation={self.activation.name[:40]}, {str(self.b.dtype).removeprefix('torch.')})"
        )

    @property
    def nv(self) -> int:
        """Neurons, the border included."""
        return len(self.b) * math.prod(self.grid)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the taps."""
        return self.b.dtype

    def to(self, *args: Any, **kwargs: Any) -> ConvLFR:
        """The same network with every tap moved as by `torch.Tensor.to` (a dtype, a device)."""
        W, U = (taps.map(lambda matrix: matrix.to(*args, **kwargs)) for taps in (self.W, self.U))
        return replace(self, W=W, U=U, b=self.b.to(*args, **kwargs))

    def detach(self) -> ConvLFR:
        """The same network, cut from the autograd graph."""
        return replace(self, W=self.W.map(Tensor.detach), U=self.U.map(Tensor.detach), b=self.b.detach())

    def unrolled(self) -> LFR:
        """The same network as an LFR with dense blocks, number for number: for small pictures, and for files of proofs.

        Returns:
            Static, float64, detached, y = w; D11 and the outputs are (n, height, width), flat, u is (k, height, width),
            flat, both without the border.

        Raises:
            InputError: there are too many neurons for dense blocks, or taps that meet on a torus smaller than their
                reach have no exact sum in float64.
        """  # noqa: DOC502
        height, width = (side - 2 * self.border for side in self.grid)
        count = len(self.b) * height * width
        if count > LARGEST_DENSE:
            raise InputError(
                f"{count} neurons are too many for a dense D11, at most {LARGEST_DENSE}; certify the ConvLFR itself."
            )
        D11, D12 = (self._dense(taps, height, width) for taps in (self.W, self.U))
        eye, bias = torch.eye(count, dtype=torch.float64), self.b.detach().double()
        return LFR(
            D11=D11, D12=D12, D21=eye, D22=torch.zeros_like(D12), bv=bias.repeat_interleave(height * width),
            activation=self.activation,
        )  # fmt: skip

    def _dense(self, taps: Taps, height: int, width: int) -> Tensor:
        rows, columns = taps.shape
        total = torch.zeros(height, width, height, width, rows, columns, dtype=torch.float64)
        for shift, matrix in taps.at.items():
            begin, end = [], []
            for side, inner, delta in zip(self.grid, (height, width), shift, strict=True):
                place = torch.arange(inner)
                other = (place + self.border + delta) % side - self.border
                inside = (other >= 0) & (other < inner)
                begin.append(place[inside])
                end.append(other[inside])
            (y, x), (v, u) = (torch.meshgrid(*pair, indexing="ij") for pair in (begin, end))
            old, tap = total[y, x, v, u], matrix.detach().double()
            new = old + tap
            back = new - old
            if bool(((old - (new - back)) + (tap - back)).any()):  # the error of a floating-point sum, exactly
                raise InputError(
                    f"taps meet on the {self.grid} torus, and their sums are no float64; take a larger picture."
                )
            total[y, x, v, u] = new
        return total.permute(4, 0, 1, 5, 2, 3).reshape(rows * height * width, columns * height * width)

    def digest(self) -> str:
        """The sha256 of taps, bias, grid, border and activation; float32 at its exact float64 value."""
        sha = hashlib.sha256()
        for name, taps in (("W", self.W), ("U", self.U)):
            for at, matrix in sorted(taps.at.items(), key=lambda pair: pair[0]):
                sha.update(f"{name}{at}:{tuple(matrix.shape)};".encode() + _bytes(matrix))
        sha.update(_bytes(self.b) + f"{self.grid};{self.border};activation:{self.activation.name}".encode())
        return sha.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().to("cpu", torch.float64).contiguous().numpy().astype("<f8").tobytes()
