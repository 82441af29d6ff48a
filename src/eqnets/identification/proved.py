"""The certificate of a fitted model: from its own parameters for what it was fitted to keep, else by a search."""

from __future__ import annotations

from collections.abc import Sequence

from eqnets.certification import Certificate, Claim, Contracting, certify, tighten
from eqnets.errors import NotCertified
from eqnets.identification.delay import certify_delayed
from eqnets.identification.fit import Fit
from eqnets.identification.guarantee import Guarantee
from eqnets.models import ContractingREN, DissipativeREN, LipschitzREN
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness

WithWitness = ContractingREN | LipschitzREN | DissipativeREN


def certify_model(guarantee: Guarantee, lfr: LFR, model: WithWitness, delays: Sequence[int]) -> Certificate:
    """Prove what a model keeps by construction, of the deployed system.

    Args:
        guarantee: what it keeps, in physical units.
        lfr: the deployed system in physical units, with its registers.
        model: between normalised signals.
        delays: (nu) samples.

    Returns:
        The certificate.

    Raises:
        NotCertified: it could not be proved for the trained numbers.
    """  # noqa: DOC502
    own = model.explicit().detach()
    return certify_delayed(guarantee, lfr, own, _sharpest(guarantee, own, model.witness()), delays)


def certify_again(fit: Fit, claim: Claim) -> Certificate:
    """Prove a claim about a fit, whatever certificate it has.

    Args:
        fit: the fit; the claim is about its `lfr`.
        claim: the guarantee that it was fitted with, or any other.

    Returns:
        The certificate; for the guarantee of the fit the one that the fit was given.

    Raises:
        NotCertified: it does not hold, or no P and Λ that prove it were found.
        InputError: the model has no LFR, or the claim does not fit its channels.
    """  # noqa: DOC502
    lfr = fit.lfr
    if fit.guarantee != "none" and claim == fit.guarantee and isinstance(fit.model, WithWitness):
        return certify_model(fit.guarantee, lfr, fit.model, fit.settings.get("delay") or (0,) * lfr.nu)
    return certify(claim, lfr)


def _sharpest(guarantee: Guarantee, lfr: LFR, witness: Witness) -> Witness:
    """P and Λ that prove the smallest rate, so that the printed time constant is near what the model does.

    The witness of the parametrisation proves the promise, often with a rate that is all but 1; it is kept for a gain
    bound, and where the search finds nothing better.
    """  # noqa: DOC201
    if not isinstance(guarantee, Contracting):
        return witness
    try:
        return tighten(guarantee, lfr, witness, proof="float64").witness
    except NotCertified:
        return witness
