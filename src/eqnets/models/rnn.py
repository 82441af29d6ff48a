"""The textbook recurrent network, h⁺ = tanh(W h + U u + b), y = V h⁺, as an LFR. It promises nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from eqnets.errors import InputError
from eqnets.models.simulated import Simulated
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import TANH


def rnn(W: Tensor, U: Tensor, b: Tensor, V: Tensor, dt: float = 1.0) -> LFR:
    """The LFR of h⁺ = tanh(W h + U u + b), y = V h⁺: A = 0, B1 = I, C1 = W, D12 = U, bv = b, C2 = 0, D21 = V.

    Args:
        W: (nh, nh).
        U: (nh, nu).
        b: (nh,).
        V: (ny, nh).
        dt: the sample time in seconds.

    Returns:
        The LFR, nx = nv = nh, in the dtype given.
    """
    eye = torch.eye(len(W), dtype=W.dtype, device=W.device)
    return LFR(B1=eye, C1=W, D12=U, bv=b, D21=V, activation=TANH, dt=dt)


class RNN(Simulated):
    """The textbook recurrent network, with the calling convention of the other models.

    Args:
        nu: number of inputs.
        nh: number of hidden states, which are the neurons.
        ny: number of outputs.
        generator: source of randomness; entries are uniform in ±1/√nh, as in torch.nn.RNN.
        dtype: of the parameters; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size that is no whole number.
    """

    def __init__(
        self, nu: int, nh: int, ny: int, *, generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in (nu, nh, ny)):
            raise InputError(f"nu, nh and ny must be whole numbers, zero or more; got {nu!r}, {nh!r}, {ny!r}.")
        dtype = torch.get_default_dtype() if dtype is None else dtype
        self.nu, self.nh, self.ny, self.dt = nu, nh, ny, float(dt)
        bound = 1 / math.sqrt(max(nh, 1))
        for name, shape in {"W": (nh, nh), "U": (nh, nu), "b": (nh,), "V": (ny, nh)}.items():
            value = (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * bound
            self.register_parameter(name, nn.Parameter(value.to(dtype)))

    def _rounded(self, dtype: torch.dtype) -> LFR:
        W, U, b, V = (getattr(self, name).to(dtype) for name in "WUbV")
        return rnn(W, U, b, V, self.dt)

    def settings(self) -> dict[str, Any]:
        """The arguments with which the class gives a module that takes this one's state_dict; all fit in JSON."""
        return {"nu": self.nu, "nh": self.nh, "ny": self.ny, "dt": self.dt}
