"""Bring a system inside a promise: a linear one, with what that costs, or a REN under a smaller gain."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.models.ren import LipschitzREN
from eqnets.models.supply import frame, gain_supply, normalised, scatter
from eqnets.system.lti import LTI, hinf_norm
from eqnets.system.witness import Supply, Witness


def shrink(
    lti: LTI, rate: float = 1.0, gamma: float | None = None, *, supply: Supply | None = None, margin: float = 1e-3
) -> tuple[LTI, float]:
    """A linear system near the given one with ρ(A) < rate and, where asked for, a gain below gamma, or a supply kept.

    Eigenvalues of A outside the circle of radius (1 − margin)·rate move radially onto it, the rest stay; then C and D
    are scaled. For a supply they move towards a static system that keeps it, the best of a few D0 + tSᵀ, and no further
    than needed (Q ≼ 0 makes what keeps the supply a convex set). The result is not the nearest system in any norm, but
    it is simple, and its cost is told.

    Args:
        lti: the linear system.
        rate: ᾱ in (0, 1].
        gamma: the gain bound on max_ω ‖C(ᾱe^{jω}I − A)⁻¹B + D‖, or None.
        supply: the supply to keep, one that a `DissipativeREN` takes; with gamma None.
        margin: how far inside to land, relative to rate and to gamma.

    Returns:
        The system, in the same state coordinates, and the H∞ norm of the error (inf where the given system is not
        stable). A system that keeps the promise comes back as it is, with cost 0.

    Raises:
        InputError: rate, gamma or margin is out of range, or both gamma and a supply are given.
    """
    if not 0 < rate <= 1 or not 0 < margin < 1 or (gamma is not None and not 0 < gamma < math.inf):
        raise InputError(f"shrink needs 0 < rate <= 1, gamma > 0 and 0 < margin < 1; got {rate}, {gamma}, {margin}.")
    if supply is not None and gamma is not None:
        raise InputError("shrink takes gamma or a supply, not both; a gain bound is the supply (−I/γ, 0, γI).")
    near = lti
    if not lti.spectral_radius() < rate:
        near = LTI(_clip(lti.A, rate * (1 - margin)), lti.B, lti.C, lti.D, lti.dt)
    if gamma is not None:
        norm = hinf_norm(LTI(near.A / rate, near.B / rate, near.C, near.D, near.dt))
        if not norm < gamma:
            share = (1 - margin) * gamma / norm
            near = LTI(near.A, near.B, share * near.C, share * near.D, near.dt)
    if supply is not None and not _gain_under(near, rate, supply) < 1:
        near = _towards_static(near, rate, supply, 1 - margin)
    if near is lti:
        return lti, 0.0
    return near, _distance(lti, near)


def lower_gain(network: LipschitzREN, gamma: float) -> LipschitzREN:
    """A network under another gain bound whose outputs move s = γ/γ_old times as much about `by`, and nothing else.

    With s·P and s·Λ the same witness proves it: s (γ_old|Δu|² − |Δy|²/γ_old) = γ|Δu|² − |sΔy|²/γ.

    Args:
        network: the network.
        gamma: the bound to promise, above 0; most useful a little below the network's own.

    Returns:
        A new network, float64, of the same rate.
    """
    share = gamma / network.gamma
    lfr, witness = network.explicit().detach().to("cpu"), network.witness()
    scaled = lfr.replace(C2=share * lfr.C2, D21=share * lfr.D21, D22=share * lfr.D22)
    P, Lambda = (share * value.to("cpu") for value in (witness.P, witness.Lambda))
    witness = Witness(P, Lambda, gain_supply(gamma, lfr.nu, lfr.ny))
    return LipschitzREN.from_lfr(scaled, witness, gamma=gamma, rate=network.rate, acyclic=network.acyclic)


def _gain_under(lti: LTI, rate: float, supply: Supply) -> float:
    """The gain of the system's image, below 1 where it keeps the supply strictly; inf where there is none."""
    if not bool(torch.isfinite(normalised(lti.D, supply)).all()):
        return math.inf
    image, _ = scatter(LTI(lti.A / rate, lti.B / rate, lti.C, lti.D, lti.dt), supply)
    return hinf_norm(image)


def _towards_static(lti: LTI, rate: float, supply: Supply, most: float) -> LTI:
    V = frame(supply)
    D0 = torch.linalg.solve(V.V22.mT, V.V12.mT).mT
    size = hinf_norm(lti) / max(float(torch.linalg.matrix_norm(supply.S)), 1e-300) if supply.S.any() else 0.0
    best: tuple[float, LTI] | None = None
    for t in (0.0, 0.1, 0.3, 1.0, 3.0, 10.0) if size else (0.0,):
        centre = D0 + t * size * supply.S.mT
        if not float(torch.linalg.matrix_norm(normalised(centre, supply), 2)) < most:
            continue
        low, high = 0.0, 1.0  # the share of the given system that is kept
        near = LTI(lti.A, lti.B, 0 * lti.C, centre, lti.dt)
        for _ in range(20):
            share = (low + high) / 2
            tried = LTI(lti.A, lti.B, share * lti.C, centre + share * (lti.D - centre), lti.dt)
            if _gain_under(tried, rate, supply) < most:
                low, near = share, tried
            else:
                high = share
        cost = _distance(lti, near)
        if best is None or cost < best[0]:
            best = cost, near
    assert best is not None  # D0 has the image 0
    return best[1]


def _distance(lti: LTI, near: LTI) -> float:
    A = torch.block_diag(lti.A, near.A)
    error = LTI(A, torch.cat([lti.B, near.B]), torch.cat([lti.C, -near.C], dim=1), lti.D - near.D, lti.dt)
    return hinf_norm(error)


def _clip(A: Tensor, radius: float) -> Tensor:
    """A with the eigenvalues outside `radius` moved radially onto it; all scaled where A has no good eigenbasis."""
    values, vectors = torch.linalg.eig(A)
    scaled = A * (radius / float(values.abs().max()))
    if float(torch.linalg.cond(vectors)) > 1e8:
        return scaled
    inside = values * (radius / values.abs().clamp_min(radius))
    clipped = torch.linalg.solve(vectors.mT, (vectors * inside).mT).mT.real
    found = float(torch.linalg.eigvals(clipped).abs().max())
    return clipped if found < radius * (1 + 1e-6) else scaled
