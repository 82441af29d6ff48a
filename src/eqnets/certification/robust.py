"""The closed loop of y = G₀ u + Δ(u) with a controller: proved from the gain of Δ, and then as sharply as possible."""

from __future__ import annotations

from eqnets.certification.artefact import Certificate
from eqnets.certification.certify import certify
from eqnets.certification.claim import Contracting, Lipschitz
from eqnets.certification.compose import certify_connection
from eqnets.certification.tighten import tighten
from eqnets.errors import InputError, NotCertified
from eqnets.system.connect import System, as_lfr
from eqnets.system.interconnect import interconnect
from eqnets.system.lfr import LFR
from eqnets.system.lti import hinf_norm
from eqnets.system.simulate import linearise

_BARE = {"u_names": None, "y_names": None, "u_units": None, "y_units": None}


def certify_loop(nominal: System, controller: System, residual: Certificate) -> Certificate:
    """Close the loop u = C(r − y), y = G₀ u + Δ(u), and prove that it contracts.

    What Δ sees is a linear loop, of gain max|CS|, S = 1/(1 + G₀C). Where γ max|CS| < 1 the certificates of the two
    parts prove the loop (`certify_connection`), and `tighten` goes on from their P and Λ to the smallest rate.

    Args:
        nominal: G₀, linear, one input and one output.
        controller: C, linear, from the error r − y to u, for example `pi(G₀, uncertainty=γ)`.
        residual: of Δ, with the claim `Lipschitz(γ)`.

    Returns:
        The certificate `Contracting(rate)`. Its `lfr` is the loop, from the set-point r to (y, u), with the states of
        Δ, G₀ and C in this order.

    Raises:
        NotCertified: γ max|CS| is not below 1.
        InputError: the parts are not linear, have other channels, or the residual has no certified gain.
    """
    first, second, delta = as_lfr(nominal), as_lfr(controller), residual.lfr
    if not isinstance(residual.claim, Lipschitz):
        raise InputError(f"the residual needs a certified gain, Lipschitz(γ), not {type(residual.claim).__name__}.")
    if any((part.nu, part.ny) != (1, 1) for part in (first, second, delta)) or first.nv or second.nv:
        raise InputError("this loop has one input and one output, and a linear nominal model and controller.")
    parts = {"nominal": first.replace(**_BARE), "controller": second.replace(**_BARE)}
    wires = {"controller.u1": ["r", "-nominal.y1", "-d"], "nominal.u1": "controller.y1"}
    around = interconnect(parts, wires, ["r", "d"], {"y": ["nominal.y1", "d"], "u": "controller.y1"})
    loop = _named(interconnect(
        {"residual": delta.replace(**_BARE), "around": around},
        {"residual.u1": "around.u", "around.d": "residual.y1", "around.r": "r"}, ["r"], ["around.y", "around.u"],
    ), delta)  # fmt: skip
    seen = interconnect(parts, {**wires, "controller.u1": ["-nominal.y1", "-d"]}, ["d"], ["controller.y1"])
    gamma, peak = residual.claim.gamma, hinf_norm(linearise(seen))
    if not gamma * peak < 1:
        raise NotCertified(
            f"not certified: the residual's gain {gamma:.4g} times that of the loop around it, max|CS| = {peak:.4g}, "
            f"is {gamma * peak:.4g}, and small gain needs less than 1. Remedy: a smaller controller gain, as of "
            "pi(…, uncertainty=γ), or a residual with a smaller γ.",
            block="gain", margin=1 - gamma * peak,
        )  # fmt: skip
    of_rest = certify(Lipschitz((peak + min(1 / gamma, 2 * peak)) / 2), seen)
    by_parts = certify_connection(Contracting(), loop, [residual, of_rest])
    return tighten(Contracting(), loop, by_parts.witness)


def _named(loop: LFR, delta: LFR) -> LFR:
    """The loop with the names and units of the plant's channels."""
    y, u = (delta.y_names or ("y",))[0], (delta.u_names or ("u",))[0]
    y_units = u_units = None
    if delta.y_units and delta.u_units:
        y_units, u_units = delta.y_units + delta.u_units, delta.y_units
    return loop.replace(u_names=(f"{y} set-point",), y_names=(y, u), y_units=y_units, u_units=u_units)


__all__ = ["certify_loop"]
