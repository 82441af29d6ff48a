"""What is refused before anything is searched, each with the reason: claims that are false for every P and Λ."""

from __future__ import annotations

import numpy as np
import torch

from eqnets.certification.claim import Claim, Monotone, Passive
from eqnets.certification.enclosure import Array
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Activation, Nonlinearity


def refuse(claim: Claim, lfr: LFR) -> None:
    """Raise where a claim cannot be true of a system, or where an activation leaves the slopes that it states.

    Args:
        claim: settled for this system.
        lfr: the system.

    Raises:
        NotCertified: the claim cannot be proved, whatever the numbers, or an activation leaves its slopes.
    """
    slopes_hold(lfr.activation)
    if isinstance(claim, Monotone) and lfr.nv:
        slopes_in_0_1(claim, lfr.activation)
    if (
        isinstance(claim, Passive)
        and claim.input_strict >= 0
        and lfr.dt is not None
        and lfr.nu
        and not _sees_input(lfr)
    ):
        raise NotCertified(
            "not certified: at one step the output of this sampled model does not see its input (D22 = 0, and no path "
            "through the neurons), so two runs from one state have Δy = 0 at the first step with Δu ≠ 0, and the "
            "supply ⟨Δu, Δy⟩ is 0 where the storage grows. It is never strictly incrementally passive. Remedy: claim a "
            "shortage, Passive(input_strict=-ν).",
            block="input",
        )


def slopes_hold(activation: Activation) -> None:
    """Refuse an activation that leaves the slopes that it states, as far as difference quotients on a grid can tell.

    Args:
        activation: of the neurons.
    """
    for part in {part.name: part for part in activation.parts}.values():
        _slopes_hold(part)


def slopes_in_0_1(claim: Claim, activation: Activation) -> None:
    """Refuse an activation with slopes outside [0, 1], for a claim that needs them inside.

    Args:
        claim: the claim.
        activation: of the neurons.

    Raises:
        NotCertified: it has.
    """
    low, high = activation.slope
    if not (low >= 0 and high <= 1):
        raise NotCertified(
            f"not certified: {type(claim).__name__} speaks of activations with slopes in [0, 1] here, and "
            f"{activation.name[:60]!r} has slopes in [{low:g}, {high:g}]. Remedy: claim WellPosed() of an LFR, which "
            "takes every slope interval.",
            block="activation",
        )


def diagonal_multipliers(Lambda: Array) -> Array:
    """The diagonal of a matrix of multipliers, which has to be diagonal.

    Args:
        Lambda: (nv, nv).

    Returns:
        (nv,).

    Raises:
        NotCertified: it has entries beside the diagonal.
    """
    if np.any(Lambda - np.diag(np.diagonal(Lambda))):
        raise NotCertified(
            "not certified: multipliers that couple two neurons (LipSDP-Network's, Zames–Falb's or Popov's kind) say "
            "nothing about differences between two trajectories: for f(x) = relu(x) − relu(x − 1) they would prove a "
            "gain near 0, and the slope is 1 on (0, 1). Remedy: give a diagonal Λ.",
            block="Lambda",
        )
    return np.diagonal(Lambda).copy()


def _slopes_hold(activation: Nonlinearity) -> None:
    """A check by difference quotients: it can refute a stated interval, never prove it."""
    low, high = activation.slope
    if not (np.isfinite([low, high]).all() and low <= high):
        raise InputError(f"the activation {activation.name!r} states the slopes [{low}, {high}], which is no interval.")
    v = torch.linspace(-12, 12, 961, dtype=torch.float64)
    quotients = activation.value(v).diff() / v.diff()
    worst = int((quotients - (low + high) / 2).abs().argmax())
    if not low - 1e-6 <= float(quotients[worst]) <= high + 1e-6:
        raise NotCertified(
            f"not certified: the activation {activation.name!r} states slopes in [{low:g}, {high:g}], but between "
            f"{float(v[worst]):.6g} and {float(v[worst + 1]):.6g} its slope is {float(quotients[worst]):.6g}. "
            "Remedy: state an interval that holds everywhere.",
            block="activation",
        )


def _sees_input(lfr: LFR) -> bool:
    """Whether some output depends on an input of the same step, by the pattern of the blocks."""
    if bool(lfr.D22.any()):
        return True
    reached = (lfr.D12 != 0).any(dim=1)
    for _ in range(lfr.nv):
        reached = reached | ((lfr.D11 != 0) & reached[None, :]).any(dim=1)
    return bool(((lfr.D21 != 0) & reached[None, :]).any())
