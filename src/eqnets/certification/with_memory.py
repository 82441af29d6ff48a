"""Certificates of absolute stability with a memory of one step, in discrete time; see `memory` for what is proved."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import NoReturn

from eqnets.certification.around import AbsoluteStability, find_point
from eqnets.certification.inequality import Rows
from eqnets.certification.memory import MemoryNumbers, search_memory
from eqnets.certification.point_certificate import PointCertificate
from eqnets.certification.refuse import slopes_hold
from eqnets.errors import NotCertified
from eqnets.system.lfr import LFR


@dataclass(frozen=True, eq=False)
class MemoryCertificate(PointCertificate):
    """A proved `AbsoluteStability(multiplier="memory")` of one LFR; its fields are those of every such certificate."""

    claim: AbsoluteStability
    numbers: MemoryNumbers

    @property
    def criterion(self) -> str:
        """By which theorem."""
        return "potentials of the neurons with a memory of one step"

    @property
    def sentence(self) -> str:
        """The claim in words, generated from its numbers."""
        where = ", ".join(f"{entry:.6g}" for entry in self.point.x)
        found = " (found by Newton's method)" if self.point.tolerance else ""
        return (
            f"Every trajectory of this model goes to the equilibrium x* = ({where}){found} exponentially, from every "
            "initial state, under the constant input that holds it, for every time-invariant activation with these "
            "slopes. This speaks of one equilibrium, not of pairs of trajectories; and of the model, not the plant."
        )

    def save(self, path: str | os.PathLike[str]) -> NoReturn:
        """Refuse: `eqnets-verify` knows no claim with memory.

        Args:
            path: of the file that is not written.

        Raises:
            NotCertified: always.
        """
        raise NotCertified(
            f"'{path}' is not written: eqnets-verify knows no claim with memory, so a file would prove nothing to a "
            "sceptic. Remedy: keep the model and certify it anew, or save AbsoluteStability(multiplier='circle') where "
            "that holds."
        )


def certify_with_memory(claim: AbsoluteStability, lfr: LFR) -> MemoryCertificate:
    """Prove absolute stability with a memory of one step.

    Args:
        claim: with the multiplier "memory".
        lfr: the system, discrete, with D11 = 0 and monotone neurons.

    Returns:
        The certificate.

    Raises:
        NotCertified: the claim is refused, with the reason, or no numbers were found.
    """
    low, _ = lfr.activation.slopes(lfr.nv)
    if lfr.dt is None or not lfr.nv or bool((low < 0).any()):
        raise NotCertified(
            "not certified: a memory of one step is one of discrete time, and its potentials need neurons that do not "
            "fall. Remedy: AbsoluteStability(multiplier='circle'), or 'lure' in continuous time.",
            block="multiplier",
        )
    slopes_hold(lfr.activation)
    point = find_point(claim, lfr)
    numbers = search_memory(Rows.of(lfr).without_input())
    if numbers is None:
        raise NotCertified(
            "not certified: no P and multipliers were found with a memory of one step, which does not mean that the "
            "claim is false. Remedy: make the loop slower or its gain smaller.",
            block="inequality",
        )
    settled = replace(claim, equilibrium=point.x, input=point.u)
    return MemoryCertificate(settled, point, numbers, numbers.margin, lfr.detach())


__all__ = ["MemoryCertificate", "certify_with_memory"]
