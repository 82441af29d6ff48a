"""The convolutional monotone network on one grid, circular or zero-padded.

Source: Winston & Kolter, "Monotone operator equilibrium networks", NeurIPS 2020, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from eqnets.equilibrium.adjoint import Adjoint
from eqnets.equilibrium.solver import Solver
from eqnets.errors import InputError
from eqnets.models.inclusion import PEACEMAN_RACHFORD, InclusionModel, check_input, check_size, uniform
from eqnets.models.taps import one_grid
from eqnets.system import nonlinearity
from eqnets.system.convolution import CircularConv, spectrum
from eqnets.system.elementwise import Nonlinearity, PerNeuron
from eqnets.system.nonlinearity import Activation
from eqnets.system.taps import ConvLFR

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
            return t.mul_(self.inside)
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
        sigma = one_for_all(activation)
        check_size("in_channels", in_channels)
        check_size("channels", channels)
        height, width = grid_of(shape, 1)
        check_kernel(kernel_size)
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
        self.A, self.B = (drawn_kernel(channels, channels, kernel_size, **made) for _ in range(2))
        self.U = drawn_kernel(channels, in_channels, kernel_size, **made)
        self.b = uniform(channels, fan_in=in_channels * kernel_size**2, **made)

    def weights(self) -> tuple[Tensor]:
        """The blocks of W over frequencies, (h, w//2 + 1, channels, channels, 2)."""
        A, B = (spectrum(kernel, self.grid) for kernel in (self.A, self.B))
        return (torch.view_as_real(monotone_blocks(self.m, A.mH @ A, B)),)

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
        check_input(z, self.channels, *self.shape, name="z0")
        return pad(z, (self.border,) * 4).flatten(1)

    def state(self, rows: Tensor) -> Tensor:
        """Rows as an image, without its border."""
        (h, w), k = self.shape, self.border
        return rows.unflatten(1, (self.channels, *self.grid))[:, :, k : k + h, k : k + w]

    def explicit(self) -> ConvLFR:
        """The network as a static LFR by its taps, y = z; float64, differentiable with respect to the parameters."""
        return one_grid(self)

    def extra_repr(self) -> str:
        """The options, for print."""
        return (
            f"{self.in_channels}, {self.channels}, {self.shape}, kernel_size={self.A.shape[-1]}, "
            f"padding={self.padding!r}, m={self.m}, activation={self.activation.name}, {self.solver}"
        )


def monotone_blocks(m: float, gram: Tensor, B: Tensor) -> Tensor:
    """The blocks of (1 − m)I − AᵀA + B − Bᵀ, frequency by frequency.

    Args:
        m: the margin.
        gram: the blocks of AᵀA, (h, w, n, n), complex.
        B: the blocks of B.

    Returns:
        (h, w, n, n).
    """
    identity = torch.eye(B.shape[-1], dtype=B.dtype, device=B.device)
    return (1 - m) * identity - gram + B - B.mH


def drawn_kernel(
    rows: int, columns: int, size: int, generator: torch.Generator | None, dtype: torch.dtype | None
) -> nn.Parameter:
    """A kernel as torch's convolutions start.

    Args:
        rows: channels out.
        columns: channels in.
        size: height and width.
        generator: source of randomness.
        dtype: of the parameter; None is torch's default.

    Returns:
        (rows, columns, size, size).
    """
    return uniform(rows, columns, size, size, fan_in=columns * size**2, generator=generator, dtype=dtype)


def one_for_all(activation: str | Activation) -> Nonlinearity:
    """The activation, if it is one prox for all neurons.

    Args:
        activation: a name or an object.

    Returns:
        The object.

    Raises:
        InputError: unknown, one per neuron, or with slopes outside [0, 1].
    """
    found = nonlinearity.get(activation)
    if isinstance(found, PerNeuron):
        raise InputError("a convolutional network has one activation for all neurons; give a single name.")
    found.require_prox()
    return found


def check_kernel(kernel_size: int) -> None:
    """Refuse a kernel without a centre.

    Args:
        kernel_size: height and width.

    Raises:
        InputError: not a positive odd integer.
    """
    check_size("kernel_size", kernel_size)
    if kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd, so that the kernel has a centre; got {kernel_size}.")


def grid_of(shape: tuple[int, int], divisor: int) -> tuple[int, int]:
    """Height and width, checked.

    Args:
        shape: (height, width).
        divisor: what must divide both.

    Returns:
        The same.

    Raises:
        InputError: not two positive integers, or not divisible.
    """
    if not isinstance(shape, Sequence) or len(shape) != 2:
        raise InputError(f"shape must be (height, width); got {shape!r}.")
    for name, value in zip(("height", "width"), shape, strict=True):
        check_size(name, value)
        if value % divisor:
            raise InputError(f"the {name} {value} must be divisible by {divisor}: each tier halves the grid.")
    return shape[0], shape[1]
