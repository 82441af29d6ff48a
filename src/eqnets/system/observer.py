"""The model as an observer: it is fed what was measured, and forgets where it started."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.regulator import lqr


def kalman(plant: LTI, W: Tensor, V: Tensor) -> Tensor:
    """The gain L of the steady one-step predictor x̂⁺ = A x̂ + B u + L (y − ŷ): `lqr` of the dual system.

    Args:
        plant: the linearisation.
        W: (nx, nx) covariance of what disturbs the state.
        V: (ny, ny) covariance of the measurement noise, positive definite.

    Returns:
        L (nx, ny), float64; A − L C is stable.

    Raises:
        InputError: the Riccati equation has no stabilising solution.
    """  # noqa: DOC502
    return lqr(LTI(plant.A.T, plant.C.T, plant.B.T, plant.D.T, plant.dt), W, V).T


def observer(lfr: LFR, L: Tensor, output: Literal["y", "x"] = "y") -> LFR:
    """The model as an observer, x̂⁺ = f(x̂, u) + L (y − ŷ), from (u, y) to ŷ or x̂.

    If the measurements obey the model, its own state is one trajectory of the observer. Where the observer contracts,
    every other one approaches it: |x̂_t − x_t|_P ≤ ᾱᵗ |x̂_0 − x_0|_P.

    Args:
        lfr: the model, discrete or continuous.
        L: (nx, ny), for example from `kalman`.
        output: `"y"` for the estimate of the model's outputs, `"x"` for that of its states.

    Returns:
        The LFR with inputs u and y (their names and units kept) and the model's states and neurons.

    Raises:
        InputError: L has another shape, or there is no such output.
    """
    if output not in ("y", "x"):
        raise InputError(f"an observer has no output {output!r}; choose 'y' or 'x'.")
    if tuple(L.shape) != (lfr.nx, lfr.ny):
        raise InputError(f"L has shape {tuple(L.shape)}, but (nx, ny) = ({lfr.nx}, {lfr.ny}) is needed.")
    L = L.to(lfr.device, lfr.dtype)
    after = lfr.replace(
        A=lfr.A - L @ lfr.C2, B1=lfr.B1 - L @ lfr.D21, B2=torch.cat([lfr.B2 - L @ lfr.D22, L], dim=1),
        bx=lfr.bx - L @ lfr.by, D12=torch.cat([lfr.D12, lfr.D12.new_zeros(lfr.nv, lfr.ny)], dim=1),
        D22=torch.cat([lfr.D22, lfr.D22.new_zeros(lfr.ny, lfr.ny)], dim=1),
        u_names=_both(lfr.u_names, lfr.y_names), u_units=_both(lfr.u_units, lfr.y_units),
    )  # fmt: skip
    return after if output == "y" else state_output(after)


def state_output(lfr: LFR) -> LFR:
    """The same system with its state as the output, unnamed and without units."""
    zeros = lfr.A.new_zeros
    return lfr.replace(
        C2=torch.eye(lfr.nx, dtype=lfr.dtype, device=lfr.device), D21=zeros(lfr.nx, lfr.nv), D22=zeros(lfr.nx, lfr.nu),
        by=zeros(lfr.nx), y_names=None, y_units=None,
    )  # fmt: skip


def _both(first: tuple[str, ...] | None, second: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if first is None or second is None else first + second


__all__ = ["kalman", "observer", "state_output"]
