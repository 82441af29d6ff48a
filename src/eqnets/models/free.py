"""A REN without its constraint: every block of the LFR is a parameter. What a promise costs is measured against it."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import nn

from eqnets.errors import InputError
from eqnets.models.ren import ContractingREN
from eqnets.models.simulated import Simulated
from eqnets.system.lfr import BLOCKS, LFR
from eqnets.system.nonlinearity import Activation


class FreeREN(Simulated):
    """Any LFR with a strictly lower triangular D11, whose blocks are the parameters. It promises nothing but an answer.

    It is well posed, because D11 is strictly lower triangular: w follows by substitution. It may be unstable.

    Args:
        nu: number of inputs.
        nx: number of states.
        nv: number of neurons.
        ny: number of outputs.
        activation: a name or an object with slopes in [0, 1].
        generator: source of randomness; it starts as the `ContractingREN` of the same generator does.
        dtype: of the parameters, float32 or float64; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size, the activation, dt or dtype that cannot be used.
    """  # noqa: DOC502

    def __init__(
        self, nu: int, nx: int, nv: int, ny: int, activation: str | Activation = "relu", *,
        generator: torch.Generator | None = None, dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        dtype = torch.get_default_dtype() if dtype is None else dtype
        start = ContractingREN(nu, nx, nv, ny, activation=activation, generator=generator, dtype=dtype, dt=dt)
        lfr = start.explicit().detach()
        self.nu, self.nx, self.nv, self.ny, self.dt = nu, nx, nv, ny, float(dt)
        self.activation = lfr.activation
        for name, block in lfr.blocks().items():
            self.register_parameter(name, nn.Parameter(block.to(dtype).clone()))

    @classmethod
    def from_lfr(cls, lfr: LFR, *, dtype: torch.dtype = torch.float64) -> Self:
        """The network that is a given system, exactly.

        Args:
            lfr: the system, discrete, with a strictly lower triangular D11 and slopes in [0, 1].
            dtype: of the parameters.

        Returns:
            The network.

        Raises:
            InputError: the system is in continuous time, or its D11 is not strictly lower triangular.
        """
        if lfr.dt is None or not lfr.is_acyclic:
            raise InputError(
                "a FreeREN needs a discrete LFR whose D11 is strictly lower triangular; discretise it, or bring one "
                "without algebraic loops."
            )
        generator = torch.Generator().manual_seed(0)
        network = cls(
            lfr.nu, lfr.nx, lfr.nv, lfr.ny, lfr.activation, generator=generator, dtype=dtype, dt=lfr.dt
        )  # fmt: skip
        with torch.no_grad():
            for name, block in lfr.blocks().items():
                network.get_parameter(name).copy_(block)
        return network

    def _rounded(self, dtype: torch.dtype) -> LFR:
        fields: dict[str, Any] = {name: getattr(self, name).to(dtype) for name in BLOCKS}
        fields["D11"] = fields["D11"].tril(-1)
        return LFR(**fields, activation=self.activation, dt=self.dt)

    def settings(self) -> dict[str, Any]:
        """The arguments with which the class gives a module that takes this one's state_dict; all fit in JSON."""
        sizes = {name: getattr(self, name) for name in ("nu", "nx", "nv", "ny")}
        return {**sizes, "activation": self.activation.name, "dt": self.dt}
