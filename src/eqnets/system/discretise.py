"""From continuous to discrete time: three step formulas, and what each of them keeps.

With ẋ = f(x, u) = A x + B1 w + B2 u + bx and δ = dt, u held over a step:

    euler      x⁺ = x + δ f(x, u), w taken at x. First order; may turn a stable system unstable.
    exact      ẋ solved exactly with w held at its value at x: exact for linear systems, first order in w.
    midpoint   x⁺ = x + δ f(m, u) with m = (x + x⁺)/2, v and w taken at m. Second order, implicit in w.

The midpoint rule solves m = N (x + δ/2 (B1 w + B2 u + bx)) with N = (I − δA/2)⁻¹, which gives

    A_d  = N (I + δA/2)    B1_d  = δ N B1                  B2_d  = δ N B2                  bx_d = δ N bx
    C1_d = C1 N            D11_d = D11 + (δ/2) C1 N B1     D12_d = D12 + (δ/2) C1 N B2     bv_d = bv + (δ/2) C1 N bx

so that even a continuous system without D11 becomes an equilibrium network.

Theorem. (P, Λ) proves contraction of the continuous system if and only if (P, δΛ) proves it for the midpoint system,
for every δ > 0 for which N exists. Proof: V(Δx⁺) − V(Δx) = (Δx⁺ − Δx)ᵀP(Δx⁺ + Δx) = 2δ Δmᵀ P Δf, so the discrete
matrix M_d(P, δΛ) at rate 1 is δ TᵀM_c(P, Λ)T with M_c at rate 0 and T: (Δx, Δw) ↦ (Δm, Δw), a bijection. ∎ The storage
P is the same matrix; the multipliers carry the step's length. A continuous rate c > 0 becomes
V(Δx⁺) ≤ V(Δx) − 2cδ V(Δm): strict contraction, whose rate `Witness.rate` gives; it tends to 1 for δ → 0 and δ → ∞.
With the output taken at m as well, T extends by Δu and the same holds with a supply: δs is proved for a proved s.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.lfr import LFR
from eqnets.system.witness import Supply, Witness

METHODS = ("euler", "exact", "midpoint")


def discretise(
    lfr: LFR,
    dt: float,
    method: Literal["euler", "exact", "midpoint"] = "midpoint",
    *,
    output: Literal["sample", "midpoint"] = "sample",
) -> LFR:
    """The discrete LFR of a continuous one, with the input held over each step.

    Args:
        lfr: a continuous LFR (`dt=None`).
        dt: the step δ in seconds.
        method: `"euler"`, `"exact"` or `"midpoint"`; see the head of this module for what each keeps.
        output: for `"midpoint"` only. `"sample"`: y_k = C2 x_k + D21 w_k + D22 u_k + by is the continuous output at the
            time kδ, as a sensor would read it (where D21 ≠ 0, its w_k stems from half a step later). `"midpoint"`:
            y_k is the output at (k + ½)δ, which keeps gains and supplies besides contraction.

    Returns:
        The LFR with sample time `dt`, in the dtype of `lfr`, differentiable in its blocks, with the same state
        coordinates, activation, names and units.

    Raises:
        InputError: the LFR is discrete already, dt is not positive, there is no such method or output, or I − δA/2 is
            singular.
    """
    if lfr.dt is not None:
        raise InputError(f"this LFR is discrete already (dt={lfr.dt:g} s); discretise takes one with dt=None.")
    delta = _positive(dt)
    if method not in METHODS:
        raise InputError(f"there is no method '{method}' for discretise; choose one of {', '.join(METHODS)}.")
    if output not in ("sample", "midpoint"):
        raise InputError(f"there is no output '{output}' for discretise; choose 'sample' or 'midpoint'.")
    if output == "midpoint" and method != "midpoint":
        raise InputError(f"output='midpoint' belongs to method='midpoint'; method='{method}' has no midpoint.")
    identity = torch.eye(lfr.nx, dtype=lfr.dtype, device=lfr.device)
    if method == "euler":
        return lfr.replace(
            A=identity + delta * lfr.A, B1=delta * lfr.B1, B2=delta * lfr.B2, bx=delta * lfr.bx, dt=delta
        )
    if method == "exact":
        # exp(δ [A B; 0 0]) = [exp(δA)  ∫exp(sA)ds B; 0 I], with B = [B1 B2 bx]: no inverse of A is needed
        top = torch.cat([lfr.A, lfr.B1, lfr.B2, lfr.bx[:, None]], dim=1)
        bottom = torch.zeros(top.shape[1] - lfr.nx, top.shape[1], dtype=lfr.dtype, device=lfr.device)
        step = torch.linalg.matrix_exp(delta * torch.cat([top, bottom]))[: lfr.nx]
        A, B1, B2, bx = step.split([lfr.nx, lfr.nv, lfr.nu, 1], dim=1)
        return lfr.replace(A=A, B1=B1, B2=B2, bx=bx[:, 0], dt=delta)
    N = _resolvent(lfr.A, delta)
    half = delta / 2
    NB1, NB2, Nbx = N @ lfr.B1, N @ lfr.B2, N @ lfr.bx
    step = lfr.replace(
        A=2 * N - identity,  # = N (I + δA/2)
        B1=delta * NB1, B2=delta * NB2, bx=delta * Nbx,
        C1=lfr.C1 @ N,
        D11=lfr.D11 + half * lfr.C1 @ NB1, D12=lfr.D12 + half * lfr.C1 @ NB2, bv=lfr.bv + half * lfr.C1 @ Nbx,
        dt=delta,
    )  # fmt: skip
    if output == "sample":
        return step
    return step.replace(
        C2=lfr.C2 @ N,
        D21=lfr.D21 + half * lfr.C2 @ NB1, D22=lfr.D22 + half * lfr.C2 @ NB2, by=lfr.by + half * lfr.C2 @ Nbx,
    )  # fmt: skip


def midpoint_witness(witness: Witness, dt: float) -> Witness:
    """The witness of the midpoint system, from one of the continuous system: P stays, Λ and the supply carry δ.

    Args:
        witness: (P, Λ) that proves a claim about a continuous LFR.
        dt: the step δ in seconds.

    Returns:
        (P, δΛ), with the supply δs where one is given; that one holds for `output="midpoint"`. δ(−I/γ, 0, γI) states
        the gain γ as (−I/γ, 0, γI) does.

    Raises:
        InputError: dt is not positive.
    """  # noqa: DOC502
    delta = _positive(dt)
    supply = witness.supply
    if supply is not None:
        supply = Supply(delta * supply.Q, delta * supply.S, delta * supply.R)
    return Witness(witness.P, delta * witness.Lambda, supply)


def _positive(dt: float) -> float:
    try:
        delta = float(dt)
    except (TypeError, ValueError):
        delta = float("nan")
    if not 0 < delta < float("inf"):
        raise InputError(f"dt must be a positive number of seconds to discretise with; got {dt!r}.")
    return delta


def _resolvent(A: Tensor, delta: float) -> Tensor:
    """(I − δA/2)⁻¹, or the reason why there is none. Rows are scaled first, so that stiffness alone is no reason."""
    matrix = torch.eye(A.shape[0], dtype=A.dtype, device=A.device) - delta / 2 * A
    if A.shape[0] == 0:
        return matrix
    scaled = matrix.detach() / matrix.detach().abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(A.dtype).tiny)
    finite = bool(torch.isfinite(scaled).all())
    smallest = float(torch.linalg.svdvals(scaled)[-1]) if finite else 0.0
    if smallest <= 4 * A.shape[0] * torch.finfo(A.dtype).eps:
        raise InputError(
            f"the midpoint rule needs I − dt·A/2 to be invertible, and with dt={delta:g} s it is not: 2/dt = "
            f"{2 / delta:g} is an eigenvalue of A, or A is not finite. Choose another dt, or method='exact'."
        )
    return torch.linalg.inv(matrix)
