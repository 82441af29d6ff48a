"""What every certificate of one equilibrium holds, and says of itself; each criterion adds what it proves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from eqnets.certification import exact
from eqnets.certification.around import AtPoint, Point
from eqnets.certification.document import Around
from eqnets.certification.labels import margin_line
from eqnets.certification.lure import Numbers
from eqnets.certification.proof import Factor
from eqnets.certification.saved import write_files
from eqnets.certification.sector import Sector
from eqnets.system.lfr import LFR


@dataclass(frozen=True, eq=False)
class PointCertificate:
    """A proved claim about one equilibrium of one LFR.

    Args:
        claim: what is proved, with the equilibrium (and bounds) settled.
        point: the equilibrium.
        numbers: what proves it.
        margin: the smallest eigenvalue of the Jacobi-scaled inequalities; above 0.
        lfr: the system, detached.
    """

    claim: AtPoint
    point: Point
    numbers: Any
    margin: float
    lfr: LFR

    @property
    def digest(self) -> str:
        """The sha256 of the LFR."""
        return self.lfr.digest()

    @property
    def criterion(self) -> str:
        """By which theorem."""
        raise NotImplementedError

    @property
    def method(self) -> str:
        """How it was proved."""
        return f"{exact.METHOD}; {self.criterion}"

    @property
    def sentence(self) -> str:
        """The claim in words, generated from its numbers."""
        raise NotImplementedError

    def summary(self) -> str:
        """A few lines for a terminal or a report."""
        lines = [f"claim    {self.sentence}", *self._computed(), margin_line(self.margin, "inequalities")]
        return "\n".join([*lines, f"method   {self.method}", f"model    sha256 {self.digest}"])

    def _computed(self) -> list[str]:
        """Lines of what is computed beside the proof."""
        return []


@dataclass(frozen=True, eq=False)
class SectorCertificate(PointCertificate):
    """One that is proved by sectors of the neurons, and saved for `eqnets-verify`.

    Args:
        claim: what is proved, with the equilibrium (and bounds) settled.
        point: the equilibrium.
        numbers: P, Λ and η.
        margin: the smallest eigenvalue of the Jacobi-scaled inequalities; above 0.
        lfr: the system, detached.
        sectors: of the neurons, within the bounds.
        factors: of the exact proof.
    """

    numbers: Numbers
    sectors: list[Sector]
    factors: dict[str, Factor]

    def stated(self) -> Around:
        """What a file says of it."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate as JSON that `eqnets-verify` checks, as `Certificate.save` does.

        Args:
            path: of the file; beside one that ends in `.cert.json` the weights are written.
        """
        unchecked = {"sentence": self.sentence, "margin": self.margin, "method": self.method}
        P, Lambda = self.numbers.P, self.numbers.Lambda
        write_files(path, self.lfr, self.stated(), P, Lambda, self.factors, rate=None, unchecked=unchecked)
