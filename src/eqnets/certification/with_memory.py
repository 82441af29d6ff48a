"""Certificates of absolute stability with a memory of some steps, in discrete time; see `memory` for what is proved."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import NoReturn

from eqnets.certification.around import AbsoluteStability, find_point
from eqnets.certification.inequality import Rows
from eqnets.certification.memory import MemoryNumbers, Pairs, search_memory
from eqnets.certification.point_certificate import PointCertificate
from eqnets.certification.refuse import slopes_hold
from eqnets.errors import NotCertified
from eqnets.system.lfr import LFR

_ODD = ("tanh", "hardtanh", "identity", "sine_defect", "softshrink")


@dataclass(frozen=True, eq=False)
class MemoryCertificate(PointCertificate):
    """A proved `AbsoluteStability(multiplier="memory")` of one LFR; its fields are those of every such certificate."""

    claim: AbsoluteStability
    numbers: MemoryNumbers

    @property
    def criterion(self) -> str:
        """By which theorem."""
        pairs = self.numbers.pairs
        steps = "one step" if pairs.steps == 1 else f"{pairs.steps} steps"
        return f"potentials of the neurons{', which are odd,' if pairs.odd else ''} with a memory of {steps}"

    @property
    def sentence(self) -> str:
        """The claim in words, generated from its numbers."""
        where = ", ".join(f"{entry:.6g}" for entry in self.point.x)
        found = " (found by Newton's method)" if self.point.tolerance else ""
        odd = " that is odd" if self.numbers.pairs.odd else ""
        return (
            f"Every trajectory of this model goes to the equilibrium x* = ({where}){found} exponentially, from every "
            f"initial state, under the constant input that holds it, for every time-invariant activation{odd} with "
            "these slopes. This speaks of one equilibrium, not of pairs of trajectories; and of the model, not the "
            "plant."
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
    """Prove absolute stability with a memory of some steps.

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
            "not certified: a memory of steps is one of discrete time, and its potentials need neurons that do not "
            "fall. Remedy: AbsoluteStability(multiplier='circle'), or 'lure' in continuous time.",
            block="multiplier",
        )
    slopes_hold(lfr.activation)
    point = find_point(claim, lfr)
    centred = point.tolerance == 0 and not any(point.v)
    odd = centred and all(part.name.split("(")[0] in _ODD for part in lfr.activation.each(lfr.nv))
    numbers = search_memory(Rows.of(lfr).without_input(), Pairs(claim.memory, odd))
    if numbers is None:
        raise NotCertified(
            f"not certified: no P and multipliers were found with a memory of {claim.memory} (steps), which does not "
            f"mean that the claim is false. Remedy: memory={claim.memory + 1}, a slower loop, or a smaller gain.",
            block="inequality",
        )
    settled = replace(claim, equilibrium=point.x, input=point.u)
    return MemoryCertificate(settled, point, numbers, numbers.margin, lfr.detach())


__all__ = ["MemoryCertificate", "certify_with_memory"]
