"""Convolutional monotone networks: one grid (circular or zero-padded), and tiers of ever coarser grids.

Source: Winston & Kolter, "Monotone operator equilibrium networks", NeurIPS 2020, sections 4.2 and 4.3; the treatment of
strides by sub-grids instead of aliased frequencies is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from eqnets.equilibrium.adjoint import Adjoint
from eqnets.equilibrium.solver import Solver
from eqnets.errors import InputError
from eqnets.models.inclusion import PEACEMAN_RACHFORD, InclusionModel, check_input, check_size, uniform
from eqnets.system import nonlinearity
from eqnets.system.convolution import CircularConv, spectrum
from eqnets.system.elementwise import Nonlinearity, PerNeuron
from eqnets.system.nonlinearity import Activation
from eqnets.system.operator import BlockBidiagonal

PADDINGS = ("circular", "zeros")


class Masked:
    """σ inside, zero on the border: the prox of σ's function plus the indicator of {0} there, so again a prox.

    Args:
        sigma: σ.
        inside: (n,), bool.
    """

    def __init__(self, sigma: Nonlinearity, inside: Tensor) -> None:
        self.sigma, self.inside = sigma, inside

    def _mask(self, t: Tensor, source: Tensor) -> Tensor:
        if self.inside.device != t.device:
            self.inside = self.inside.to(t.device)
        if not torch.is_grad_enabled() and t is not source:  # fresh, and held by no graph: saves a copy
            return t.masked_fill_(~self.inside, 0)
        return torch.where(self.inside, t, torch.zeros((), dtype=t.dtype, device=t.device))

    def value(self, v: Tensor) -> Tensor:
        """σ(v) inside, else 0."""
        return self._mask(self.sigma.value(v), v)

    def derivative(self, v: Tensor) -> Tensor:
        """σ'(v) inside, else 0."""
        return self._mask(self.sigma.derivative(v), v)

    def prox(self, x: Tensor, alpha: float) -> Tensor:
        """The prox with step α inside, else 0."""
        return self._mask(self.sigma.prox(x, alpha), x)


class MonotoneConvDEQ(InclusionModel):
    """z = σ(W z + U ∗ x + b) on a grid, with W = (1 − m)I − AᵀA + B − Bᵀ for convolutions A, B of any weights.

    The resolvent is exact, one small block per frequency. With zero padding the grid has a border of ⌊k/2⌋, where the
    nonlinearity is zero: W then acts as on an unbounded plane.

    Args:
        in_channels: of x, (batch, in_channels, height, width).
        channels: of z, (batch, channels, height, width).
        shape: (height, width).
        kernel_size: odd; W has the kernel size 2k − 1.
        padding: "circular" or "zeros".
        m: the margin, positive.
        activation: a name or an object with slopes in [0, 1], the same for all neurons.
        solver: of the equilibrium.
        adjoint: how to differentiate; None: exactly, by the same splitting with the same factor.
        rtol: relative tolerance; None is the default of the dtype.
        atol: absolute tolerance; None is the default of the dtype.
        max_steps: the most steps for a sample.
        on_failure: "warn", "raise" or "ignore", for the backward solve too.
        generator: source of randomness.
        dtype: of the parameters; None is torch's default.

    Raises:
        InputError: a size, m, an option, or an activation that is no prox.
    """

    def __init__(
        self, in_channels: int, channels: int, shape: tuple[int, int], kernel_size: int = 3, *,
        padding: str = "circular", m: float = 1.0, activation: str | Activation = "relu",
        solver: Solver = PEACEMAN_RACHFORD, adjoint: Adjoint | None = None, rtol: float | None = None,
        atol: float | None = None, max_steps: int = 1000, on_failure: str = "warn",
        generator: torch.Generator | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        sigma = _one_for_all(activation)
        check_size("in_channels", in_channels)
        check_size("channels", channels)
        height, width = _grid(shape, 1)
        _check_kernel(kernel_size)
        if padding not in PADDINGS:
            raise InputError(f"padding must be one of {', '.join(PADDINGS)}; got {padding!r}.")
        border = kernel_size // 2 if padding == "zeros" else 0
        grid = (height + 2 * border, width + 2 * border)
        inside = pad(torch.ones(channels, height, width), (border,) * 4).bool().flatten()
        super().__init__(
            Masked(sigma, inside) if border else sigma, m, solver, adjoint, rtol, atol, max_steps, on_failure
        )
        self.in_channels, self.channels, self.shape, self.grid = in_channels, channels, (height, width), grid
        self.activation, self.padding, self.border, self.reach = sigma, padding, border, kernel_size // 2
        made = {"generator": generator, "dtype": dtype}
        self.A, self.B = (_kernel(channels, channels, kernel_size, **made) for _ in range(2))
        self.U = _kernel(channels, in_channels, kernel_size, **made)
        self.b = uniform(channels, fan_in=in_channels * kernel_size**2, **made)

    def weights(self) -> tuple[Tensor]:
        """The blocks of W over frequencies, (h, w//2 + 1, channels, channels, 2)."""
        A, B = (spectrum(kernel, self.grid) for kernel in (self.A, self.B))
        return (torch.view_as_real(_monotone(self.m, A.mH @ A, B)),)

    def operator(self, blocks: Tensor) -> CircularConv:
        """The convolution with these blocks."""
        return CircularConv(torch.view_as_complex(blocks), self.grid)

    def bias(self, x: Tensor) -> Tensor:
        """U ∗ x + b on the grid, as rows."""
        check_input(x, self.in_channels, *self.shape)
        mode = "constant" if self.border else "circular"
        b = conv2d(pad(x, (self.reach,) * 4, mode=mode), self.U, self.b)
        return pad(b, (self.border,) * 4).flatten(1)

    def rows(self, z: Tensor) -> Tensor:
        """An image as rows, with its border."""
        check_input(z, self.channels, *self.shape)
        return pad(z, (self.border,) * 4).flatten(1)

    def state(self, rows: Tensor) -> Tensor:
        """Rows as an image, without its border."""
        (h, w), k = self.shape, self.border
        return rows.unflatten(1, (self.channels, *self.grid))[:, :, k : k + h, k : k + w]

    def extra_repr(self) -> str:
        """The options, for print."""
        return (
            f"{self.in_channels}, {self.channels}, {self.shape}, kernel_size={self.A.shape[-1]}, "
            f"padding={self.padding!r}, m={self.m}, activation={self.activation.name}, {self.solver}"
        )


class MultiTierDEQ(InclusionModel):
    """Tiers z_1, z_2, … on grids that halve, circular: each sees itself and the finer tier before it.

    W_ii = (1 − m)I − A_iiᵀA_ii − A_{i+1,i}ᵀA_{i+1,i} + B_ii − B_iiᵀ (the last tier without the middle term) and
    W_{i+1,i} = −2 A_{i+1,i+1}ᵀA_{i+1,i}, where A_{i+1,i} has stride 2 (appendix D). x enters the first tier.

    Args:
        in_channels: of x, (batch, in_channels, height, width).
        channels: of each tier, at least two.
        shape: (height, width) of the first tier, divisible by 2 for each further one.
        kernel_size: odd.
        m: the margin, positive.
        activation: a name or an object with slopes in [0, 1], the same for all neurons.
        solver: of the equilibrium.
        adjoint: how to differentiate; None: exactly, by the same splitting with the same factor.
        rtol: relative tolerance; None is the default of the dtype.
        atol: absolute tolerance; None is the default of the dtype.
        max_steps: the most steps for a sample.
        on_failure: "warn", "raise" or "ignore", for the backward solve too.
        generator: source of randomness.
        dtype: of the parameters; None is torch's default.

    Raises:
        InputError: a size, m, an option, or an activation that is no prox.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], shape: tuple[int, int], kernel_size: int = 3, *,
        m: float = 1.0, activation: str | Activation = "relu", solver: Solver = PEACEMAN_RACHFORD,
        adjoint: Adjoint | None = None, rtol: float | None = None, atol: float | None = None, max_steps: int = 1000,
        on_failure: str = "warn", generator: torch.Generator | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        sigma = _one_for_all(activation)
        super().__init__(sigma, m, solver, adjoint, rtol, atol, max_steps, on_failure)
        check_size("in_channels", in_channels)
        for count in channels:
            check_size("channels", count)
        if len(channels) < 2:
            raise InputError("MultiTierDEQ needs at least two tiers; for one use MonotoneConvDEQ.")
        _check_kernel(kernel_size)
        height, width = _grid(shape, 2 ** (len(channels) - 1))
        self.in_channels, self.channels, self.activation = in_channels, tuple(channels), sigma
        self.shapes = [(c, height >> i, width >> i) for i, c in enumerate(channels)]
        self.reach = kernel_size // 2
        made = {"generator": generator, "dtype": dtype}
        self.A, self.B = (nn.ParameterList(_kernel(c, c, kernel_size, **made) for c in channels) for _ in range(2))
        pairs = zip(channels[1:], channels[:-1], strict=True)
        self.C = nn.ParameterList(_kernel(coarse, fine, kernel_size, **made) for coarse, fine in pairs)
        self.U = _kernel(channels[0], in_channels, kernel_size, **made)
        fans = [in_channels, *channels[:-1]]
        self.b = nn.ParameterList(
            uniform(c, fan_in=f * kernel_size**2, **made) for c, f in zip(channels, fans, strict=True)
        )

    @property
    def _grids(self) -> list[tuple[tuple[int, int], int]]:
        """The grid of each diagonal block and its phases: the next coarser one and 2, but for the last tier."""
        coarse = [(shape[1:], 2) for shape in self.shapes[1:]]
        return [*coarse, (self.shapes[-1][1:], 1)]

    def weights(self) -> list[Tensor]:
        """The blocks of the diagonal, then those of the coupling."""
        couples = [spectrum(C, grid, 2) for C, (grid, _) in zip(self.C, self._grids, strict=False)]
        diagonal = []
        for i, (grid, phase) in enumerate(self._grids):
            A, B = (spectrum(kernel, grid, phase, phase) for kernel in (self.A[i], self.B[i]))
            gram = A.mH @ A
            diagonal.append(_monotone(self.m, gram + couples[i].mH @ couples[i] if phase > 1 else gram, B))
        # a slice of a ParameterList is a new one, which cuts the graph of lifted parameters: hence list(…)
        coupling = [
            -2 * spectrum(A, grid).mH @ C
            for A, C, (grid, _) in zip(list(self.A)[1:], couples, self._grids, strict=False)
        ]
        return [torch.view_as_real(blocks) for blocks in (*diagonal, *coupling)]

    def operator(self, *blocks: Tensor) -> BlockBidiagonal:
        """The chain of tiers with these blocks."""
        found, grids = [torch.view_as_complex(t) for t in blocks], self._grids
        return BlockBidiagonal(
            tuple(CircularConv(t, grid, phase, phase) for t, (grid, phase) in zip(found, grids, strict=False)),
            tuple(CircularConv(t, grid, 2) for t, (grid, _) in zip(found[len(grids) :], grids, strict=False)),
        )

    def bias(self, x: Tensor) -> Tensor:
        """U ∗ x + b in the first tier, b in the others, as rows."""
        check_input(x, self.in_channels, *self.shapes[0][1:])
        first = conv2d(pad(x, (self.reach,) * 4, mode="circular"), self.U, self.b[0])
        rest = [
            b[:, None].expand(len(x), c, h * w) for b, (c, h, w) in zip(list(self.b)[1:], self.shapes[1:], strict=True)
        ]
        return torch.cat([first.flatten(1), *(t.flatten(1) for t in rest)], dim=1)

    def rows(self, z: Any) -> Tensor:
        """The tiers as rows, one after another."""
        if not isinstance(z, tuple | list) or len(z) != len(self.shapes):
            raise InputError(f"a state of MultiTierDEQ is a tuple of {len(self.shapes)} tensors, one for each tier.")
        for tier, shape in zip(z, self.shapes, strict=True):
            check_input(tier, *shape)
        return torch.cat([tier.flatten(1) for tier in z], dim=1)

    def state(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows as a tuple of images."""
        parts = rows.split([c * h * w for c, h, w in self.shapes], dim=1)
        return tuple(part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True))

    def extra_repr(self) -> str:
        """The options, for print."""
        return (
            f"{self.in_channels}, {self.channels}, {self.shapes[0][1:]}, kernel_size={self.U.shape[-1]}, m={self.m}, "
            f"activation={self.activation.name}, {self.solver}"
        )


def _monotone(m: float, gram: Tensor, B: Tensor) -> Tensor:
    """(1 − m)I − AᵀA + B − Bᵀ, block by block."""
    identity = torch.eye(B.shape[-1], dtype=B.dtype, device=B.device)
    return (1 - m) * identity - gram + B - B.mH


def _kernel(
    rows: int, columns: int, size: int, generator: torch.Generator | None, dtype: torch.dtype | None
) -> nn.Parameter:  # fmt: skip
    return uniform(rows, columns, size, size, fan_in=columns * size**2, generator=generator, dtype=dtype)


def _one_for_all(activation: str | Activation) -> Nonlinearity:
    found = nonlinearity.get(activation)
    if isinstance(found, PerNeuron):
        raise InputError("a convolutional network has one activation for all neurons; give a single name.")
    found.require_prox()
    return found


def _check_kernel(kernel_size: int) -> None:
    check_size("kernel_size", kernel_size)
    if kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd, so that the kernel has a centre; got {kernel_size}.")


def _grid(shape: tuple[int, int], divisor: int) -> tuple[int, int]:
    if len(shape) != 2:
        raise InputError(f"shape must be (height, width); got {shape!r}.")
    for name, value in zip(("height", "width"), shape, strict=True):
        check_size(name, value)
        if value % divisor:
            raise InputError(f"the {name} {value} must be divisible by {divisor}: each tier halves the grid.")
    return shape[0], shape[1]
