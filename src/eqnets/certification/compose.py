"""A certificate of a connection from the certificates of its parts: small gain, passivity, cascades, one argument.

Storages add up. With (P_i, Λ_i) of the parts and weights t_i > 0, take P = blockdiag(t_i P_i), Λ = blockdiag(t_i Λ_i):
the inequality (★) of the connection is Σ t_i M_i, each M_i seen through the wires, plus the supplies that the parts
exchange. Where those cancel or are negative for some t, the sum is positive definite:

- small gain: a loop of gains γ₁γ₂ < 1 contracts, by t₂/t₁ in (γ₁², 1/γ₂²), and has the gain γ₁/(1 − γ₁γ₂),
- passivity: two passive parts in negative feedback, with t₂ = t₁, make a passive loop,
- a cascade of contracting parts contracts, with t₁/t₂ large enough; gains multiply.

The weights are searched by what they are for, the smallest eigenvalue of (★) or the gain; what is then proved is (★) of
the connection itself, so that nothing rests on the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from eqnets.certification.artefact import Certificate
from eqnets.certification.certify import certify
from eqnets.certification.claim import Claim, Contracting, Lipschitz, Monotone, WellPosed, WithSupply
from eqnets.certification.enclosure import Array
from eqnets.certification.factor import best_factor, golden, most_definite
from eqnets.certification.inequality import Rows, storage, supply, supply_of
from eqnets.certification.labels import Labels
from eqnets.certification.proof import scaled_eigenvalue
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness

_SWEEPS = 6


def certify_connection(claim: Claim, lfr: LFR, parts: Sequence[Certificate], proof: str = "exact") -> Certificate:
    """Prove a claim about a connection, from the certificates of its parts alone: no search over P and Λ.

        loop = eq.feedback(plant, controller)
        eq.certify_connection(eq.Contracting(), loop, [of_plant, of_controller])

    Args:
        claim: about the connection.
        lfr: the connection, by `interconnect`, `series`, `parallel` or `feedback`.
        parts: one certificate for each system with states or neurons, in their order in the connection. What they
            claim is not looked at, their P and Λ are: those of a gain or a supply suit a loop, those of contraction a
            cascade.
        proof: as in `certify`.

    Returns:
        The certificate of the connection; it can be a part again.

    Raises:
        NotCertified: no weights were found with which the parts prove the claim; `certify(claim, lfr)` searches P and Λ
            anew and may still find a proof.
        InputError: the parts have other states and neurons than the connection.
    """  # noqa: D214, D405
    witnesses = [part.witness for part in parts]
    stateless = [i for i, part in enumerate(parts) if part.witness.P.shape[0] != part.lfr.nx]
    if stateless:
        kind = type(parts[stateless[0]].claim).__name__
        raise InputError(
            f"part {stateless[0] + 1} is certified {kind} and brings no storage P; certify a gain or a rate."
        )
    nx, nv = (sum(getattr(part.lfr, name) for part in parts) for name in ("nx", "nv"))
    if (nx, nv) != (lfr.nx, lfr.nv):
        raise InputError(
            f"the parts have {nx} states and {nv} neurons, the connection has {lfr.nx} and {lfr.nv}; give one "
            "certificate per system, in the order of the connection."
        )
    settled, rows = claim.for_system(Labels.of(lfr)), Rows.of(lfr)
    weights = _weights(_score(settled, lfr, rows, witnesses), len(parts))
    P, Lambda = _stack(witnesses, weights)
    try:
        certificate = certify(claim, lfr, Witness(torch.from_numpy(P), torch.from_numpy(Lambda)), proof=proof)
    except NotCertified as error:
        raise NotCertified(
            f"not certified: the parts' certificates do not prove {type(claim).__name__} of their connection"
            f"{_gains(parts)}. certify(claim, lfr) searches P and Λ anew and may still find a proof. The best weights "
            f"say: {error}",
            block=error.block, margin=error.margin,
        ) from error  # fmt: skip
    return replace(certificate, method=certificate.method.replace("witness: given", "witness: the parts', weighted"))


def _weights(score: Callable[[Array], float], count: int) -> Array:
    """Weights with a small score, by line searches: each alone, and each together with all that follow it.

    Only ratios count, so that the first stays 1. For two parts one search is enough: the scores are quasiconvex, their
    level sets being those of a linear matrix inequality.

    Args:
        score: of weights (count,).
        count: of parts.

    Returns:
        The weights (count,).
    """
    order = np.arange(count)
    lines = [order == i for i in range(1, count)] + [order >= i for i in range(1, count - 1)]
    log, best = np.zeros(count), score(np.ones(count))
    for _ in range(_SWEEPS if len(lines) > 1 else 1):
        before = best
        for line in lines:
            found = golden(float, lambda s, line=line, log=log: score(np.exp(log + s * line)), -25.0, 25.0)
            if found.gamma < best:
                log, best = log + found.value * line, found.gamma
        if best > before - 1e-3 * abs(before):
            break
    return np.exp(log)


def _score(claim: Claim, lfr: LFR, rows: Rows, parts: Sequence[Witness]) -> Callable[[Array], float]:
    """What the weights are to make small: the gain, or minus the smallest eigenvalue of (★)."""
    rate = 1.0 if rows.discrete else 0.0
    if isinstance(claim, Lipschitz):
        scales = claim.scales(Labels.of(lfr))

        def gain(weights: Array) -> float:
            reached = best_factor(rows, *_stack(parts, weights), *scales)
            return (
                reached.gamma if reached is not None and math.isfinite(reached.gamma) else 1e12 * (2 + grows(weights))
            )

    elif isinstance(claim, Contracting):
        rate = claim.rate
    inner = rows.neurons_alone() if isinstance(claim, WellPosed | Monotone) else rows.without_input()
    states = inner.nx > 0
    each, sizes = [], []  # (★) of Δu = 0 is linear in P and Λ
    for own in np.eye(len(parts)):
        P, Lambda = _stack(parts, own)
        each.append(storage(inner, P if states else P[:0, :0], Lambda, rate).mid)
        sizes.append(np.concatenate([np.diagonal(P), Lambda]) if states else Lambda)

    def grows(weights: Array) -> float:
        size = np.sqrt(np.tensordot(weights, sizes, 1))
        return -float(np.linalg.eigvalsh(np.tensordot(weights, each, 1) / size[:, None] / size[None, :])[0])

    if isinstance(claim, Lipschitz):
        return gain
    if not isinstance(claim, WithSupply):
        return grows
    exchanged = supply(rows, *supply_of(claim, Labels.of(lfr))).mid

    def indefinite(weights: Array) -> float:
        first = storage(rows, *_stack(parts, weights), rate).mid
        return -scaled_eigenvalue((most_definite(first, exchanged) or 1.0) * first + exchanged)

    return indefinite


def _stack(witnesses: Sequence[Witness], weights: Array) -> tuple[Array, Array]:
    """blockdiag(t_i P_i), blockdiag(t_i Λ_i)."""
    P = torch.block_diag(*(t * one.P for t, one in zip(weights, witnesses, strict=True))).numpy()
    Lambda = torch.cat([t * one.Lambda for t, one in zip(weights, witnesses, strict=True)]).numpy()
    return P.reshape(sum(one.P.shape[0] for one in witnesses), -1), Lambda


def _gains(parts: Sequence[Certificate]) -> str:
    claims = [part.claim for part in parts]
    if len(claims) == 2 and all(isinstance(claim, Lipschitz) for claim in claims):
        product = math.prod(claim.gamma for claim in claims if isinstance(claim, Lipschitz))
        return f" (their gains multiply to {product:.4g}; small gain needs less than 1 around a loop)"
    return ""


__all__ = ["certify_connection"]
