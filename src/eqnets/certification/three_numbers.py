"""Three numbers, not one: L1 attained ≤ the truth ≤ U certified, and L2 between, which says why there is a gap.

L1 is measured on a pair of runs of this very model. L2 is what the best frozen slope pattern reaches: it is in the
class that every certificate by slopes speaks of, so none can go below it, and L2/U says how conservative U is. L1/L2
says how much of the slopes this model reaches, or how weak the attack was. The search of U hands its dual solution on:
the slopes of the worst increments are where the search of L2 begins, and the worst input of L2 is where L1's does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from eqnets.certification.artefact import Certificate
from eqnets.certification.certify import certify
from eqnets.certification.claim import Contracting, Lipschitz
from eqnets.certification.lower_bound import LowerBound
from eqnets.certification.semidefinite import LARGEST_STATE, Progress
from eqnets.certification.tighten import tighten, tightest_gain
from eqnets.errors import InputError
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness


@dataclass(frozen=True, eq=False)
class ThreeNumbers:
    """L1, L2 and U of one claim about one system: gains, or contraction rates.

    Args:
        certificate: of U, with the three numbers among its diagnostics.
    """

    certificate: Certificate

    @property
    def bound(self) -> LowerBound:
        """The pair of runs of L1 and the slopes of L2."""
        assert self.certificate.bound is not None
        return self.certificate.bound

    @property
    def attained(self) -> float | None:
        """L1, or None where no equilibrium was found to attack from."""
        return self.bound.attained

    @property
    def pattern(self) -> float | None:
        """L2."""
        return self.bound.pattern

    @property
    def certified(self) -> float | None:
        """U: γ, or the proved rate; None where no rate below 1 is proved."""
        return self.certificate.certified


def three_numbers(
    claim: Lipschitz | Contracting,
    lfr: LFR,
    witness: Witness | None = None,
    *,
    search: bool = True,
    time: int = 40,
    tries: int = 8,
    steps: int = 150,
    proof: str = "exact",
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> ThreeNumbers:
    """Certify as sharply as can be, attack, and hold the numbers beside each other.

    Args:
        claim: `Lipschitz` or `Contracting`; with `search`, its own number is not looked at.
        lfr: the system.
        witness: P and Λ; where there are many states, its claim is taken as it is.
        search: whether to search the smallest number; False proves the claim as it is.
        time: steps of the runs; 1 for a system without states.
        tries: starts of the attack.
        steps: of gradient ascent.
        proof: as in `certify`.
        generator: of the starts; None seeds one with 0.
        progress: as in `certify`.

    Returns:
        The three numbers.

    Raises:
        NotCertified: there is no U.
        InputError: the claim has no number, or an option does not fit.
    """  # noqa: DOC502
    if not isinstance(claim, Lipschitz | Contracting):
        raise InputError(f"{type(claim).__name__} has no three numbers; give Lipschitz or Contracting.")
    patterns = None
    if not search or (lfr.nx > LARGEST_STATE and witness is not None):
        certificate = certify(claim, lfr, witness, proof=proof, progress=progress)
    elif isinstance(claim, Lipschitz):
        certificate, slopes = tightest_gain(claim, lfr, witness, proof=proof, progress=progress)
        patterns = torch.from_numpy(slopes.copy())
    else:
        certificate = tighten(claim, lfr, witness, proof=proof, progress=progress)
    options = {"time": time, "tries": tries, "steps": steps, "generator": generator, "patterns": patterns}
    return ThreeNumbers(certificate.attacked(**options))
