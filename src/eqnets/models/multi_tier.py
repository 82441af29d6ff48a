"""The multi-tier convolutional monotone network: grids that halve, each tier fed by the finer one before it.

Source: Winston & Kolter, "Monotone operator equilibrium networks", NeurIPS 2020, section 4.3 and appendix D; the
treatment of strides by sub-grids instead of aliased frequencies is ours.
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
from eqnets.models.monotone_conv import check_kernel, drawn_kernel, grid_of, monotone_blocks, one_for_all
from eqnets.models.taps import tiers
from eqnets.system.convolution import CircularConv, spectrum
from eqnets.system.nonlinearity import Activation
from eqnets.system.operator import BlockBidiagonal
from eqnets.system.taps import ConvLFR


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
        sigma = one_for_all(activation)
        super().__init__(sigma, m, solver, adjoint, rtol, atol, max_steps, on_failure)
        check_size("in_channels", in_channels)
        for count in channels:
            check_size("channels", count)
        if len(channels) < 2:
            raise InputError("MultiTierDEQ needs at least two tiers; for one use MonotoneConvDEQ.")
        check_kernel(kernel_size)
        height, width = grid_of(shape, 2 ** (len(channels) - 1))
        self.in_channels, self.channels, self.activation = in_channels, tuple(channels), sigma
        self.shapes = [(c, height >> i, width >> i) for i, c in enumerate(channels)]
        self.reach = kernel_size // 2
        made = {"generator": generator, "dtype": dtype}
        self.A, self.B = (nn.ParameterList(drawn_kernel(c, c, kernel_size, **made) for c in channels) for _ in range(2))
        pairs = zip(channels[1:], channels[:-1], strict=True)
        self.C = nn.ParameterList(drawn_kernel(coarse, fine, kernel_size, **made) for coarse, fine in pairs)
        self.U = drawn_kernel(channels[0], in_channels, kernel_size, **made)
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
            diagonal.append(monotone_blocks(self.m, gram + couples[i].mH @ couples[i] if phase > 1 else gram, B))
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
            check_input(tier, *shape, name="a tier of z0")
        return torch.cat([tier.flatten(1) for tier in z], dim=1)

    def state(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows as a tuple of images."""
        parts = rows.split([c * h * w for c, h, w in self.shapes], dim=1)
        return tuple(part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True))

    def explicit(self) -> ConvLFR:
        """The tiers as one static LFR on the coarsest grid, y = z; float64, differentiable in the parameters."""
        return tiers(self)

    def extra_repr(self) -> str:
        """The options, for print."""
        return (
            f"{self.in_channels}, {self.channels}, {self.shapes[0][1:]}, kernel_size={self.U.shape[-1]}, m={self.m}, "
            f"activation={self.activation.name}, {self.solver}"
        )
