"""Anderson acceleration, type II, in difference form with a relative ridge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.equilibrium.secant import Memory, Secant, combine, dots, solved, write
from eqnets.equilibrium.solver import Point, check_number

RIDGE = {torch.float32: 1e-7, torch.float64: 1e-14}  # about eps: below it the Gram matrix holds rounding error


@dataclass(frozen=True)
class Anderson(Secant):
    """z⁺ = f(z) − ΔF γ − (1 − damping)(r − ΔR γ), where γ minimises ‖r − ΔR γ‖² and r = f(z) − z.

    The Gram matrix ΔRᵀΔR is updated by one row a step, and gets a ridge relative to its diagonal, so that the iterates
    do not depend on the units of z. Source: Walker & Ni, SIAM J. Numer. Anal. 49 (2011), eq. 2.2.

    Args:
        memory: how many differences are kept.
        safeguard: the growth of the residual that is still accepted.
        damping: in (0, 1]; 0.5 helps where f is only nonexpansive.
        ridge: relative to the diagonal; None: 1e-7 in float32, 1e-14 in float64.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    damping: float = 1.0
    ridge: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "damping", 0.0, 1.0, open_low=True)
        if self.ridge is not None:
            check_number(self, "ridge", 0.0, 1.0)

    def in_c(self, dtype: torch.dtype) -> tuple[bool, float, float]:
        """Not Broyden's method, and the options of this one."""
        return False, RIDGE[dtype] if self.ridge is None else self.ridge, self.damping

    def mix(self, point: Point, memory: Memory) -> Tensor:
        """The accelerated iterate.

        Args:
            point: the last good iterate.
            memory: ΔR, ΔF and the Gram matrix.

        Returns:
            (batch, n).
        """
        dR, dF, gram, slot, _ = memory
        row = dots(dR, dR.select(1, slot))
        write(gram, slot, row, row)
        gamma = self.weights(gram, dots(dR, point.r))
        z = combine(point.fz, gamma, dF)
        return z if self.damping == 1.0 else z - (1.0 - self.damping) * combine(point.r, gamma, dR)

    def weights(self, gram: Tensor, right: Tensor) -> Tensor:
        """γ = (ΔRᵀΔR + ridge)⁻¹ ΔRᵀr; zero for a sample whose matrix has no factor.

        Args:
            gram: (batch, used, used).
            right: (batch, used), ΔRᵀr.

        Returns:
            (batch, used).
        """
        _, ridge, _ = self.in_c(gram.dtype)
        raised = gram.clone()
        raised.diagonal(dim1=1, dim2=2).mul_(1.0 + ridge)
        factor, info = torch.linalg.cholesky_ex(raised)
        return solved(torch.cholesky_solve(right[:, :, None], factor)[:, :, 0], info)
