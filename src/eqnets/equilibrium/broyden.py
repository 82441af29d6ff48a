"""Broyden's good method with a limited memory, in the compact form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from eqnets.equilibrium.secant import Secant, combine, dots
from eqnets.equilibrium.solver import Point


@dataclass(frozen=True)
class Broyden(Secant):
    """z⁺ = z + r + ΔF (N − SᵀΔF)⁻¹ Sᵀr, with the last `memory` steps S and differences ΔF, r = f(z) − z.

    N is the upper triangle of SᵀS by age. That is good Broyden from J = 0 over the pairs in memory: when it is full the
    oldest pair goes, and the others stay as they are. Source: Byrd, Nocedal & Schnabel, Math. Program. 63 (1994),
    theorem 6.1, inverted.

    Args:
        memory: how many pairs are kept; memory 2·memory·batch·n numbers.
        safeguard: the growth of the residual that is still accepted.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    memory: int = 10

    small: ClassVar[tuple[str, ...]] = ("steps", "cross")
    left_name: ClassVar[str] = "z"

    def mix(self, point: Point, state: dict[str, Any], slot: int) -> Tensor:
        """The quasi-Newton iterate.

        Args:
            point: the last good iterate.
            state: the memory.
            slot: which row is the newest.

        Returns:
            (batch, n).
        """
        S, dF, SS, SF = state["left"], state["right"], state["steps"], state["cross"]
        s = S[:, slot]
        row = dots(S, s)
        SS[:, slot, :] = row
        SS[:, :, slot] = row
        SF[:, :, slot] = dots(S, dF[:, slot])
        SF[:, slot, :] = dots(dF, s)
        age = (torch.arange(self.memory, device=s.device) - slot - 1) % self.memory  # the oldest is 0
        K = torch.where(age[:, None] <= age[None, :], SS, 0.0) - SF
        length = SS.diagonal(dim1=1, dim2=2)
        used = length > 0
        scale = torch.where(used, length, 1.0).rsqrt() * used
        K = K * (scale[:, :, None] * scale[:, None, :]) + torch.diag_embed((~used).to(K.dtype))
        gamma, info = torch.linalg.solve_ex(K, dots(S, point.r) * scale)
        gamma = gamma * -scale
        gamma = torch.where(((info == 0) & gamma.isfinite().all(1))[:, None], gamma, 0.0)
        return combine(point.fz, gamma, dF)
