"""From a claim, an LFR and numbers P, Λ to a proof, or to the block of the inequality that fails and by how much."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import torch

from eqnets.certification import exact
from eqnets.certification.claim import Claim, Contracting, Dissipative, Lipschitz, Monotone, WellPosed, WithSupply
from eqnets.certification.enclosure import Array, Ball
from eqnets.certification.exact import Exact, prove_exactly
from eqnets.certification.factor import best_factor
from eqnets.certification.inequality import Rows, condensed, storage, supply, supply_of
from eqnets.certification.labels import Labels
from eqnets.certification.proof import METHOD, Factor, Proof, prove_positive, scaled_eigenvalue
from eqnets.errors import NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness


@dataclass(frozen=True)
class Evidence:
    """What a proof leaves behind.

    Args:
        margin: the smallest eigenvalue of the Jacobi-scaled inequality.
        rate: the smallest proved contraction rate (largest c in continuous time), None where none is proved.
        method: how it was proved.
        factors: of an exact proof, by the name of the matrix that is positive definite: "P", "inequality", "neurons",
            and "rate" for the inequality of contraction at `rate`.
    """

    margin: float
    rate: float | None
    method: str = METHOD
    factors: dict[str, Factor] = field(default_factory=dict)


@dataclass(frozen=True)
class Arithmetic:
    """In which numbers a matrix is built and proved positive definite: `FLOAT64`, in milliseconds, or `INTEGERS`.

    Args:
        number: `Ball` or `Exact`.
        prove: the proof for such a matrix.
        method: in words.
    """

    number: Any
    prove: Callable[[Any], Proof]
    method: str


FLOAT64 = Arithmetic(Ball, prove_positive, METHOD)
INTEGERS = Arithmetic(Exact, prove_exactly, exact.METHOD)


def prove(claim: Claim, lfr: LFR, P: Array, Lambda: Array, arithmetic: Arithmetic = INTEGERS) -> Evidence:
    """Prove a claim with these numbers.

    A `NotCertified` names the block of the inequality that fails where P or Λ is not positive, or (★) does not hold.

    Args:
        claim: settled for this system (`claim.for_system`).
        lfr: the system.
        P: (nx, nx), symmetric; `WellPosed` and `Monotone` do not look at it.
        Lambda: (nv,); `Monotone` does not look at it.
        arithmetic: of the proof.

    Returns:
        The evidence; that it is returned is the proof.
    """
    rows, number, definite = Rows.of(lfr), arithmetic.number, arithmetic.prove
    if not np.all(Lambda > 0) or not np.isfinite(Lambda).all():
        worst = float(np.min(Lambda))
        _fail("Lambda", worst, f"a multiplier in Lambda is {worst:.3g}", "every entry must be positive and finite")
    if isinstance(claim, Monotone):
        proof = definite(_monotone(rows, claim.m, number))
        if not proof.holds:
            _monotone_fails(rows, claim.m, proof)
        return Evidence(proof.margin, None, arithmetic.method, _factors(inequality=proof))
    if isinstance(claim, WellPosed):
        proof = definite(_neurons(rows, Lambda, number))
        if not proof.holds and lfr.is_acyclic:  # some Λ proves it, with a margin up to 1, but float64 may not hold it
            return Evidence(1.0, None, "forward substitution (D11 is strictly lower triangular)")
        if not proof.holds:
            _neurons_fail(proof)
        return Evidence(proof.margin, None, arithmetic.method, _factors(inequality=proof))
    storage_proof = definite(number.exact(P))
    if not storage_proof.holds:
        what = f"P is not positive definite{_by(storage_proof)}"
        _fail("P", storage_proof.margin, what, "a storage function needs P ≻ 0; take the witness of the same model")
    proof = definite(_inequality(claim, lfr, rows, P, Lambda, number))
    if not proof.holds:
        _diagnose(claim, lfr, rows, P, Lambda, proof)
    factors = _factors(P=storage_proof, inequality=proof)
    if isinstance(
        claim, Dissipative
    ):  # Q may be anything, so that the solution of the neurons' equation is shown apart
        neurons = definite(_neurons(rows, Lambda, number))
        if not neurons.holds:
            _neurons_fail(neurons)
        factors |= _factors(neurons=neurons)
    rate, rate_proof = _proved_rate(claim, lfr, rows, P, Lambda, arithmetic)
    return Evidence(proof.margin, rate, arithmetic.method, factors | _factors(rate=rate_proof))


def _factors(**proofs: Proof | None) -> dict[str, Factor]:
    return {name: proof.factor for name, proof in proofs.items() if proof is not None and proof.factor is not None}


def _inequality(claim: Contracting | WithSupply, lfr: LFR, rows: Rows, P: Array, Lambda: Array, number: Any) -> Any:
    if isinstance(claim, Contracting):
        return storage(rows.without_input(), P, Lambda, claim.rate, number)
    if isinstance(claim, Lipschitz) and number is Ball:
        small = condensed(rows, claim, Labels.of(lfr), Lambda)
        if small is not None:
            return small
    first = storage(rows, P, Lambda, 1.0 if rows.discrete else 0.0, number)
    return first + supply(rows, *supply_of(claim, Labels.of(lfr), number))


def _neurons(rows: Rows, Lambda: Array, number: Any = Ball) -> Any:
    """The neuron block alone, Σ λ_i(p_i r_iᵀ + r_i p_iᵀ)_ww: 2Λ − ΛD11 − D11ᵀΛ for slopes in [0, 1]."""
    return storage(rows.neurons_alone(), np.zeros((0, 0)), Lambda, 1.0, number)


def _monotone(rows: Rows, m: float, number: Any) -> Any:
    """I − (D11 + D11ᵀ)/2 − mI."""
    D11, eye = number.exact(rows.Lz[:, rows.parts()["w"]]), number.exact(np.eye(rows.nv))
    return (eye - number.exact(0.5) * (D11 + D11.T) - number.exact(m) * eye).symmetric()


def _proved_rate(
    claim: Contracting | WithSupply, lfr: LFR, rows: Rows, P: Array, Lambda: Array, arithmetic: Arithmetic
) -> tuple[float | None, Proof | None]:
    """The smallest rate that these P and Λ prove, up to 1e-4 of its decay; the claim's own where that is as good."""
    claimed = claim.rate if isinstance(claim, Contracting) else None
    if rows.nx == 0:
        return claimed, None
    computed = Witness(torch.from_numpy(P), torch.from_numpy(Lambda)).rate(lfr)
    better = math.isfinite(computed) and (computed < (claimed or 1.0) if rows.discrete else computed > (claimed or 0.0))
    if not better:
        return claimed, None
    inner = rows.without_input()
    for slack in (1e-4, 1e-2, 0.1):  # of the decay 1 − ᾱ, or c: on the boundary itself nothing is left to prove
        rate = computed + slack * (1 - computed) if rows.discrete else computed * (1 - slack)
        if rate >= (claimed or 1.0) if rows.discrete else rate <= (claimed or 0.0):
            break
        proof = arithmetic.prove(storage(inner, P, Lambda, rate, arithmetic.number))
        if proof.holds:
            return rate, proof
    return claimed, None


def _diagnose(claim: Contracting | WithSupply, lfr: LFR, rows: Rows, P: Array, Lambda: Array, proof: Proof) -> NoReturn:
    """Raise with the first block that fails: neurons, states, both together, the input, everything together."""
    neurons = prove_positive(_neurons(rows, Lambda))
    if not neurons.holds:
        _neurons_fail(neurons)
    inner = claim if isinstance(claim, Contracting) else Contracting(1.0 if rows.discrete else 0.0)
    M = storage(rows.without_input(), P, Lambda, inner.rate)
    contraction = prove_positive(M)
    if not contraction.holds and contraction.margin <= 0:
        part = rows.parts()
        formula = "rate² P − AᵀPA" if rows.discrete else "−AᵀP − PA − 2cP"
        best = Witness(torch.from_numpy(P), torch.from_numpy(Lambda)).rate(lfr)
        proves = _rate_remedy(best, rows.discrete)
        state, neuron = (scaled_eigenvalue(M.mid[part[k], part[k]]) for k in "xw")
        if state <= 0:
            _fail("states", state, f"the state block {formula} (with its slope terms) is not positive definite by "
                  f"{state:.3g}", proves)  # fmt: skip
        if neuron <= 0:
            _fail("neurons", neuron, f"the neuron block 2Λ − ΛD11 − D11ᵀΛ − B1ᵀPB1 is not positive definite by "
                  f"{neuron:.3g}", f"Λ is too small beside P: {proves}")  # fmt: skip
        what = "the state block and the neuron block are positive definite, but together they are not, by "
        _fail("states and neurons", contraction.margin, f"{what}{contraction.margin:.3g}", proves)
    if isinstance(claim, Lipschitz) and proof.margin <= 0:
        _diagnose_gain(claim, lfr, rows, P, Lambda, proof)
    if not isinstance(claim, Contracting) and proof.margin <= 0:
        what = f"the states and neurons contract, but with the supply the inequality fails by {proof.margin:.3g}"
        _fail(
            "supply", proof.margin, what, "claim less (a smaller strictness, a larger R), or pass a witness made for it"
        )
    _fail(
        "rounding", proof.margin,
        f"the inequality holds as computed, with margin {proof.margin:.3g}, but that is too small to be proved "
        f"(the assembly in float64 alone is uncertain by {contraction.resolution:.2g})",
        "claim a little less (a larger rate or gamma), or train with a larger eps",
    )  # fmt: skip


def _diagnose_gain(claim: Lipschitz, lfr: LFR, rows: Rows, P: Array, Lambda: Array, proof: Proof) -> NoReturn:
    u_scale, y_scale = claim.scales(Labels.of(lfr))
    D22 = rows.Ly[:, rows.parts()["u"]] * np.array(u_scale)[None, :] / np.array(y_scale)[:, None]
    direct = float(np.linalg.norm(D22, 2)) if D22.size else 0.0
    if direct >= claim.gamma:
        _fail("input", claim.gamma - direct, f"the input block is not positive definite: D22 alone has the gain "
              f"{direct:.6g}, and gamma is {claim.gamma:.6g}", "claim a larger gamma")  # fmt: skip
    reach = best_factor(rows, P, Lambda, u_scale, y_scale)
    remedy = "claim a larger gamma, or pass a witness made for this claim"
    if reach is not None and math.isfinite(reach.gamma):
        proved = reach.gamma * (1 + 1e-4)
        remedy = f"this witness proves about gamma = {proved:.6g}; claim that, or pass a better witness"
    what = f"the states and neurons contract, but with the input and output the inequality fails by {proof.margin:.3g}"
    _fail("gain", proof.margin, what, remedy)


def _neurons_fail(proof: Proof) -> NoReturn:
    what = f"the neuron block 2Λ − ΛD11 − D11ᵀΛ (or its like for other slopes) is not positive definite{_by(proof)}"
    remedy = "the neurons' equation is not shown to have one solution; pass a Λ made for this D11, or make D11 smaller"
    _fail("neurons", proof.margin, what, remedy)


def _monotone_fails(rows: Rows, m: float, proof: Proof) -> NoReturn:
    D11 = rows.Lz[:, rows.parts()["w"]]
    most = 1 - float(np.linalg.eigvalsh((D11 + D11.T) / 2)[-1])
    remedy = (
        f"claim m = {most - 1e-12 * (1 + abs(most)):.15g} or less" if most > 0 else "another D11; WellPosed() may hold"
    )
    what = f"the smallest eigenvalue of I − (D11 + D11ᵀ)/2 is {most:.15g}, which does not reach m = {m:.15g}"
    _fail("monotone", proof.margin, what, remedy)


def _rate_remedy(best: float, discrete: bool) -> str:
    if discrete and best < 1:
        return f"this witness proves about rate = {best * (1 + 1e-6):.7g}; claim that, or pass a better witness"
    if not discrete and best > 0:
        return f"this witness proves about c = {best * (1 - 1e-6):.7g} 1/s; claim that, or pass a better witness"
    return "this witness proves no contraction of this model; pass the witness of the same model, or another one"


def _by(proof: Proof) -> str:
    if proof.margin > 0:
        return f" as far as can be proved (margin {proof.margin:.3g}, rounding {proof.resolution:.2g})"
    return f", by {proof.margin:.3g}"


def _fail(block: str, margin: float, what: str, remedy: str) -> NoReturn:
    raise NotCertified(
        f"not certified: {what} (smallest eigenvalue after scaling to a unit diagonal). Remedy: {remedy}."
        if block not in ("Lambda", "input", "monotone")
        else f"not certified: {what}. Remedy: {remedy}.",
        block=block,
        margin=margin,
    )
