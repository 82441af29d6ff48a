"""What every model that is an LFR shares: it is run by simulating the system that its parameters stand for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eqnets.errors import InputError
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate

HALF = (torch.float16, torch.bfloat16)


class Simulated(nn.Module):
    """Base of the models that are simulated. A subclass says which LFR its parameters stand for, and its settings."""

    def _rounded(self, dtype: torch.dtype) -> LFR:
        """The system in a dtype, differentiable with respect to the parameters."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The arguments with which the class gives a module that takes this one's state_dict; all fit in JSON."""
        raise NotImplementedError

    def explicit(self) -> LFR:
        """The system that the parameters stand for: float64, differentiable with respect to the parameters."""
        return self._rounded(torch.float64)

    def forward(self, u: Tensor, x0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Simulate in the dtype of u, float32 or float64; what is half precision is computed in the parameters' dtype.

        Args:
            u: the input, (batch, time, nu).
            x0: the initial state, (batch, nx) or (nx,); None is zero.

        Returns:
            y (batch, time, ny), y_t from x_t, and the state after the last sample, (batch, nx).

        Raises:
            InputError: a wrong shape or dtype.
        """
        if not isinstance(u, Tensor) or not u.is_floating_point():
            raise InputError("u must be a floating-point tensor (batch, time, nu).")
        if u.dtype in HALF:  # what autocast hands on
            u = u.to(next(self.parameters()).dtype)
        if isinstance(x0, Tensor) and x0.dtype in HALF:
            x0 = x0.to(u.dtype)
        return simulate(self._rounded(u.dtype), u, x0)

    def extra_repr(self) -> str:
        """The settings, as `print(module)` shows them."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
