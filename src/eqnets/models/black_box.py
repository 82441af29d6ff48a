"""What the compared models without an LFR share: the calling convention, and a worded refusal of the LFR."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from eqnets.errors import InputError
from eqnets.system.simulate import initial_state


class BlackBox(nn.Module):
    """A recurrent model that is no LFR, so that no certificate can speak of it: GRU, LSTM, neural ODE.

    A subclass registers its parameters and says `_roll` and `settings`. It computes in the dtype of u, whatever the
    dtype of its parameters, as the other models do.

    Args:
        nu: number of inputs, zero or more.
        nx: number of states, at least 1.
        ny: number of outputs, at least 1.
        dt: the sample time in seconds.

    Raises:
        InputError: a size or dt that cannot be used.
    """

    def __init__(self, nu: int, nx: int, ny: int, dt: float) -> None:
        super().__init__()
        for name, value, least in (("nu", nu, 0), ("ny", ny, 1), ("the number of states", nx, 1)):
            whole(name, value, least)
        if not 0 < float(dt) < math.inf:
            raise InputError(f"dt must be a positive number of seconds; got {dt}.")
        self.nu, self.nx, self.ny, self.dt = nu, nx, ny, float(dt)

    def forward(self, u: Tensor, x0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Simulate in the dtype of u.

        Args:
            u: the input, (batch, time, nu).
            x0: the initial state, (batch, nx) or (nx,); None is zero.

        Returns:
            y (batch, time, ny) and the state after the last sample, (batch, nx).

        Raises:
            InputError: a wrong shape or dtype.
        """
        if not isinstance(u, Tensor) or not u.is_floating_point() or u.ndim != 3 or u.shape[2] != self.nu:
            got = tuple(u.shape) if isinstance(u, Tensor) else type(u).__name__
            raise InputError(f"u must be a floating-point tensor (batch, time, nu={self.nu}); got {got}.")
        x = initial_state(x0, u, self.nx)
        if u.shape[1] == 0:
            return u.new_zeros(u.shape[0], 0, self.ny), x
        return self._roll(u, x)

    def _roll(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The arguments with which the class gives a module that takes this one's state_dict; all fit in JSON."""
        raise NotImplementedError

    def explicit(self) -> NoReturn:
        """There is none.

        Raises:
            InputError: always.
        """
        raise InputError(no_lfr(type(self).__name__))

    def witness(self) -> NoReturn:
        """There is none.

        Raises:
            InputError: always.
        """
        raise InputError(no_lfr(type(self).__name__))

    def extra_repr(self) -> str:
        """The settings, as `print(module)` shows them."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings().items())


def no_lfr(name: str) -> str:
    """The sentence that refuses an LFR of a model of this class."""
    return (
        f"a {name} is no linear system in feedback with a static nonlinearity: it has no LFR, and no certificate can "
        "speak of it; use a ContractingREN, a FreeREN or an RNN where one is needed."
    )


def whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of at least `least`.

    Args:
        name: of the size.
        value: what was given.
        least: the smallest that can be used.

    Raises:
        InputError: it cannot be used.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def uniform(
    shape: tuple[int, ...], bound: float, generator: torch.Generator | None, dtype: torch.dtype
) -> nn.Parameter:
    """A parameter whose entries are uniform in ±bound, drawn in float64."""
    value = (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * bound
    return nn.Parameter(value.to(dtype))
