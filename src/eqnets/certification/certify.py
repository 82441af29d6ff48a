"""The verb: a claim about an LFR, and either a certificate or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import overload

import numpy as np

from eqnets.certification.around import AbsoluteStability, AtPoint, DissipativeAround, RegionOfAttraction
from eqnets.certification.around_supply import StorageCertificate, certify_storage
from eqnets.certification.artefact import Certificate
from eqnets.certification.claim import Claim, Lipschitz, Monotone, WellPosed, WithSupply
from eqnets.certification.convolutional import ConvCertificate, certify_convolutional
from eqnets.certification.enclosure import Array
from eqnets.certification.evidence import FLOAT64, INTEGERS, prove
from eqnets.certification.factor import best_factor, most_definite
from eqnets.certification.fallback import searched
from eqnets.certification.inequality import Rows, storage, supply, supply_of
from eqnets.certification.labels import Labels
from eqnets.certification.proof import scaled_eigenvalue
from eqnets.certification.refuse import diagonal_multipliers, refuse
from eqnets.certification.search import Candidate, candidates
from eqnets.certification.semidefinite import Progress
from eqnets.certification.stability import StabilityCertificate, certify_around
from eqnets.certification.with_memory import MemoryCertificate, certify_with_memory
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.taps import ConvLFR
from eqnets.system.witness import Supply, Witness

_ARITHMETIC = {"exact": INTEGERS, "float64": FLOAT64}


@overload
def certify(
    claim: Claim,
    lfr: LFR,
    witness: Witness | None = None,
    *,
    proof: str = "exact",
    attack: bool = False,
    progress: Progress | None = None,
) -> Certificate: ...
@overload
def certify(claim: Claim, lfr: ConvLFR, witness: None = None) -> ConvCertificate: ...
@overload
def certify(claim: RegionOfAttraction, lfr: LFR, witness: None = None) -> StabilityCertificate: ...
@overload
def certify(claim: DissipativeAround, lfr: LFR, witness: None = None) -> StorageCertificate: ...
@overload
def certify(claim: AbsoluteStability, lfr: LFR, witness: None = None) -> StabilityCertificate | MemoryCertificate: ...
def certify(
    claim: Claim | AtPoint,
    lfr: LFR | ConvLFR,
    witness: Witness | None = None,
    *,
    proof: str = "exact",
    attack: bool = False,
    progress: Progress | None = None,
) -> Certificate | ConvCertificate | StabilityCertificate | StorageCertificate | MemoryCertificate:
    """Prove a claim about an LFR.

    The inequality is built from the LFR alone; a witness only supplies the numbers P and Λ, and nothing about it is
    believed. Its P and Λ are multiplied by a common factor where the claim's supply needs that (another form of the
    same gain, a larger γ, other scales).

    Args:
        claim: `WellPosed()`, `Monotone(m)`, `Contracting(rate)`, `Lipschitz(gamma, u_scale, y_scale)`,
            `Dissipative(Q, S, R)` or `Passive(input_strict, output_strict)`, about pairs of trajectories;
            `AbsoluteStability()`, `RegionOfAttraction()` or `DissipativeAround(Q, S, R)`, about one equilibrium
            (without a witness).
        lfr: the system, physical or normalised: the certificate speaks of this one. A `ConvLFR` is proved frequency by
            frequency, in float64 with a rigorous rounding bound: `WellPosed()`, `Monotone(m)` or `Lipschitz(gamma)`.
        witness: P and Λ, for example `model.witness()`. Without one, they are found by formulas for linear systems,
            static networks, well-posed acyclic networks, and where the small-gain theorem is enough, and else by an
            interior point; above 60 states for a rate or a gain only, by a Riccati equation.
        proof: "exact" (in integers on the bits of the weights, what `eqnets-verify` repeats), or "float64" (with a
            rigorous rounding bound, in milliseconds: for use in training).
        attack: whether to attack the claim besides, which takes seconds: then `certificate.diagnostics` holds what was
            attained, what the best frozen slopes reach and what is certified, and `certificate.bound` the worst pair.
        progress: told in a sentence what is searched and how long it will take.

    Returns:
        The certificate.

    Raises:
        NotCertified: the inequality does not hold with these numbers, or none were found; the message says which block
            fails by how much, and what to do.
        InputError: the claim does not fit the LFR (scales, units, rate), or the witness has other sizes.
    """
    if attack and not (isinstance(claim, Claim) and isinstance(lfr, LFR)):
        raise InputError("only a claim about pairs of trajectories of an LFR is attacked; leave attack out.")
    if isinstance(claim, AtPoint):
        if witness is not None or proof != "exact" or not isinstance(lfr, LFR):
            raise InputError(
                "a claim about one equilibrium is proved about an LFR, exactly, with numbers that are searched; call "
                "certify(claim, lfr) without a witness or another proof."
            )
        if isinstance(claim, DissipativeAround):
            return certify_storage(claim, lfr)
        if isinstance(claim, AbsoluteStability) and claim.multiplier == "memory":
            return certify_with_memory(claim, lfr)
        return certify_around(claim, lfr)
    if not isinstance(claim, Claim):
        raise InputError(
            f"{claim!r} is not a claim; give WellPosed(), Monotone(m), Contracting(rate), Lipschitz(gamma), "
            "Dissipative(Q, S, R), Passive(), AbsoluteStability(), RegionOfAttraction() or DissipativeAround(Q, S, R)."
        )
    if isinstance(lfr, ConvLFR):
        if witness is not None:
            raise InputError("the multiplier of a convolutional network is found by certify: leave witness out.")
        return certify_convolutional(claim, lfr)
    if not isinstance(lfr, LFR):
        raise InputError(f"certify needs an LFR, got {type(lfr).__name__}; give model.explicit() or fit.lfr.")
    if proof not in _ARITHMETIC:
        raise InputError(f"there is no proof {proof!r}; choose one of {', '.join(map(repr, _ARITHMETIC))}.")
    settled = claim.for_system(Labels.of(lfr))
    refuse(settled, lfr)
    first: NotCertified | None = None
    if witness is not None:
        tried: Iterable[Candidate] = _from_witness(settled, lfr, witness)
    else:
        tried = chain(candidates(settled, lfr), searched(settled, lfr, progress))
    for candidate in tried:
        for attempt in _factors(settled, lfr, candidate, witness):
            try:
                evidence = prove(settled, lfr, attempt.P, attempt.Lambda, _ARITHMETIC[proof])
            except NotCertified as failure:
                first = first or failure
                continue
            method = f"{evidence.method}; witness: {attempt.origin}"
            found = Certificate.of(settled, lfr, attempt.P, attempt.Lambda, evidence, method)
            return found.attacked() if attack else found
    if first is not None and witness is not None:
        raise first
    reason = f" The best of what was tried says: {first}" if first is not None else ""
    raise NotCertified(
        f"not certified: no witness for {type(settled).__name__} was found, which does not mean that the claim is "
        f"false. Remedy: pass the model's own, certify(claim, lfr, witness=model.witness()).{reason}",
        block=first.block if first else None,
        margin=first.margin if first else None,
    )


def _from_witness(claim: Claim, lfr: LFR, witness: Witness) -> Iterator[Candidate]:
    if not isinstance(witness, Witness):
        raise InputError(f"a witness is an eqnets Witness with P and Lambda, got {type(witness).__name__}.")
    P = witness.P.detach().to("cpu").double().numpy()
    Lambda = witness.Lambda.detach().to("cpu").double().numpy()
    if Lambda.shape == (lfr.nv, lfr.nv):
        Lambda = diagonal_multipliers(Lambda)
    neurons_only = isinstance(claim, WellPosed | Monotone)
    sizes_fit = Lambda.shape == (lfr.nv,) and (P.shape == (lfr.nx, lfr.nx) or neurons_only)
    if not sizes_fit:
        raise InputError(
            f"the witness has P {P.shape} and Lambda {Lambda.shape}, but the LFR has nx={lfr.nx} and nv={lfr.nv}; take "
            "the witness of the same model."
        )
    if not neurons_only and P.size and np.abs(P - P.T).max() > 1e-6 * np.abs(P).max():
        raise InputError("the witness' P is not symmetric; give (P + Pᵀ)/2.")
    yield Candidate(P, Lambda, "given")
    low, high = (bound.numpy() for bound in lfr.activation.slopes(lfr.nv))
    if (low >= 0).all() and (high <= 1).all() and not ((low == 0).all() and (high == 1).all()):
        # models promise for slopes in [0, 1]: λ w(w − v) ≤ kλ (w − αv)(w − βv) with k = (α + β − 2αβ)/(β − α)²
        width = high - low
        k = np.where(width > 1e-6, (low + high - 2 * low * high) / np.maximum(width, 1e-6) ** 2, 1e6)
        yield Candidate(P, k * Lambda, "given, with its multipliers for slopes in [0, 1] taken to narrower slopes")


def _factors(claim: Claim, lfr: LFR, candidate: Candidate, witness: Witness | None) -> Iterator[Candidate]:
    """The candidate as it is, and for a supply with every common factor of P and Λ that may be the right one."""
    P = np.tril(candidate.P) + np.tril(candidate.P, -1).T
    if not isinstance(claim, WithSupply):
        yield Candidate(P, candidate.Lambda, candidate.origin)
        return
    rows, labels = Rows.of(lfr), Labels.of(lfr)
    u_scale, y_scale = claim.scales(labels) if isinstance(claim, Lipschitz) else ((), (1.0,) * labels.ny)
    ratios = _supply_ratios(witness.supply if witness else None, np.array(y_scale))
    if ratios == [1.0]:
        yield Candidate(P, candidate.Lambda, candidate.origin)
    first = storage(rows, P, candidate.Lambda, 1.0 if rows.discrete else 0.0).mid
    second = supply(rows, *supply_of(claim, labels)).mid
    if ratios != [1.0]:
        for factor in sorted(ratios, key=lambda t: -scaled_eigenvalue(t * first + second)):
            yield Candidate(factor * P, factor * candidate.Lambda, candidate.origin)
    if isinstance(claim, Lipschitz):
        best = best_factor(rows, P, candidate.Lambda, u_scale, y_scale)
        factor = best.value if best is not None else None
    else:
        factor = most_definite(first, second)
    if factor is not None:
        yield Candidate(factor * P, factor * candidate.Lambda, candidate.origin)


def _supply_ratios(given: Supply | None, y_scale: Array) -> list[float]:
    """Claim's supply over the witness', the witness speaking of the same signals or of ones divided by the scales."""
    size = -float(np.trace(given.Q.detach().to("cpu").double().numpy())) if given is not None else 0.0
    if not size > 0:
        return [1.0]
    return list(dict.fromkeys([float(np.sum(y_scale**-2.0)) / size, len(y_scale) / size]))
