"""Bring a linear system inside a promise, and say what that costs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.lti import LTI, hinf_norm


def shrink(lti: LTI, rate: float = 1.0, gamma: float | None = None, *, margin: float = 1e-3) -> tuple[LTI, float]:
    """A linear system near the given one with ρ(A) < rate and, where asked for, a gain below gamma.

    Eigenvalues of A outside the circle of radius (1 − margin)·rate move radially onto it, the rest stay; then C and D
    are scaled. The result is not the nearest system in any norm, but it is simple, and its cost is told.

    Args:
        lti: the linear system.
        rate: ᾱ in (0, 1].
        gamma: the gain bound on max_ω ‖C(ᾱe^{jω}I − A)⁻¹B + D‖, or None.
        margin: how far inside to land, relative to rate and to gamma.

    Returns:
        The system, in the same state coordinates, and the H∞ norm of the error (inf where the given system is not
        stable). A system that keeps the promise comes back as it is, with cost 0.

    Raises:
        InputError: rate, gamma or margin is out of range.
    """
    if not 0 < rate <= 1 or not 0 < margin < 1 or (gamma is not None and not 0 < gamma < math.inf):
        raise InputError(f"shrink needs 0 < rate <= 1, gamma > 0 and 0 < margin < 1; got {rate}, {gamma}, {margin}.")
    near = lti
    if not lti.spectral_radius() < rate:
        near = LTI(_clip(lti.A, rate * (1 - margin)), lti.B, lti.C, lti.D, lti.dt)
    if gamma is not None:
        norm = hinf_norm(LTI(near.A / rate, near.B / rate, near.C, near.D, near.dt))
        if not norm < gamma:
            share = (1 - margin) * gamma / norm
            near = LTI(near.A, near.B, share * near.C, share * near.D, near.dt)
    if near is lti:
        return lti, 0.0
    A = torch.block_diag(lti.A, near.A)
    error = LTI(A, torch.cat([lti.B, near.B]), torch.cat([lti.C, -near.C], dim=1), lti.D - near.D, lti.dt)
    return near, hinf_norm(error)


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
