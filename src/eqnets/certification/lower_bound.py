"""The verb `lower_bound`: how close a claim is to being false, or the counterexample that makes it so.

Three numbers stand beside each other: L1, what a pair of runs of this very model attains; L2, what the best frozen
slope pattern attains, which no certificate by slopes can pass; and U, what is certified. L2/U says how conservative the
certificate is, L1/L2 how much of the slopes this model reaches (or how weak the attack is).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eqnets.certification.attack import Pair, attack, slowest_pair, worst_rest
from eqnets.certification.claim import Claim, Contracting, Dissipative, Lipschitz, Monotone, Passive
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import Labels
from eqnets.certification.patterns import (
    Blocks,
    least_supply,
    linear_gain,
    scaled,
    worst_gain,
    worst_input,
    worst_rate,
)
from eqnets.errors import InputError
from eqnets.system.lfr import LFR

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class LowerBound:
    """The best counterexample that was found.

    Args:
        claim: settled for the system.
        attained: L1 in the claim's own number (a gain, a rate; in continuous time that of small deviations from an
            equilibrium); for passivity and dissipativity, minus the supply that a pair receives, per |Δu|²: above 0
            breaks the claim. None where the model was not attacked (no input, no equilibrium).
        pattern: L2, likewise for a frozen slope pattern; None where the claim has none.
        refuted: whether the claim is false for this model: `attained` breaks it beyond rounding.
        uncertifiable: whether no P and Λ can prove the claim: `pattern` breaks it.
        u: (2, time, nu) the inputs of the pair, in continuous time (2, 1, nu) constant ones; or None.
        x0: (2, nx) its initial states, or None.
        slopes: (nv,) the pattern, or None.
    """

    claim: Claim
    attained: float | None
    pattern: float | None
    refuted: bool
    uncertifiable: bool
    u: Tensor | None = None
    x0: Tensor | None = None
    slopes: Tensor | None = None

    @property
    def pair(self) -> dict[str, list] | None:
        """The pair as lists, u (2, time, nu) and x0 (2, nx); None where there is none."""
        return None if self.u is None or self.x0 is None else {"u": self.u.tolist(), "x0": self.x0.tolist()}


def lower_bound(
    claim: Claim,
    lfr: LFR,
    *,
    time: int = 40,
    tries: int = 8,
    steps: int = 150,
    generator: torch.Generator | None = None,
    patterns: Tensor | None = None,
) -> LowerBound:
    """Attack a claim: a pair of runs of this model (L1), and the worst frozen slope pattern (L2).

    Args:
        claim: `Lipschitz`, `Contracting`, `Passive`, `Dissipative` or `Monotone`.
        lfr: the system.
        time: steps of the runs; 1 for a system without states.
        tries: starts of the attack.
        steps: of gradient ascent.
        generator: of the starts; None seeds one with 0.
        patterns: (k, nv) slopes to begin with, for example those that the search of a certificate points to.

    Returns:
        What was found. It proves nothing where it does not refute.

    Raises:
        InputError: the claim has nothing to attack, or does not fit the system.
    """
    if not isinstance(claim, Contracting | Lipschitz | Passive | Dissipative | Monotone):
        raise InputError(f"{type(claim).__name__} has no number to attack; give Lipschitz, Contracting, Passive, "
                         "Dissipative or Monotone.")  # fmt: skip
    labels = Labels.of(lfr)
    settled, rows = claim.for_system(labels), Rows.of(lfr)
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    exact = lfr.detach().to("cpu", torch.float64)
    starts = None if patterns is None else patterns.detach().to("cpu", torch.float64).numpy()
    if starts is not None and (starts.ndim != 2 or starts.shape[1] != lfr.nv):
        raise InputError(f"patterns must be (k, {lfr.nv}), one slope per neuron; got {starts.shape}.")
    if isinstance(settled, Monotone):
        return _monotone(settled, rows)
    if isinstance(settled, Contracting):
        time = time if lfr.dt is not None else 1
        pair = slowest_pair(exact, tries=4 * tries, time=time, generator=generator) if lfr.nx else None
        pattern, slopes = worst_rate(rows, starts=starts)
        found = _result(settled, pair, pattern, slopes)
        if rows.discrete:
            return found(lambda value: value > settled.rate * (1 + _ROUNDING) or (settled.rate == 1 and value >= 1))
        return found(lambda value: value < settled.rate * (1 - _ROUNDING) or (settled.rate == 0 and value <= 0))
    time, towards = time if lfr.nx else 1, None
    if isinstance(settled, Lipschitz):
        u_scale, y_scale = (torch.tensor(scale, dtype=torch.float64) for scale in settled.scales(labels))

        def gain(du: Tensor, dy: Tensor) -> Tensor:
            return (dy / y_scale).flatten(1).norm(dim=1) / (du / u_scale).flatten(1).norm(dim=1).clamp_min(1e-300)

        units = u_scale.numpy(), y_scale.numpy()

        def near(blocks: Blocks) -> float:
            return linear_gain(scaled(blocks, *units), discrete=False)

        pattern, slopes = worst_gain(rows, *units, starts=starts)
        if rows.discrete:
            towards = worst_input(rows, slopes, *units, time)
        score, broken = gain, lambda value: value > settled.gamma * (1 + _ROUNDING)
    else:
        Q, S, R = (torch.from_numpy(part) for part in settled.matrices(labels))
        u_scale, pattern, slopes = torch.ones(lfr.nu, dtype=torch.float64), None, None

        def shortage(du: Tensor, dy: Tensor) -> Tensor:
            received = torch.einsum("bti,ij,btj->b", dy, Q, dy) + torch.einsum("bti,ij,btj->b", du, R, du)
            received = received + 2 * torch.einsum("bti,ij,btj->b", du, S, dy)
            return -received / du.flatten(1).square().sum(1).clamp_min(1e-300)

        def near(blocks: Blocks) -> float:
            stable = float(np.linalg.eigvals(blocks[0]).real.max()) < 0
            return -least_supply(blocks, (Q.numpy(), S.numpy(), R.numpy()), discrete=False)[0] if stable else math.inf

        score, broken = shortage, lambda value: value > _ROUNDING
    pair = None
    if lfr.nu and lfr.nx and lfr.dt is None:
        pair = worst_rest(exact, near, u_scale, tries=4 * tries, generator=generator)
    elif lfr.nu:
        exact = exact.replace(dt=lfr.dt or 1.0)  # a static network has no time
        towards = None if towards is None else torch.from_numpy(towards.copy())
        pair = attack(exact, score, u_scale, time=time, tries=tries, steps=steps, generator=generator, towards=towards)
    return _result(settled, pair, pattern, slopes)(broken)


def _result(claim: Claim, pair: Pair | None, pattern: float | None, slopes: np.ndarray | None):  # type: ignore[no-untyped-def]
    def with_test(broken) -> LowerBound:  # type: ignore[no-untyped-def]
        return LowerBound(
            claim, None if pair is None else pair.value, pattern,
            pair is not None and broken(pair.value), pattern is not None and broken(pattern),
            None if pair is None else pair.u, None if pair is None else pair.x0,
            None if slopes is None else torch.from_numpy(np.array(slopes)),
        )  # fmt: skip

    return with_test


def _monotone(claim: Monotone, rows: Rows) -> LowerBound:
    """The eigenvalue itself: here the claim is decided."""
    D11 = rows.Lz[:, rows.parts()["w"]]
    most = 1 - float(np.linalg.eigvalsh((D11 + D11.T) / 2)[-1]) if rows.nv else 1.0
    false = claim.m > most + _ROUNDING * (1 + abs(most))
    return LowerBound(claim, most, None, false, false)
