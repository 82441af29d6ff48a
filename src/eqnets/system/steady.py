"""Steady states: the static network that an LFR becomes under a constant input.

With x⁺ = x the state is x = N (B1 w + B2 u + bx), N = (I − A)⁻¹ (N = −A⁻¹ where ẋ = 0), and the LFR turns into a static
one, w = φ((D11 + C1 N B1) w + …): an equilibrium network from u to y.

Theorem. If (P, Λ) proves contraction, Λ alone proves that this network is well posed: there is exactly one steady state
for every input. If (P, Λ) proves a supply, Λ proves it for the static network too: no static gain exceeds γ. Proof: on
increments with Δx⁺ = Δx the terms of P cancel in the inequality, and what remains is that of the static network. ∎
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.errors import InputError, UncertifiedWarning
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate
from eqnets.system.witness import Witness


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """A steady state under a constant input; `linearise(lfr, point.x, point.u)` is the system of deviations from it.

    Args:
        x: (nx,) or (batch, nx) the state.
        u: (nu,) or (batch, nu) the input.
        y: (ny,) or (batch, ny) the output.
    """

    x: Tensor
    u: Tensor
    y: Tensor


def static_characteristic(lfr: LFR) -> LFR:
    """The static LFR (nx = 0) from a constant input u to the output y of the steady state.

    Args:
        lfr: a system, discrete or continuous, in which I − A (or A) is invertible.

    Returns:
        The LFR with the same neurons, names, units and dt, differentiable in every block. Its D11 is full.

    Raises:
        InputError: I − A (or A) is singular: the linear part integrates, and no input holds it at rest.
    """  # noqa: DOC502
    N = _at_rest(lfr)
    NB1, NB2, Nbx = N @ lfr.B1, N @ lfr.B2, N @ lfr.bx
    empty = lfr.A.new_zeros
    return lfr.replace(
        A=empty(0, 0), B1=empty(0, lfr.nv), B2=empty(0, lfr.nu), bx=empty(0), C1=empty(lfr.nv, 0), C2=empty(lfr.ny, 0),
        D11=lfr.D11 + lfr.C1 @ NB1, D12=lfr.D12 + lfr.C1 @ NB2, bv=lfr.bv + lfr.C1 @ Nbx,
        D21=lfr.D21 + lfr.C2 @ NB1, D22=lfr.D22 + lfr.C2 @ NB2, by=lfr.by + lfr.C2 @ Nbx,
    )  # fmt: skip


def operating_point(lfr: LFR, u: Tensor, witness: Witness | None = None) -> OperatingPoint:
    """The steady state that belongs to a constant input.

    Args:
        lfr: a system, discrete or continuous.
        u: (nu,) the input, or (batch, nu) for a static characteristic, in the dtype of `lfr`.
        witness: P and Λ, for example `certificate.witness`; where they prove contraction, the steady state is the only
            one. Without them an `UncertifiedWarning` says that there may be others.

    Returns:
        The operating point, solved to rounding.

    Raises:
        InputError: u has the wrong width, or the linear part integrates.
        NotConverged: no steady state was found.
    """  # noqa: DOC502
    u = torch.as_tensor(u, dtype=lfr.dtype, device=lfr.device)
    if u.ndim not in (1, 2) or u.shape[-1] != lfr.nu:
        raise InputError(f"a constant input is (nu={lfr.nu},) or (batch, {lfr.nu}); got {tuple(u.shape)}.")
    if lfr.nv and not (witness is not None and _contracts(witness, lfr)):
        warnings.warn(
            "nothing proves that this steady state is the only one; pass witness=certificate.witness of a contracting "
            "system, or certify(Contracting(), lfr) first.",
            UncertifiedWarning,
            stacklevel=2,
        )
    static = static_characteristic(lfr.replace(  # what is seen at rest: the state, and then the output
        C2=torch.cat([torch.eye(lfr.nx, dtype=lfr.dtype, device=lfr.device), lfr.C2]),
        D21=torch.cat([torch.zeros_like(lfr.B1), lfr.D21]), D22=torch.cat([torch.zeros_like(lfr.B2), lfr.D22]),
        by=torch.cat([torch.zeros_like(lfr.bx), lfr.by]), y_names=None, y_units=None, dt=lfr.dt or 1.0,
        A=lfr.A if lfr.dt else lfr.A + torch.eye(lfr.nx, dtype=lfr.dtype, device=lfr.device),
    ))  # fmt: skip
    seen = simulate(static, u.reshape(-1, 1, lfr.nu))[0][:, 0].reshape(*u.shape[:-1], -1)
    return OperatingPoint(seen[..., : lfr.nx], u, seen[..., lfr.nx :])


def _contracts(witness: Witness, lfr: LFR) -> bool:
    rate = witness.rate(lfr)
    return rate < 1 if lfr.dt is not None else rate > 0


def _at_rest(lfr: LFR) -> Tensor:
    """(I − A)⁻¹, or −A⁻¹ in continuous time."""
    matrix = torch.eye(lfr.nx, dtype=lfr.dtype, device=lfr.device) - lfr.A if lfr.dt is not None else -lfr.A
    if lfr.nx == 0:
        return matrix
    values = torch.linalg.svdvals(matrix.detach())
    if not bool(torch.isfinite(values).all()) or values[-1] <= 4 * lfr.nx * torch.finfo(lfr.dtype).eps * values[0]:
        raise InputError(
            f"{'I − A' if lfr.dt is not None else 'A'} is singular: the linear part of this system integrates, so that "
            "a constant input need not lead to a steady state. Close a loop around it first."
        )
    return torch.linalg.inv(matrix)


__all__ = ["OperatingPoint", "operating_point", "static_characteristic"]
