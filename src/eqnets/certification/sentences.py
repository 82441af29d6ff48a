"""The three sentences (the model, a run, the deployed program), as far as no error bar is needed for them.

What is proved is a theorem about real numbers. A run rounds, and may stop a solver early; a program is all its runs.
Each sentence is to be checked alone: the first by `eqnets-verify`, the second by a residual, the third by both.
"""

from __future__ import annotations

from eqnets.certification.artefact import Certificate
from eqnets.certification.labels import up
from eqnets.errors import InputError


def without_solve(certificate: Certificate) -> tuple[str, str, str]:
    """The three sentences where no equation is solved.

    Args:
        certificate: a claim about a system without neurons, or whose D11 is strictly lower triangular.

    Returns:
        The three sentences.

    Raises:
        InputError: its D11 is another: then a run has a residual, and `error_bar` says what that means.
    """
    if not certificate.lfr.is_acyclic:
        raise InputError("D11 is not strictly lower triangular, so a run solves an equation; use error_bar(lfr).")
    why = "D11 is strictly lower triangular, so that the neurons follow one from another"
    return (
        of_the_model(certificate),
        f"The run: {why if certificate.lfr.nv else 'there are no neurons'}. No equation is solved: there is no "
        "tolerance and no residual, and a run differs from the model by the rounding of its arithmetic alone.",
        "The deployed program: it computes the model's map up to rounding, and what was proved of the model holds of "
        f"it up to that.{fades(certificate)}",
    )


def without_bar(certificate: Certificate, why: str) -> tuple[str, str, str]:
    """The three sentences where an equation is solved and it is not known how well.

    Args:
        certificate: a claim.
        why: it is not known, in words.

    Returns:
        The three sentences.
    """
    return (
        of_the_model(certificate),
        f"The run: it solves an equation at every step, and how far it is from the model is not known: {why}.",
        f"The deployed program: nothing is known of it beyond its model.{fades(certificate)}",
    )


def of_the_model(certificate: Certificate) -> str:
    """What is proved, how, and about which weights."""
    return f"The model: {certificate.sentence} Proved by {certificate.method}; model sha256 {certificate.digest}."


def fades(certificate: Certificate) -> str:
    """That errors of steps do not pile up, where a rate ᾱ < 1 is proved: Σ ᾱᵏ ≤ 1/(1 − ᾱ); else nothing."""
    rate, labels = certificate.rate, certificate.labels
    if rate is None or labels.dt is None or labels.nx == 0 or not 0 <= rate < 1:
        return ""
    return (
        " An error of the state shrinks at every step by the proved rate, in the norm of P, so that errors of single "
        f"steps never add up to more than {up((1 + 1e-9) / (1 - rate))} times the largest of them."
    )
