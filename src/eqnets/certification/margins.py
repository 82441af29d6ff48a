"""Robust classification: a gain per pair of classes, and the radius in which the predicted class cannot change.

For scores y the class is c while every margin y_c − y_j is positive, and a margin is one output with its own gain:
|Δ(y_c − y_j)| ≤ γ_cj ‖Δu‖, with γ_cj of (★) for the row e_c − e_j, never above √2 γ and often far below. So nothing
within min_j (y_c − y_j)/γ_cj of u has another class (reference: Tsuzuku, Sato & Sugiyama 2018, with √2 γ).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from eqnets.certification.artefact import Certificate
from eqnets.certification.claim import Lipschitz
from eqnets.certification.semidefinite import Progress
from eqnets.certification.tighten import tighten
from eqnets.errors import InputError
from eqnets.system.connect import series
from eqnets.system.lfr import LFR


@dataclass(frozen=True, eq=False)
class Margins:
    """The proved gains of a classifier's margins.

    Args:
        gamma: (classes, classes) γ_cj, symmetric, float64; 0 on the diagonal, inf for pairs that were left out.
        certificates: by pair (c, j), c < j; each is about `margin(lfr, c, j)`.
    """

    gamma: Tensor
    certificates: Mapping[tuple[int, int], Certificate]

    def radius(self, y: Tensor, epsilon: Tensor | float = 0.0) -> Tensor:
        """How far an input may move before its predicted class can change, proved.

        Args:
            y: (batch, classes) the scores.
            epsilon: (batch,) or a number, an error bar that holds for y and for the scores of the moved input; 0 speaks
                of the model in exact arithmetic. A margin changes by at most √2 of each.

        Returns:
            (batch,) in the norm and unit of the claims, ≥ 0; 0 where the class is not certain at all.

        Raises:
            InputError: y has another shape.
        """
        classes = len(self.gamma)
        if y.ndim != 2 or y.shape[1] != classes:
            raise InputError(f"y must be (batch, {classes}); got {tuple(y.shape)}.")
        y = y.detach().to("cpu", torch.float64)
        best = y.argmax(1)
        room = (
            y.gather(1, best[:, None]) - y - 2 * 2**0.5 * torch.as_tensor(epsilon, dtype=torch.float64).reshape(-1, 1)
        )
        each = (room / self.gamma[best]).scatter(1, best[:, None], torch.inf)
        return each.amin(1).clamp_min(0) * (1 - 1e-14)


def margin(lfr: LFR, c: int, j: int) -> LFR:
    """The system whose one output is y_c − y_j.

    Args:
        lfr: of the scores.
        c: a class.
        j: another class.

    Returns:
        The system, with the states and neurons of `lfr`.

    Raises:
        InputError: these are not two classes.
    """
    if c == j or not (0 <= c < lfr.ny and 0 <= j < lfr.ny):
        raise InputError(f"a margin needs two different classes of 0 … {lfr.ny - 1}; got {c} and {j}.")
    row = torch.zeros(1, lfr.ny, dtype=lfr.dtype, device=lfr.device)
    row[0, c], row[0, j] = 1, -1
    return series(lfr.replace(y_names=None, y_units=None), LFR(D22=row, dt=lfr.dt))


def class_margins(
    lfr: LFR,
    pairs: list[tuple[int, int]] | None = None,
    *,
    u_scale: tuple[float, ...] | None = None,
    proof: str = "exact",
    progress: Progress | None = None,
) -> Margins:
    """Prove the smallest gain of every margin of a classifier.

    Args:
        lfr: from the input to the scores, one output per class; sequences are measured in ℓ2 from one initial state.
        pairs: of classes; None: all.
        u_scale: of the inputs, as in `Lipschitz`.
        proof: as in `certify`.
        progress: told in a sentence which pair is searched.

    Returns:
        The gains and their certificates.

    Raises:
        NotCertified: no gain can be proved.
        InputError: fewer than two classes, or a pair is none.
    """  # noqa: DOC502
    if lfr.ny < 2:
        raise InputError(f"a classifier has one output per class, at least two; this system has {lfr.ny}.")
    pairs = list(combinations(range(lfr.ny), 2)) if pairs is None else [(min(pair), max(pair)) for pair in pairs]
    gamma = torch.full((lfr.ny, lfr.ny), torch.inf, dtype=torch.float64).fill_diagonal_(0.0)
    certificates: dict[tuple[int, int], Certificate] = {}
    for done, (c, j) in enumerate(pairs):
        if progress is not None:
            progress(f"margin of class {c} over {j}, {done + 1} of {len(pairs)}")
        found = tighten(Lipschitz(1.0, u_scale), margin(lfr, c, j), proof=proof)
        claim = found.claim
        assert isinstance(claim, Lipschitz)
        certificates[c, j], gamma[c, j], gamma[j, c] = found, claim.gamma, claim.gamma
    return Margins(gamma, certificates)
