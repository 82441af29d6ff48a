"""The last candidates of `certify` without a witness: P and Λ from the semidefinite program, or why there are none."""

from __future__ import annotations

import math
from collections.abc import Iterator

from eqnets.certification import semidefinite
from eqnets.certification.claim import Claim, Contracting, Lipschitz, Monotone, WellPosed
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import Labels
from eqnets.certification.patterns import worst_rate
from eqnets.certification.search import Candidate
from eqnets.certification.semidefinite import Progress
from eqnets.errors import NotCertified
from eqnets.system.lfr import LFR

_ORIGIN = "searched (interior point)"
_LARGE = "searched (Λ by frequencies, P by a Riccati equation)"


def searched(claim: Claim, lfr: LFR, progress: Progress | None = None) -> Iterator[Candidate]:
    """What the interior point finds for a claim; nothing where P and Λ do not exist, or where they need no search.

    Args:
        claim: settled for this system.
        lfr: the system.
        progress: told in a sentence what is searched and how long it will take.

    Yields:
        One candidate at most.

    Raises:
        NotCertified: no P and Λ can prove the claim; the message says what they can prove, or a slope pattern that
            breaks it.
    """
    rows, labels = Rows.of(lfr), Labels.of(lfr)
    if isinstance(claim, Monotone) or (rows.nv == 0 and isinstance(claim, WellPosed | Contracting | Lipschitz)):
        return  # decided without a search
    if isinstance(claim, WellPosed):
        found = semidefinite.contracting(rows.neurons_alone(), 1.0)
    elif isinstance(claim, Contracting):
        found = semidefinite.contracting(rows, claim.rate)
        if found is None:
            _contraction_fails(claim, rows)
    elif isinstance(claim, Lipschitz):
        gamma, *guess, _ = semidefinite.smallest_gain(rows, claim, labels, progress=progress)
        if gamma >= claim.gamma:
            large = rows.nx > semidefinite.LARGEST_STATE
            prove = "was found with P of a Riccati equation" if large else "any P and Λ prove"
            raise NotCertified(
                f"not certified: the smallest gain that {prove} is {gamma:.8g}, and gamma is "
                f"{claim.gamma:.8g}. Remedy: claim gamma = {gamma * (1 + 1e-4):.7g}, tighten(claim, lfr) does that.",
                block="gain", margin=claim.gamma - gamma,
            )  # fmt: skip
        found = semidefinite.with_supply(rows, claim, labels, (guess[0], guess[1]))
    else:
        found = semidefinite.with_supply(rows, claim, labels)
    if found is not None:
        large = rows.nx > semidefinite.LARGEST_STATE and not isinstance(claim, WellPosed)
        yield Candidate(*found, _LARGE if large else _ORIGIN)


def _contraction_fails(claim: Contracting, rows: Rows) -> None:
    worst, slopes = worst_rate(rows)
    broken = worst >= claim.rate if rows.discrete else worst <= claim.rate
    if not broken:
        return
    at = ", ".join(f"{slope:.3g}" for slope in slopes[:8]) + (", …" if len(slopes) > 8 else "")
    what = "is unsolvable" if not math.isfinite(worst) else f"has the rate {worst:.7g}"
    raise NotCertified(
        f"not certified: with the slopes ({at}), which the activations may have, the model {what}, and the claim is "
        f"{claim.rate:.7g}: no P and Λ exist. Remedy: claim a slower rate, or train a model with a promise.",
        block="states and neurons", margin=(claim.rate - worst) if rows.discrete else worst - claim.rate,
    )  # fmt: skip
