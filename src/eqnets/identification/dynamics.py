"""What identification simulates: an LFR, or a model that has none, between the same physical signals."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.identification.normaliser import Normaliser
from eqnets.models import BlackBox
from eqnets.models.black_box import no_lfr
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.simulate import linearise, simulate


@dataclass(frozen=True, eq=False)
class Physical:
    """A model without an LFR from physical inputs to physical outputs; the states are the model's own.

    Args:
        model: between normalised signals.
        normaliser: the way to them.
        u_names: names of the inputs.
        y_names: names of the outputs.
        u_units: units of the inputs.
        y_units: units of the outputs.
    """

    model: BlackBox
    normaliser: Normaliser
    u_names: tuple[str, ...] | None = None
    y_names: tuple[str, ...] | None = None
    u_units: tuple[str, ...] | None = None
    y_units: tuple[str, ...] | None = None

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.model.nu

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.model.nx

    @property
    def ny(self) -> int:
        """Number of outputs."""
        return self.model.ny

    @property
    def dt(self) -> float:
        """The sample time in seconds."""
        return self.model.dt

    def __call__(self, u: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
        """Simulate: u (batch, time, nu) and x0 (batch, nx) give y (batch, time, ny) and the last state."""
        n = self.normaliser
        u_offset, u_scale, y_offset, y_scale = (
            torch.from_numpy(vector.copy()).to(u) for vector in (n.u_offset, n.u_scale, n.y_offset, n.y_scale)
        )
        y, last = self.model((u - u_offset) / u_scale, x0)
        return y_offset + y_scale * y, last

    def digest(self) -> str:
        """The sha256 of the model: its class, settings, parameters (float64 bits) and normalisation."""
        sha = hashlib.sha256(f"{type(self.model).__name__}:{self.model.settings()};".encode())
        numbers = {name: value.detach().cpu().numpy() for name, value in sorted(self.model.state_dict().items())}
        for name, value in {**numbers, **vars(self.normaliser)}.items():
            exact = np.ascontiguousarray(value, dtype="<f8")
            sha.update(f"{name}:{','.join(map(str, exact.shape))};".encode() + exact.tobytes())
        return sha.hexdigest()


System = LFR | Physical
"""A deployed system, physical units, float64."""


def lfr_of(system: System) -> LFR:
    """The LFR of a deployed system.

    Args:
        system: the system.

    Returns:
        The LFR.

    Raises:
        InputError: it has none.
    """
    if not isinstance(system, LFR):
        raise InputError(no_lfr(type(system.model).__name__))
    return system


def roll(system: System | BlackBox, u: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """Simulate: y (batch, time, ny) and the last state (batch, nx), under u (batch, time, nu) from x0 (batch, nx)."""
    return simulate(system, u, x0) if isinstance(system, LFR) else system(u, x0)


@torch.no_grad()
def trajectory(system: System | BlackBox, u: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """One record: y (time, ny) and the states before every sample (time, nx), under u (time, nu) from x0 (nx,)."""
    if not isinstance(system, LFR):
        ys, states, x = [], [], x0[None]
        for now in u:
            states.append(x[0])
            y, x = system(now[None, None], x)
            ys.append(y[0, 0])
        return torch.stack(ys), torch.stack(states)
    zero, like = torch.zeros, {"dtype": system.dtype, "device": system.device}
    seen = system.replace(  # the states, as further outputs
        C2=torch.cat([system.C2, torch.eye(system.nx, **like)]),
        D21=torch.cat([system.D21, zero(system.nx, system.nv, **like)]),
        D22=torch.cat([system.D22, zero(system.nx, system.nu, **like)]),
        by=torch.cat([system.by, zero(system.nx, **like)]), y_names=None, y_units=None,
    )  # fmt: skip
    both = simulate(seen, u[None], x0[None])[0][0]
    return both[:, : system.ny], both[:, system.ny :]


def linearised(system: System, x: Tensor, u: Tensor) -> LTI:
    """The linear system of small deviations about a state x (nx,) and an input u (nu,), float64."""
    if isinstance(system, LFR):
        return linearise(system, x, u)

    def step(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        y, last = system(u[None, None], x[None])
        return last[0], y[0, 0]

    (A, B), (C, D) = torch.autograd.functional.jacobian(step, (x.double(), u.double()))  # type: ignore[misc]
    return LTI(A, B, C, D, system.dt)
