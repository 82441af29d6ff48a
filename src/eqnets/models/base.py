"""The one implementation behind every recurrent equilibrium network: parameters, explicit system, witness, rollout."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from eqnets.errors import InputError
from eqnets.models import direct
from eqnets.models.inverse import free_parameters
from eqnets.models.simulated import Simulated
from eqnets.models.start import Start, random_start
from eqnets.system import nonlinearity
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Activation
from eqnets.system.witness import Supply, Witness

_BIASES = ("bx", "bv", "by")
_EPSILONS = ("eps", "eps3")


class REN(Simulated):
    """A recurrent equilibrium network. A promise is a subclass: it says which supply (if any) the system must keep.

    The parameters are free; `explicit()` maps them to a system that keeps the promise whatever their values, always in
    float64. `eps` (and `eps3` for D22) are buffers, so that a state_dict restores the system exactly.
    """

    eps: Tensor

    def __init__(
        self, nu: int, nx: int, nv: int, ny: int, rate: float, activation: str | Activation, acyclic: bool,
        *, eps: float, bias: bool, generator: torch.Generator | None, dtype: torch.dtype | None, dt: float,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value in (("nu", nu), ("nx", nx), ("nv", nv), ("ny", ny)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{name} must be a whole number, zero or more; got {value!r}.")
        if not 0 < float(rate) <= 1:
            raise InputError(f"rate must lie in (0, 1], 1 being the weakest promise; got {rate}.")
        for name, value in (("acyclic", acyclic), ("bias", bias)):
            if not isinstance(value, bool):
                raise InputError(f"{name} must be True or False; got {value!r}.")
        if not 0 < float(eps) < math.inf:
            raise InputError(f"eps must be a small positive number; got {eps}.")
        if not 0 < float(dt) < math.inf:
            raise InputError(f"dt must be a positive number of seconds; got {dt}.")
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"the parameters' dtype must be torch.float32 or torch.float64; got {dtype}.")
        self.nu, self.nx, self.nv, self.ny = nu, nx, nv, ny
        self.rate, self.acyclic, self.bias, self.dt = float(rate), acyclic, bias, float(dt)
        self.activation = _admitted(activation, nv)
        gamma = self._gain()
        start = random_start(
            nu, nx, nv, ny, rate=self.rate, gamma=gamma, activation=self.activation, dt=self.dt, generator=generator,
            supply=self._supply() if gamma is None else None,
        )  # fmt: skip
        for name, value in self._free(start, float(eps)).items():
            if name in _EPSILONS:
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value.to(dtype)))

    def _gain(self) -> float | None:
        """The gain bound γ, or None where no gain is promised."""
        return None

    def _promise(self) -> dict[str, Any]:
        """The arguments that state the promise, beside the rate; all fit in JSON."""
        return {}

    def _supply(self, device: torch.device | None = None) -> Supply | None:
        """The supply that the promise is about, float64, or None."""
        del device
        return None

    def _free(self, start: Start, eps: float) -> dict[str, Tensor]:
        free = free_parameters(start.lfr, start.P, start.Lambda, self.rate, self._supply(), eps, self.acyclic)
        return {name: value for name, value in free.items() if self.bias or name not in _BIASES}

    def _adopt(self, start: Start, eps: float) -> Self:
        """Take over the free parameters of an explicit system."""
        with torch.no_grad():
            for name, value in self._free(start, eps).items():
                (self.get_buffer(name) if name in _EPSILONS else self.get_parameter(name)).copy_(value)
        return self

    def _build(self, dtype: torch.dtype = torch.float64) -> direct.Built:
        return direct.build({**self._parameters, **self._buffers}, self.rate, self._supply(self.eps.device), dtype)  # type: ignore[dict-item]

    def _rounded(self, dtype: torch.dtype) -> LFR:
        fields: dict[str, Any] = {**self._build(dtype).blocks, "activation": self.activation, "dt": self.dt}
        return LFR(**fields)

    @torch.no_grad()
    def witness(self) -> Witness:
        """P = EᵀcP⁻¹E and Λ, which prove the promise for `explicit()`, with the supply that they prove; float64."""
        built = self._build()
        return Witness(built.storage(), built.Lambda.clone(), self._supply(self.eps.device))

    def settings(self) -> dict[str, Any]:
        """The arguments with which the class gives a module that takes this one's state_dict; all fit in JSON."""
        return {
            "nu": self.nu, "nx": self.nx, "nv": self.nv, "ny": self.ny, **self._promise(),
            "rate": self.rate, "activation": self.activation.name, "acyclic": self.acyclic, "bias": self.bias,
            "dt": self.dt,
        }  # fmt: skip


def _admitted(activation: str | Activation, nv: int) -> Activation:
    """The activation, if its slope lies in [0, 1]: what the inequality presumes."""
    found = nonlinearity.get(activation)
    low, high = found.slopes(nv)
    if bool((low < 0).any()) or bool((high > 1).any()):
        bottom, top = float(low.min()), float(high.max())
        raise InputError(
            f"a recurrent equilibrium network needs activations whose slope lies in [0, 1], but '{found.name[:60]}' "
            f"has slopes in [{bottom:g}, {top:g}]. Halve it, or scale it as needed: a Nonlinearity with the "
            "value φ(v)/s, with B1, D11, D21 multiplied by s, is the same system (v − sin v: use s = 2, Δ/2)."
        )
    return found
