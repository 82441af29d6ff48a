"""The verb `tighten`: the smallest number that (★) can prove, by a search over P and Λ.

A model by construction brings a witness that proves its promise, often with numbers far from what the model does: a
rate that is all but 1, where the trajectories forget in a few steps. The claim that comes back is the sharp one.
"""

from __future__ import annotations

import math
from typing import overload

import numpy as np
import torch

from eqnets.certification import semidefinite
from eqnets.certification.artefact import Certificate
from eqnets.certification.certify import certify
from eqnets.certification.claim import Claim, Contracting, Lipschitz, Monotone
from eqnets.certification.convolutional import ConvCertificate, tighten_convolutional
from eqnets.certification.coordinates import Scaled
from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import Labels
from eqnets.certification.patterns import worst_rate
from eqnets.certification.semidefinite import Progress, proved_rate
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.taps import ConvLFR
from eqnets.system.witness import Witness


@overload
def tighten(
    claim: Claim,
    lfr: LFR,
    witness: Witness | None = None,
    *,
    rtol: float = 1e-2,
    proof: str = "exact",
    progress: Progress | None = None,
) -> Certificate: ...
@overload
def tighten(claim: Claim, lfr: ConvLFR, witness: None = None) -> ConvCertificate: ...
def tighten(
    claim: Claim,
    lfr: LFR | ConvLFR,
    witness: Witness | None = None,
    *,
    rtol: float = 1e-2,
    proof: str = "exact",
    progress: Progress | None = None,
) -> Certificate | ConvCertificate:
    """Search P and Λ for the smallest provable rate or gain (largest c, largest m), and prove it.

    Args:
        claim: `Contracting()`, `Lipschitz(gamma, u_scale, y_scale)` or `Monotone(m)`; its own number is not looked at,
            its scales are.
        lfr: the system; of a `ConvLFR`, `Monotone` and `Lipschitz` are tightened frequency by frequency.
        witness: P and Λ to begin with; they save time, and are the last resort of a search for a gain.
        rtol: how close to the smallest that (★) can prove: of the time constant for a rate; a gain comes to 1e-4.
        proof: as in `certify`.
        progress: told in a sentence what is searched and how long it will take.

    Returns:
        The certificate of the sharpest claim found; `certify(claim, lfr, certificate.witness)` proves a weaker one with
        the same numbers.

    Raises:
        NotCertified: no P, Λ prove the claim with any number.
        InputError: there is nothing to tighten in this claim, or an option is out of range.
    """  # noqa: DOC502
    if not rtol > 0:
        raise InputError(f"rtol must be positive, got {rtol}.")
    if isinstance(lfr, ConvLFR):
        return tighten_convolutional(claim, lfr)
    rows = Rows.of(lfr)
    match claim:
        case Monotone():
            D11 = rows.Lz[:, rows.parts()["w"]]
            most = 1 - float(np.linalg.eigvalsh((D11 + D11.T) / 2)[-1]) if rows.nv else 1.0
            if most <= 0:
                return certify(Monotone(1e-300), lfr, proof=proof)  # says why not
            return certify(Monotone(most * (1 - 1e-12) - 1e-15 * rows.nv), lfr, proof=proof)
        case Contracting():
            if rows.nx == 0:
                return certify(Contracting(), lfr, witness, proof=proof)
            rate, P, Lambda = _rate(rows, lfr, witness, rtol, progress)
            return certify(Contracting(rate), lfr, _witness(P, Lambda), proof=proof)
        case Lipschitz():
            return tightest_gain(claim, lfr, witness, proof=proof, progress=progress)[0]
    raise InputError(
        f"there is no number to tighten in {type(claim).__name__}; give Contracting(), Lipschitz or Monotone."
    )


def tightest_gain(
    claim: Lipschitz,
    lfr: LFR,
    witness: Witness | None = None,
    *,
    proof: str = "exact",
    progress: Progress | None = None,
) -> tuple[Certificate, Array]:
    """The smallest gain that P and Λ prove, and what holds it back.

    Args:
        claim: whose scales are meant.
        lfr: the system.
        witness: P and Λ, which are taken where the search ends above their gain.
        proof: as in `certify`.
        progress: as in `certify`.

    Returns:
        The certificate, and the slopes (k, nv) of the worst increments.

    Raises:
        InputError: the witness has other sizes than the system.
    """
    rows, labels = Rows.of(lfr), Labels.of(lfr)
    settled = claim.for_system(labels)
    guess = None
    if witness is not None:
        guess = witness.P.detach().double().numpy().copy(), witness.Lambda.detach().double().numpy().copy()
        if guess[0].shape != (rows.nx, rows.nx) or guess[1].shape != (rows.nv,):
            raise InputError("the witness has other sizes than the LFR; take the witness of the same model.")
    gamma, P, Lambda, slopes = semidefinite.smallest_gain(rows, settled, labels, guess=guess, progress=progress)
    return _just_above(gamma, settled, lfr, (P, Lambda), proof), slopes


def _rate(
    rows: Rows, lfr: LFR, witness: Witness | None, rtol: float, progress: Progress | None
) -> tuple[float, Array, Array]:
    """Bisection between what no certificate can pass, a frozen slope pattern, and what some P and Λ prove."""
    discrete, inner = rows.discrete, rows.without_input()
    start = None
    if witness is not None:
        start = witness.P.detach().double().numpy().copy(), witness.Lambda.detach().double().numpy().copy()
        reached = proved_rate(*start, lfr)
        start = start if (reached < 1 if discrete else reached > 0) else None
    if start is None:
        start = semidefinite.contracting(inner, 1.0 if discrete else 0.0)
        if start is None:
            semidefinite.refuse_contraction(rows)
    # in terms of the decay per step (or per second): 0 proves nothing, `fastest` is out of reach
    best, known = start, _decay(proved_rate(*start, lfr), discrete)
    fastest = min(_decay(worst_rate(rows)[0], discrete), 60.0 if discrete else math.inf)
    low, high = max(known, 1e-12 * (1 + abs(known))), fastest
    if rows.nx <= semidefinite.LARGEST_STATE:  # larger ones take seconds: no semidefinite program
        scaled = Scaled.around(inner, *start, np.zeros(0))
        total = np.zeros((rows.nx + rows.nv,) * 2)
        semidefinite.predict(progress, scaled.problem(1.0, total, [total], 1.0), searches=15)
    for _ in range(60):
        if high <= low * (1 + rtol):
            break
        middle = math.sqrt(low * high) if math.isfinite(high) else 2 * low
        found = semidefinite.contracting(inner, _from_decay(middle, discrete), best, best=False)
        if found is None:
            found = semidefinite.contracting(inner, _from_decay(middle, discrete), None, best=False)
        if found is None:
            high = middle
            continue
        best, low = found, max(middle, _decay(proved_rate(*found, lfr), discrete))
    for slack in (0.5 * rtol, 2 * rtol, 0.1):  # not on the boundary: there is no margin left to prove
        rate = _from_decay(low / (1 + slack), discrete)
        found = semidefinite.contracting(inner, rate, best)
        if found is not None and _beats(proved_rate(*found, lfr), rate, discrete):
            return rate, found[0], found[1]
    return _from_decay(known * (1 - 1e-6), discrete), start[0], start[1]


def _just_above(gamma: float, claim: Lipschitz, lfr: LFR, guess: tuple[Array, Array], proof: str) -> Certificate:
    """Give up a little of γ, go to the middle of what is then feasible, and prove that."""
    rows, labels = Rows.of(lfr), Labels.of(lfr)
    failure: NotCertified | None = None
    for slack in (1e-5, 1e-4, 1e-3, 1e-2):
        wider = Lipschitz(max(gamma * (1 + slack), 1e-12), claim.u_scale, claim.y_scale)
        found = semidefinite.with_supply(rows, wider, labels, guess)
        try:
            return certify(wider, lfr, _witness(*(found or guess)), proof=proof)
        except NotCertified as error:
            failure = error
    raise failure or NotCertified("not certified: no gain was found.")


def _witness(P: Array, Lambda: Array) -> Witness:
    return Witness(torch.from_numpy(np.ascontiguousarray(P)), torch.from_numpy(np.ascontiguousarray(Lambda)))


def _decay(rate: float, discrete: bool) -> float:
    """−ln ρ per step, or c per second."""
    return -math.log(max(rate, 1e-30)) if discrete else rate


def _from_decay(decay: float, discrete: bool) -> float:
    return math.exp(-decay) if discrete else decay


def _beats(proved: float, rate: float, discrete: bool) -> bool:
    return proved < rate if discrete else proved > rate
