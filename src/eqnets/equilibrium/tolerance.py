"""When an iterate is an equilibrium: one dimension-independent test, and what a dtype can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from eqnets.equilibrium import native
from eqnets.equilibrium.solver import Point
from eqnets.errors import InputError

# (rtol, atol) by the dtype f computes in; half precisions follow from the floor.
_DEFAULTS = {torch.float64: (1e-9, 1e-11), torch.float32: (1e-4, 1e-5)}


@dataclass(frozen=True)
class Tolerance:
    """A sample has converged where the RMS over its state of (f(z) − z)/(atol + rtol |f(z)|) is below 1.

    Args:
        rtol: relative to |f(z)|, elementwise.
        atol: absolute.
    """

    rtol: float
    atol: float

    @cached_property
    def _atol(self) -> Tensor:
        """The tolerance at f(z) = 0, as a tensor: adding rtol |f(z)| to it is one operation."""
        return torch.tensor(self.atol, dtype=torch.float64, device="cpu")

    def judge(self, z: Tensor, fz: Tensor) -> Point:
        """Compare an iterate with its image.

        Args:
            z: (batch, n).
            fz: (batch, n), f(z).

        Returns:
            Both, with the residual.
        """
        steps = native.steps(z, fz)
        if steps is not None:
            z, fz = z.contiguous(), fz.contiguous()
            return Point(z, fz, native.residual(steps, z, fz, self.rtol, self.atol), steps=steps)
        r = fz - z
        return Point(z, fz, self.residual(fz.detach(), r.detach()), r)

    def residual(self, fz: Tensor, r: Tensor) -> np.ndarray:
        """The residual per sample, in units of the tolerance.

        Args:
            fz: (batch, n), f(z).
            r: (batch, n), f(z) − z.

        Returns:
            (batch,), on the host; not finite where fz is not.
        """
        unit = math.sqrt(max(r.shape[1], 1))
        if self.rtol == 0.0 < self.atol:  # the scale is one number: one pass over the state instead of four
            return torch.linalg.vector_norm(r, dim=1).div_(self.atol * unit).numpy(force=True)
        scale = torch.add(self._atol, fz.abs(), alpha=self.rtol)
        return torch.linalg.vector_norm(torch.div(r, scale, out=scale), dim=1).numpy(force=True) / unit


def tolerance(rtol: float | None, atol: float | None, dtype: torch.dtype) -> Tolerance:
    """The tolerance for a compute dtype: the defaults, or the caller's numbers if the dtype can show them.

    The defaults are rtol 1e-9 and atol 1e-11 in float64, 1e-4 and 1e-5 in float32, and 10 eps in half precisions.

    Args:
        rtol: None is the default.
        atol: None is the default.
        dtype: what f computes in (under autocast: the autocast dtype).

    Returns:
        The tolerance.

    Raises:
        InputError: not a finite number ≥ 0, both zero, or rtol below 10 eps of the dtype, which rounding error hides.
    """
    floor = 10 * torch.finfo(dtype).eps
    default = _DEFAULTS.get(dtype, (floor, floor))
    for name, value in (("rtol", rtol), ("atol", atol)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value < math.inf):
            raise InputError(f"{name} must be a finite number ≥ 0, or None for the dtype's default; got {value!r}.")
    if rtol is not None and rtol < floor and (atol is None or atol < floor):
        raise InputError(
            f"rtol={rtol:g} is below what {str(dtype).removeprefix('torch.')} can show; ask for at least {floor:.1e} "
            f"(10 eps), or an atol of that size, or compute in a wider dtype."
        )
    return Tolerance(default[0] if rtol is None else float(rtol), default[1] if atol is None else float(atol))
