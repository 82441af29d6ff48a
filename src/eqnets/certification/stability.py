"""The verb for claims about one equilibrium: find the point, the sectors, P, Λ and η, prove them, say what holds."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from eqnets.certification.around import AbsoluteStability, AroundOne, Point, RegionOfAttraction, find_point
from eqnets.certification.attraction import Program
from eqnets.certification.basin import Basin
from eqnets.certification.document import Around
from eqnets.certification.enclosure import Array
from eqnets.certification.exact import prove_exactly
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import down
from eqnets.certification.lure import Bounds, Numbers, block_diagonal, decrease, levels, within
from eqnets.certification.point_certificate import SectorCertificate
from eqnets.certification.refuse import slopes_hold
from eqnets.certification.sector import Sector, is_local
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR

_ROUGH = 4
"""Linearisations while the bounds are searched."""
_WIDEST = 1e3
"""Of a bound that is searched: the sector of a wider one is all but that without a bound."""
CRITERIA = {"circle": "circle criterion", "lure": "Lur'e–Postnikov"}


@dataclass(frozen=True, eq=False)
class StabilityCertificate(SectorCertificate):
    """A proved `AbsoluteStability` or `RegionOfAttraction` of one LFR; its fields are those of every such one."""

    claim: AroundOne

    @property
    def criterion(self) -> str:
        """By which theorem."""
        return CRITERIA[self.claim.multiplier]

    @property
    def bounds(self) -> Bounds:
        """The bound of every neuron's argument, None where there is none."""
        found = self.claim.bounds(self.lfr.nv) if isinstance(self.claim, RegionOfAttraction) else None
        return (None,) * self.lfr.nv if found is None else found

    @property
    def basin(self) -> Basin | None:
        """The region as a set of deviations from the equilibrium; None where it is the whole space."""
        if not isinstance(self.claim, RegionOfAttraction):
            return None
        rows = within(Rows.of(self.lfr), self.sectors)
        C, eta = rows.Lz[:, rows.parts()["x"]], self.numbers.eta
        floor = self.numbers.P + C.T @ (np.minimum(eta * rows.low, eta * rows.high)[:, None] * C)
        v, z = ([np.inf if entry is None else float(entry) for entry in of] for of in (self.point.v, self.bounds))
        return Basin(self.numbers.P, eta, floor, C, np.array(v), np.array(z), self.lfr.activation.each(self.lfr.nv))

    @property
    def volume(self) -> float:
        """The area (nx = 2) or volume of the region, in the units of the state, computed; inf for the whole space."""
        basin = self.basin
        return np.inf if basin is None else basin.volume()

    def contains(self, x: ArrayLike | torch.Tensor) -> NDArray[np.bool_]:
        """Whether states lie in the region.

        Args:
            x: (…, nx) states, not deviations.

        Returns:
            (…) booleans.
        """
        states = np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x, dtype=np.float64)
        basin = self.basin
        if basin is None:
            return np.full(states.shape[:-1], True)
        return basin.contains(states - np.array(self.point.x))

    @property
    def sentence(self) -> str:
        """The claim in words, generated from its numbers."""
        where = f"the equilibrium x* = {_row(self.point.x)} under the constant input u* = {_row(self.point.u)}"
        if self.point.tolerance:
            where = (
                f"the equilibrium near x = {_row(self.point.x)} under a constant input near u = {_row(self.point.u)} "
                f"(found by Newton's method: what is proved holds for any that feeds its neurons, up to "
                f"{down(self.point.tolerance)}, the v* of these x, u)"
            )
        if isinstance(self.claim, AbsoluteStability):
            words = f"Every trajectory of this model goes to {where} exponentially, from every initial state."
        else:
            bounds = ", ".join("none" if bound is None else repr(bound) for bound in self.bounds)
            words = (
                f"Every trajectory of this model that starts in the region V < 1, |v − v*| < ({bounds}), around "
                f"{where} stays there and goes to it exponentially."
            )
        return f"{words} This speaks of one equilibrium, not of pairs of trajectories; and of the model, not the plant."

    def _computed(self) -> list[str]:
        what = "area" if self.lfr.nx == 2 else "volume"
        return [f"region   {what} {self.volume:.6g} (computed)"] if np.isfinite(self.volume) else []

    def stated(self) -> Around:
        """What a file says of it."""
        return Around(
            self.point.x, self.point.u, self.point.tolerance, self.bounds,
            tuple(s.low for s in self.sectors), tuple(s.high for s in self.sectors), tuple(self.numbers.eta.tolist()),
        )  # fmt: skip


def certify_around(claim: AroundOne, lfr: LFR) -> StabilityCertificate:
    """Prove a claim about one equilibrium.

    Args:
        claim: `AbsoluteStability` or `RegionOfAttraction`; where its bounds are to be searched and the whole space is a
            region, that is what the certificate claims.
        lfr: the system, discrete or continuous, with D11 = 0.

    Returns:
        The certificate.

    Raises:
        NotCertified: the claim is refused, with the reason, or no numbers were found.
        InputError: the claim does not fit the system.
    """
    if lfr.nx == 0:
        raise InputError("a model without states has no trajectories; claim WellPosed() or Lipschitz(gamma).")
    if claim.multiplier == "lure" and lfr.dt is not None:
        if isinstance(claim, AbsoluteStability):
            raise NotCertified(
                "not certified: the Lur'e–Postnikov criterion here is one of continuous time, and the integral of a "
                "neuron along a step is no function of the state. Remedy: AbsoluteStability(multiplier='memory').",
                block="multiplier",
            )
        claim = replace(claim, multiplier="circle")
    if isinstance(claim, RegionOfAttraction) and claim.bound is None:  # a search would widen for ever
        with contextlib.suppress(NotCertified):
            return certify_around(AbsoluteStability(claim.equilibrium, claim.input, claim.multiplier), lfr)
    slopes_hold(lfr.activation)
    point, parts, rows = find_point(claim, lfr), lfr.activation.each(lfr.nv), Rows.of(lfr)
    v = np.array([float(entry) for entry in point.v])
    derivative = lfr.activation.derivative(torch.from_numpy(v)).numpy()
    _stable_there(rows, derivative, "the equilibrium is unstable: its linearisation")

    def attempt(bounds: Bounds, steps: int, multiplier: str) -> tuple[float, Program, list[Array]] | None:
        sectors = point.sectors(lfr, bounds)
        program = Program.of(within(rows, sectors), sectors, bounds, signed=multiplier == "lure")
        starts = [] if program is None else [program.feasible()]
        if program is not None and program.signed and (lower := attempt(bounds, steps, "circle")) is not None:
            starts.append(program.lifted(lower[2][len(lower[2]) // 2]))  # never less than the circle criterion
        inner = [start for start in starts if start is not None]
        if program is None or not inner:
            return None
        if not any(bounds):
            return np.inf, program, inner
        best, volume = max((program.largest(start, v, parts, steps) for start in inner), key=lambda found: found[1])
        towards = program.centre(best)
        return volume, program, [best + share * (towards - best) for share in (1e-5, 1e-3, 0.1)]

    if isinstance(claim, AbsoluteStability):
        bounds: Bounds = (None,) * lfr.nv
    else:
        given = claim.bounds(lfr.nv)
        if given is None and not any(map(is_local, parts)):
            raise NotCertified(
                "not certified: the whole space is not proved, and no bound on its argument narrows the sector of "
                f"{lfr.activation.name[:60]!r} here. Remedy: make the loop slower or its gain smaller.",
                block="bound",
            )
        bounds = given or tuple(1.0 if is_local(part) else None for part in parts)
        for multiplier in CRITERIA if given is None else ():
            if multiplier in ("circle", claim.multiplier):
                bounds = _widen(bounds, lambda bounds, name=multiplier: attempt(bounds, _ROUGH, name))
    found = attempt(bounds, 10 * _ROUGH, claim.multiplier)
    if found is not None:
        for y in found[2]:
            sectors, numbers = point.sectors(lfr, bounds), found[1].numbers(y)
            narrowed = within(rows, sectors)
            proofs = {
                "inequality": prove_exactly(decrease(narrowed, numbers)),
                "P": prove_exactly(block_diagonal(levels(narrowed, numbers, sectors, bounds))),
            }
            factors = {name: proof.factor for name, proof in proofs.items() if proof.holds and proof.factor is not None}
            if len(factors) == len(proofs) and (numbers.Lambda > 0).all():
                settled = _settled(claim, point, bounds, numbers)
                margin = min(proof.margin for proof in proofs.values())
                return StabilityCertificate(settled, point, numbers, margin, lfr.detach(), sectors, factors)
    _reason(claim, rows, point.sectors(lfr, bounds))
    raise NotCertified(
        f"not certified: the {CRITERIA[claim.multiplier]} finds no P and Λ for "
        f"{'these bounds' if any(bounds) else 'these sectors'}, which does not mean that the claim is false. Remedy: "
        f"{'smaller bounds' if any(bounds) else 'RegionOfAttraction()'}"
        f"{', or multiplier=' + repr('lure') if claim.multiplier == 'circle' and lfr.dt is None else ''}.",
        block="inequality",
    )


def _widen(bounds: Bounds, attempt: Callable[[Bounds], Any]) -> Bounds:
    """Bounds of a large region, by steps up and down that grow smaller, one neuron after the other."""
    found = attempt(bounds)
    volume = -1.0 if found is None else found[0]
    for factor in (1.6, 1.2, 1.06, 1.02):
        for i, step in itertools.product(range(len(bounds)), (factor, 1 / factor)):
            while (bound := bounds[i]) is not None and bound * step <= _WIDEST:
                trial = (*bounds[:i], bound * step, *bounds[i + 1 :])
                found = attempt(trial)
                if found is None or found[0] <= volume:
                    break
                bounds, volume = trial, found[0]
    return bounds


def _settled(claim: AroundOne, point: Point, bounds: Bounds, numbers: Numbers) -> AroundOne:
    named = replace(claim, equilibrium=point.x, input=point.u, multiplier="lure" if numbers.eta.any() else "circle")
    return replace(named, bound=bounds) if isinstance(named, RegionOfAttraction) else named


def _reason(claim: AroundOne, rows: Rows, sectors: list[Sector]) -> None:
    """Refuse where some constant gains in the sectors make the system unstable: then no numbers can exist."""
    ends = [(s.low, s.high) for s in sectors]
    for gains in itertools.islice(itertools.product(*ends), 1024):
        words = f"with its neurons replaced by the gains {_row(gains)}, which the sectors allow, the system"
        try:
            _stable_there(rows, np.array(gains), words)
        except NotCertified as error:
            remedy = "RegionOfAttraction()" if isinstance(claim, AbsoluteStability) else "a smaller bound"
            raise NotCertified(f"{error} Remedy: claim {remedy}.", block=error.block, margin=error.margin) from None


def _stable_there(rows: Rows, gains: Array, what: str) -> None:
    part = rows.parts()
    values = np.linalg.eigvals(rows.Lx[:, part["x"]] + (rows.Lx[:, part["w"]] * gains) @ rows.Lz[:, part["x"]])
    worst = float(np.abs(values).max()) if rows.discrete else float(values.real.max())
    if worst >= (1.0 if rows.discrete else 0.0):
        where = f"|z| = {worst:.6g}" if rows.discrete else f"Re s = {worst:.6g} 1/s"
        raise NotCertified(f"not certified: {what} has a pole at {where}.", block="states", margin=-worst)


def _row(entries: Iterable[Any]) -> str:
    return f"({', '.join(f'{float(entry):.6g}' for entry in entries)})"


__all__ = ["StabilityCertificate", "certify_around"]
