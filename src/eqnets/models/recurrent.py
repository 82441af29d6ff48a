"""GRU and LSTM, as torch has them, with the calling convention of the other models. They promise nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from eqnets.models.black_box import BlackBox, uniform, whole


class _Gated(BlackBox):
    """One layer of torch's gated cell and a linear readout y = V h⁺ + c of the hidden state after the sample.

    The parameters bear torch's names (`weight_ih_l0`, …), so that a state_dict of `torch.nn.GRU` or `LSTM` fits.
    """

    gates: int
    V: Tensor
    c: Tensor

    def __init__(
        self, nu: int, nh: int, ny: int, nx: int, generator: torch.Generator | None, dtype: torch.dtype | None,
        dt: float,
    ) -> None:  # fmt: skip
        super().__init__(nu, nx, ny, dt)
        self.nh = nh
        dtype = torch.get_default_dtype() if dtype is None else dtype
        rows = self.gates * nh
        shapes = {"weight_ih_l0": (rows, nu), "weight_hh_l0": (rows, nh), "bias_ih_l0": (rows,), "bias_hh_l0": (rows,)}
        for name, shape in {**shapes, "V": (ny, nh), "c": (ny,)}.items():
            self.register_parameter(name, uniform(shape, 1 / math.sqrt(nh), generator, dtype))

    def _cell(self, dtype: torch.dtype) -> list[Tensor]:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return [getattr(self, name).to(dtype) for name in names]

    def _readout(self, h: Tensor) -> Tensor:
        return h @ self.V.to(h.dtype).mT + self.c.to(h.dtype)

    def settings(self) -> dict[str, Any]:
        """The arguments with which the class gives a module that takes this one's state_dict; all fit in JSON."""
        return {"nu": self.nu, "nh": self.nh, "ny": self.ny, "dt": self.dt}


class GRU(_Gated):
    """A gated recurrent unit with a linear readout: y, x_last = gru(u, x0). The state is h; it promises nothing.

    Args:
        nu: number of inputs.
        nh: number of hidden units, which are the states: nx = nh.
        ny: number of outputs.
        generator: source of randomness; entries are uniform in ±1/√nh, as in torch.nn.GRU.
        dtype: of the parameters; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size or dt that cannot be used.
    """

    gates = 3

    def __init__(
        self, nu: int, nh: int, ny: int, *, generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        whole("nh", nh, 1)
        super().__init__(nu, nh, ny, nh, generator, dtype, dt)

    def _roll(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        # input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
        h, last = torch.gru(u, x[None].contiguous(), self._cell(u.dtype), True, 1, 0.0, self.training, False, True)
        return self._readout(h), last[0]


class LSTM(_Gated):
    """A long short-term memory with a linear readout: y, x_last = lstm(u, x0). It promises nothing.

    Args:
        nu: number of inputs.
        nh: number of hidden units; nx = 2 nh, the hidden state h before the cell state c.
        ny: number of outputs.
        generator: source of randomness; entries are uniform in ±1/√nh, as in torch.nn.LSTM.
        dtype: of the parameters; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size or dt that cannot be used.
    """

    gates = 4

    def __init__(
        self, nu: int, nh: int, ny: int, *, generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        whole("nh", nh, 1)
        super().__init__(nu, nh, ny, 2 * nh, generator, dtype, dt)

    def _roll(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        start = [part[None].contiguous() for part in x.split(self.nh, dim=1)]
        h, h_last, c_last = torch.lstm(u, start, self._cell(u.dtype), True, 1, 0.0, self.training, False, True)
        return self._readout(h), torch.cat([h_last[0], c_last[0]], dim=1)
