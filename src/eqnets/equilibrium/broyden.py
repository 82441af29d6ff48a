"""Broyden's good method with a limited memory, in the compact form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from eqnets.equilibrium.secant import Memory, Secant, combine, dots, solved, write
from eqnets.equilibrium.solver import Point


@dataclass(frozen=True)
class Broyden(Secant):
    """z⁺ = f(z) − ΔF (SᵀΔF − N)⁻¹ Sᵀr, with the last `memory` steps S and differences ΔF, r = f(z) − z.

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

    left_name: ClassVar[str] = "z"

    def in_c(self, dtype: torch.dtype) -> tuple[bool, float, float]:
        """Broyden's method, which has no ridge and no damping."""
        del dtype
        return True, 0.0, 1.0

    def mix(self, point: Point, memory: Memory) -> Tensor:
        """The quasi-Newton iterate.

        Args:
            point: the last good iterate.
            memory: S, ΔF, and SᵀΔF − N: a new pair is the youngest, so that N has no more than its column.

        Returns:
            (batch, n).
        """
        S, dF, K, slot, before = memory
        write(K, slot, dots(dF, S.select(1, slot)), dots(S, point.r - before))  # Sᵀ(ΔF − s) of the newest
        gamma, info = torch.linalg.solve_ex(K, dots(S, point.r)[:, :, None])  # a vector would come back transposed
        return combine(point.fz, solved(gamma[:, :, 0], info), dF)
