"""Willems' dissipativity around one equilibrium: no more energy leaves than was supplied, and was stored at first.

With ξ = (x − x*, w − w*, u − u*), every neuron in its sector [α_i, β_i] around its point wherever it is, Δy = y − y*
and Δu = u − u*, (★) with these sectors in the place of slopes, over deviations in the place of increments, says

    V(ξ_x⁺) ≤ V(ξ_x) + ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu,   V = ξ_xᵀP ξ_x

(Willems 1972; V̇ ≤ the supply in continuous time). Sectors around a point are narrower than slopes, so that a supply may
hold around an equilibrium where it holds between no two trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from eqnets.certification import semidefinite
from eqnets.certification.around import DissipativeAround, find_point
from eqnets.certification.dissipation import Dissipative, words_of
from eqnets.certification.document import Storage
from eqnets.certification.enclosure import Array
from eqnets.certification.exact import Exact, prove_exactly
from eqnets.certification.inequality import Rows, storage, supply, supply_of
from eqnets.certification.labels import Labels, down, printable
from eqnets.certification.lure import Numbers
from eqnets.certification.patterns import least_supply
from eqnets.certification.point_certificate import SectorCertificate
from eqnets.certification.refuse import slopes_hold
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR


@dataclass(frozen=True, eq=False)
class StorageCertificate(SectorCertificate):
    """A proved `DissipativeAround` of one LFR; its fields are those of every such certificate, with η = 0."""

    claim: DissipativeAround

    @property
    def criterion(self) -> str:
        """By which theorem."""
        return "sectors around the equilibrium, a quadratic storage"

    @property
    def sentence(self) -> str:
        """The claim in words and physical units, generated from its numbers."""
        labels, total = Labels.of(self.lfr), "∫" if self.lfr.dt is None else "Σ"
        x, u = (", ".join(f"{entry:.6g}" for entry in at) for at in (self.point.x, self.point.u))
        near = f" (found by Newton's method, up to {down(self.point.tolerance)} of what its neurons are fed)"
        near = near if self.point.tolerance else ""
        signals = [_channels(labels.inputs(), labels.u_units), _channels(labels.outputs(), labels.y_units)]
        return (
            f"Around the equilibrium x* = ({x}) under the constant input u* = ({u}){near}, "
            f"whatever input this model is fed, {total} (ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu) ≥ −Δx₀ᵀPΔx₀ with Δx = x − x*, Δu = "
            f"u − u* in ({signals[0]}), Δy = y − y* in ({signals[1]}), Q = {words_of(self.claim.Q)}, S = "
            f"{words_of(self.claim.S)}, R = {words_of(self.claim.R)}. This speaks of one equilibrium, not of pairs of "
            "trajectories; and of the model, not the plant."
        )

    def stated(self) -> Storage:
        """What a file says of it."""
        nv, ends = self.lfr.nv, [tuple(getattr(s, end) for s in self.sectors) for end in ("low", "high")]
        at = self.point.x, self.point.u, self.point.tolerance
        return Storage(*at, (None,) * nv, ends[0], ends[1], (0.0,) * nv, self.claim.Q, self.claim.S, self.claim.R)


def certify_storage(claim: DissipativeAround, lfr: LFR) -> StorageCertificate:
    """Prove a supply around one equilibrium.

    Args:
        claim: the supply and the equilibrium.
        lfr: the system, discrete or continuous, with D11 = 0.

    Returns:
        The certificate.

    Raises:
        NotCertified: no numbers were found, with the reason where the linearisation there is one.
        InputError: the claim does not fit the system.
    """
    if lfr.nx == 0:
        raise InputError("a model without states stores nothing; claim Dissipative(Q, S, R) or Lipschitz(gamma).")
    labels = Labels.of(lfr)
    asked = claim.supply.for_system(labels)
    slopes_hold(lfr.activation)
    point = find_point(claim, lfr)
    sectors = point.sectors(lfr, (None,) * lfr.nv)
    low, high = (np.array([getattr(s, end) for s in sectors], dtype=np.float64) for end in ("low", "high"))
    rows = replace(Rows.of(lfr), low=low, high=high)
    found = semidefinite.with_supply(rows, asked, labels)
    if found is not None:
        P, Lambda = np.tril(found[0]) + np.tril(found[0], -1).T, found[1]
        M = storage(rows, P, Lambda, float(rows.discrete), Exact) + supply(rows, *supply_of(asked, labels, Exact))
        proofs = {"inequality": prove_exactly(M), "P": prove_exactly(Exact.exact(P))}
        factors = {name: proof.factor for name, proof in proofs.items() if proof.holds and proof.factor is not None}
        if len(factors) == len(proofs) and (Lambda > 0).all():
            settled, margin = replace(claim, equilibrium=point.x, input=point.u), proofs["inequality"].margin
            numbers = Numbers(P, Lambda, np.zeros(lfr.nv))
            return StorageCertificate(settled, point, numbers, margin, lfr.detach(), sectors, factors)
    derivative = lfr.activation.derivative(torch.tensor([float(v) for v in point.v], dtype=torch.float64))
    _linearised(rows, derivative.numpy(), asked, labels)
    raise NotCertified(
        "not certified: no P and Λ were found for this supply around this equilibrium, which does not mean that the "
        "claim is false. Remedy: a larger R or a smaller Q.",
        block="inequality",
    )


def _linearised(rows: Rows, gains: Array, claim: Dissipative, labels: Labels) -> None:
    """Refuse where the linearisation at the equilibrium is unstable, or takes out more than is supplied."""
    part = rows.parts()
    x, w, u = (part[name] for name in "xwu")
    closed = [(of[:, x] + (of[:, w] * gains) @ rows.Lz[:, x], of[:, u] + (of[:, w] * gains) @ rows.Lz[:, u])
              for of in (rows.Lx, rows.Ly)]  # fmt: skip
    (A, B), (C, D) = closed
    poles = np.linalg.eigvals(A)
    if (np.abs(poles).max() >= 1) if rows.discrete else (poles.real.max() >= 0):
        raise NotCertified(
            f"not certified: the linearisation at the equilibrium has the poles {np.round(poles, 6).tolist()}, so that "
            "it is unstable. Remedy: stabilise the model first.", block="states",
        )  # fmt: skip
    least, omega = least_supply((A, B, C, D), claim.matrices(labels), rows.discrete)
    if least < 0:
        where = f"{omega:.4g} rad a sample" if rows.discrete else f"{omega:.4g} rad/s"
        raise NotCertified(
            f"not certified: at {where} the linearisation at the equilibrium takes out more than is supplied "
            f"(smallest eigenvalue {least:.6g}), and so does the model for small signals. Remedy: a larger R or a "
            "smaller Q.",
            block="supply", margin=least,
        )  # fmt: skip


def _channels(names: list[str], units: tuple[str, ...] | None) -> str:
    return ", ".join(
        f"{name} [{printable(unit)}]" for name, unit in zip(names, units or ("",) * len(names), strict=True)
    )
