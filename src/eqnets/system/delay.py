"""Input delays as states: a shift register before a system, exact, so that proofs and exports speak of the whole.

Input j passes d_j states, s₁⁺ = u_j, s_k⁺ = s_{k−1}, and the system sees s_{d_j}. The register is nilpotent: it forgets
in d_j steps, whatever the rest does.

Contraction: let (P, Λ) prove the rate ρ. With V = ΔxᵀPΔx + Σ p_k Δs_k² and p_k = p_{k+1}/r² the registers lose
(t² − r²) p_k Δs_k² at every step beyond the rate t > r; what Δs_d adds to the system's part is bounded by a multiple of
Δs_d², so that for p large enough (P, p; Λ) proves every t > max(ρ, r).

Gain: let (P, Λ) prove a supply with S = 0 and R diagonal. With p_k = R_jj the registers pass on the supply that they
receive, R_jj Δu_j² − R_jj Δs_d², and the sum of the two storages proves the same supply for the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eqnets.errors import InputError, NotCertified
from eqnets.system.connect import series
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.witness import Witness

_LARGEST = 1e8  # ratio of the first weight of a register to the last: what float64 bears beside P


def delayed(lfr: LFR, delays: Sequence[int]) -> LFR:
    """The system behind shift registers.

    Args:
        lfr: a discrete system.
        delays: (nu) samples, at least 0.

    Returns:
        The system with the registers' states before its own: first input first, youngest sample first.

    Raises:
        InputError: a continuous system, or not one delay for every input.
    """
    if lfr.dt is None:
        raise InputError("a delay in samples needs a discrete system; discretise it first.")
    if len(delays) != lfr.nu or any(d < 0 for d in delays):
        raise InputError(f"delays are {lfr.nu} numbers of samples, at least 0; got {list(delays)}.")
    if not any(delays):
        return lfr
    n = sum(delays)
    A, B = lfr.A.new_zeros(n, n), lfr.A.new_zeros(n, lfr.nu)
    C, D = lfr.A.new_zeros(lfr.nu, n), lfr.A.new_zeros(lfr.nu, lfr.nu)
    first = 0
    for j, d in enumerate(delays):
        if d == 0:
            D[j, j] = 1
            continue
        B[first, j] = C[j, first + d - 1] = 1
        A[first + 1 : first + d, first : first + d - 1] = torch.eye(d - 1)
        first += d
    register = LTI(A, B, C, D, lfr.dt).to_lfr(
        u_names=lfr.u_names, y_names=lfr.u_names, u_units=lfr.u_units, y_units=lfr.u_units
    )
    return series(register, lfr)


def contracting_witness(lfr: LFR, witness: Witness, delays: Sequence[int], largest: float) -> Witness:
    """P and Λ that prove contraction of `delayed(lfr, delays)`, at little more than the rate of `lfr` alone.

    Args:
        lfr: the system without its delays.
        witness: proves its rate.
        delays: (nu) samples.
        largest: the rate that must be proved.

    Returns:
        The witness of the whole.

    Raises:
        NotCertified: the rate of the system alone leaves no room below `largest`.
    """
    whole, own = delayed(lfr, delays), witness.rate(lfr)
    aim = min(largest, max(own**0.9, _LARGEST ** (-0.5 / max(*delays, 1))))
    ratio = max((own * aim) ** 0.5, 0.99 * aim)  # r, between the rate of the system and the one aimed at
    shape = torch.cat([ratio ** (-2.0 * torch.arange(d, 0, -1, dtype=torch.float64)) for d in delays])
    size = float(torch.linalg.matrix_norm(witness.P, 2))
    for k in range(60):
        found = _with_registers(witness, size * 2.0**k * shape)
        if found.rate(whole) <= aim:
            return found
    raise NotCertified(
        f"the system without its delay contracts at the rate {own:.6g}, too near {largest:g} to prove that with the "
        "delay; claim a rate nearer to 1, or a shorter delay."
    )


def gain_witness(witness: Witness, delays: Sequence[int], slack: float) -> Witness:
    """P and Λ that prove the supply of `witness` for `delayed(lfr, delays)`.

    Args:
        witness: with a supply in which S = 0 and R is diagonal, as a gain has it.
        delays: (nu) samples.
        slack: the share of R by which the weights fall along a register, so that the inequality is strict; what the
            witness spares must allow for it.

    Returns:
        The witness of the whole.

    Raises:
        InputError: it has no such supply: a delayed system need not be passive.
    """
    supply = witness.supply
    if supply is None or bool(supply.S.any()) or bool((supply.R - torch.diag(torch.diagonal(supply.R))).any()):
        raise InputError("only a gain passes a delay: fit with contraction, a gain (lipschitz:GAMMA) or no guarantee.")
    weights = [
        R * (1 - slack * torch.arange(1, d + 1, dtype=torch.float64) / (d + 1))
        for R, d in zip(torch.diagonal(supply.R), delays, strict=True)
    ]
    return _with_registers(witness, torch.cat(weights))


def _with_registers(witness: Witness, weights: Tensor) -> Witness:
    return Witness(torch.block_diag(torch.diag(weights), witness.P), witness.Lambda, witness.supply)
