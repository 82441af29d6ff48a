"""The search for P and Λ where no formula knows them: (★) as a semidefinite program, in scaled coordinates.

Nothing here proves anything: what is found is proved from the LFR alone, as if it had been given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import torch

from eqnets.certification import riccati
from eqnets.certification.claim import Lipschitz, WithSupply
from eqnets.certification.coordinates import Scaled, first_guess
from eqnets.certification.enclosure import Array
from eqnets.certification.factor import best_factor
from eqnets.certification.inequality import Rows, supply, supply_of
from eqnets.certification.interior_point import Solution, Structured, solve
from eqnets.certification.labels import Labels
from eqnets.errors import NotCertified
from eqnets.system.witness import Witness

Progress = Callable[[str], None]
"""Called with a sentence: what is searched, and how long it will take about."""

LARGEST_STATE = 60
"""The Newton system is dense in the n(n + 1)/2 entries of P: beyond this, P comes from a Riccati equation."""


def contracting(
    rows: Rows, rate: float, guess: tuple[Array, Array] | None = None, *, best: bool = True
) -> tuple[Array, Array] | None:
    """P and Λ that make the inequality of contraction hold at a rate, or None where there are none.

    The largest smallest eigenvalue of the scaled inequality is searched, over P, Λ of bounded trace; it is above 0
    exactly where P and Λ exist. The multiplier bounds it from above, which is how infeasibility shows.

    Args:
        rows: of the system; without states, the neuron block alone is searched.
        rate: ρ, or c in continuous time.
        guess: P, Λ to scale the coordinates by; None makes one.
        best: whether to go on to the largest margin, or to stop at the first P, Λ that will do.

    Returns:
        P (nx, nx) and Λ (nv,), or None.
    """
    if rows.nx > LARGEST_STATE:
        return riccati.contracting(rows, rate)
    rows = rows.without_input()
    if guess is None:
        guess = first_guess(rows, rate)
        if guess is None:
            return None
    if rows.nx + rows.nv == 0:
        return np.zeros((0, 0)), np.zeros(0)
    for _ in range(2):
        scaled = Scaled.around(rows, *guess, np.zeros(0))
        total = rows.nx + rows.nv
        problem = scaled.problem(rate, np.zeros((total, total)), [-np.eye(total)], 2.0 * total)
        found = _widest(problem, enough=0.0 if best is False else math.inf)
        P, lam, (margin,) = problem.split(found.y)
        if margin > 1e-12:
            return scaled.witness(P, lam)
        if -found.bound < 1e-10 or margin < -1.0:
            return None
        try:  # a poor guess: once more in the coordinates of what was found
            guess = scaled.witness(P + 1e-9 * np.eye(rows.nx), np.maximum(lam, 1e-9))
            np.linalg.cholesky(guess[0])
        except np.linalg.LinAlgError:
            return None
    return None


def smallest_gain(
    rows: Rows,
    claim: Lipschitz,
    labels: Labels,
    *,
    guess: tuple[Array, Array] | None = None,
    rtol: float = 1e-7,
    progress: Progress | None = None,
) -> tuple[float, Array, Array, Array]:
    """The smallest γ that (★) can prove, up to rtol, with P and Λ of about that gain (not of a good margin).

    Args:
        rows: of the system.
        claim: whose scales are meant; its γ is not looked at.
        labels: of the system.
        guess: P, Λ that prove some gain, for the case that the search does not end.
        rtol: of γ².
        progress: told the predicted time.

    A `NotCertified` says that no P, Λ prove any gain.

    Returns:
        γ, P (nx, nx), Λ (nv,), and the slopes (k, nv) of the k worst increments, to which the multiplier points.
    """
    start = contracting(rows, 1.0 if rows.discrete else 0.0) or guess
    if start is None:
        refuse_contraction(rows)
    if rows.nx > LARGEST_STATE:
        scales = [np.array(scale) for scale in claim.scales(labels)]
        tried = [riccati.smallest_gain(rows, scales[0], scales[1], one[1]) for one in (start, guess) if one is not None]
        found = [one for one in tried if one is not None]
        return min(found, key=lambda one: one[0]) if found else refuse_contraction(rows)
    best = _descend(rows, claim, labels, start, rtol, progress)
    for room in (1.5, 5.0, 20.0):
        if best.sharp:
            break
        # so near the boundary Newton's steps are short: begin again in the middle of what a wider gain leaves
        wider = Lipschitz(room * best.gamma, claim.u_scale, claim.y_scale)
        centre = with_supply(rows, wider, labels, (best.P, best.Lambda))
        if centre is None:
            break
        again = _descend(rows, claim, labels, centre, rtol, None)
        best = replace(again if again.gamma < best.gamma else best, sharp=again.sharp)
    if guess is not None and not best.sharp:
        with suppress(NotCertified):  # a guess that proves no gain
            best = min(best, _descend(rows, claim, labels, guess, rtol, None), key=lambda one: one.gamma)
    return best.gamma, best.P, best.Lambda, best.slopes


@dataclass(frozen=True, eq=False)
class _Descent:
    """Where a descent of γ ended, and whether its bound says that there is nothing below."""

    gamma: float
    P: Array
    Lambda: Array
    slopes: Array
    sharp: bool


def _descend(
    rows: Rows, claim: Lipschitz, labels: Labels, start: tuple[Array, Array], rtol: float, progress: Progress | None
) -> _Descent:
    """Minimise γ² from P and Λ, in their coordinates."""
    u_scale, y_scale = (np.array(scale) for scale in claim.scales(labels))
    rows, u_scale = _compressed(rows, u_scale)
    factor = best_factor(rows, *start, tuple(u_scale), tuple(y_scale))
    if factor is None or not math.isfinite(factor.gamma):
        refuse_contraction(rows)
    start = factor.value * start[0], factor.value * start[1]
    scaled = Scaled.around(rows, *start, u_scale / max(factor.gamma, 1e-100))
    C, N, inner = scaled.C, rows.Lx.shape[1], rows.nx + rows.nv
    Ly = rows.Ly / y_scale[:, None] @ C
    problem = scaled.problem(
        1.0 if rows.discrete else 0.0, -Ly.T @ Ly, [np.diag([0.0] * inner + [1.0] * (N - inner))], 1e7 * (inner + 1)
    )
    y = problem.join(np.eye(rows.nx), np.ones(rows.nv), np.array([1.0]))
    for _ in range(200):
        y[-1] = 1.0 + 2.0 * (y[-1] - 1.0) if y[-1] > 1.0 else 1.001
        if np.linalg.eigvalsh(problem.constant + problem.linear(y))[0] > 0:
            break
    y[-1] = 1.5 * y[-1] + 0.5
    c = np.zeros(len(y))
    c[-1] = 1.0
    problem = problem.with_bound(-c, 1.5 * y[-1])  # t is known to be smaller: without a bound, the path begins far away
    predict(progress, problem)
    end = solve(problem, c, y, rtol=rtol)
    sharp = end.value - end.bound <= 1e-4 * max(abs(end.value), 1e-12)
    P, lam, (t,) = problem.split(end.y)
    if t > 1:  # γ² in units of the start's
        return _Descent(factor.gamma, *start, worst_slopes(scaled, end), sharp)
    return _Descent(factor.gamma * math.sqrt(max(t, 0.0)), *scaled.witness(P, lam), worst_slopes(scaled, end), sharp)


def worst_slopes(scaled: Scaled, found: Solution, count: int = 3) -> Array:
    """The slopes of the increments that hold the bound back: Δw/Δv on the top eigenvectors of the multiplier X.

    Where X has rank one and its slopes are attained, (★) is exact; else they are a good start for an attack.

    Args:
        scaled: the coordinates of the program.
        found: its solution.
        count: of eigenvectors.

    Returns:
        (k, nv), inside the slopes' intervals.
    """
    rows = scaled.rows
    increments = scaled.C @ np.linalg.eigh(found.X)[1][:, -count:]
    w, v = increments[rows.parts()["w"]].T, (rows.Lz @ increments).T
    slopes = w / np.where(np.abs(v) > 1e-300, v, 1e-300)
    return np.clip(slopes, rows.low, rows.high)[::-1]


def with_supply(
    rows: Rows, claim: WithSupply, labels: Labels, guess: tuple[Array, Array] | None = None
) -> tuple[Array, Array] | None:
    """P and Λ with the largest smallest eigenvalue of (★) for a fixed supply, or None where none were found.

    Where P comes from a Riccati equation there is no largest: P, Λ of a gain leave the room that γ leaves.

    Args:
        rows: of the system.
        claim: settled for the system.
        labels: of the system.
        guess: P, Λ to begin with and to scale by.

    Returns:
        P (nx, nx) and Λ (nv,), or None.
    """
    if not isinstance(claim, Lipschitz):
        _check_size(rows)
    if guess is None:
        guess = contracting(rows, 1.0 if rows.discrete else 0.0)
        if guess is None:
            return None
    if isinstance(claim, Lipschitz) and rows.nx > LARGEST_STATE:
        u_scale, y_scale = (np.array(scale) for scale in claim.scales(labels))
        found = riccati.smallest_gain(rows, u_scale, y_scale, guess[1], claim.gamma)
        return None if found is None else (found[1], found[2])
    if isinstance(claim, Lipschitz):
        u_scale, y_scale = (np.array(scale) for scale in claim.scales(labels))
        rows, u_scale = _compressed(rows, u_scale)
        Ly, gain = rows.Ly / y_scale[:, None], np.zeros(rows.Lx.shape[1])
        gain[rows.parts()["u"]] = (claim.gamma / u_scale) ** 2
        constant = np.diag(gain) - Ly.T @ Ly
    else:
        constant = supply(rows, *supply_of(claim, labels)).mid
    corner = np.abs(constant[rows.parts()["u"]]).max(axis=1, initial=0.0)
    unit = np.where(corner > 0, 1 / np.sqrt(np.where(corner > 0, corner, 1.0)), 1.0)
    scaled = Scaled.around(rows, *guess, unit)
    C = scaled.C
    N = len(C)
    problem = scaled.problem(1.0 if rows.discrete else 0.0, C.T @ constant @ C, [-np.eye(N)], 1e8 * N)
    found = _widest(problem)
    P, lam, (margin,) = problem.split(found.y)
    return scaled.witness(P, lam) if margin > 0 else None


def _widest(problem: Structured, enough: float = math.inf) -> Solution:
    """Maximise t in S(P, λ) − tI ≽ 0, from P̃ = I, λ̃ = 1."""
    y = problem.join(np.eye(problem.n), np.ones(len(problem.p)), np.zeros(1))
    least = float(np.linalg.eigvalsh(problem.constant + problem.linear(y))[0])
    y[-1] = least - 0.1 * (1 + abs(least))
    c = np.zeros(len(y))
    c[-1] = -1.0
    return solve(problem, c, y, rtol=1e-3, enough=lambda y: y[-1] > enough)


def _compressed(rows: Rows, u_scale: Array) -> tuple[Rows, Array]:
    """More inputs than equations that see them: the triangular factor of [B2; D12; D22] has the same gain."""
    part = rows.parts()
    stacked = np.vstack([block[:, part["u"]] for block in (rows.Lx, rows.Lz, rows.Ly)]) * u_scale
    if stacked.shape[1] <= stacked.shape[0]:
        return rows, u_scale
    narrow = np.linalg.qr(stacked.T)[1].T
    edges = np.cumsum([len(rows.Lx), len(rows.Lz)])
    Lx, Lz, Ly = (
        np.hstack([block[:, : part["u"].start], inputs])
        for block, inputs in zip((rows.Lx, rows.Lz, rows.Ly), np.split(narrow, edges), strict=True)
    )
    return Rows(Lx, Lz, Ly, rows.low, rows.high, rows.discrete), np.ones(narrow.shape[1])


def _check_size(rows: Rows) -> None:
    if rows.nx > LARGEST_STATE:
        raise NotCertified(
            f"not certified: P of {rows.nx} states is searched for Contracting and Lipschitz only, by a Riccati "
            f"equation; for other supplies that would take minutes and gigabytes (at most {LARGEST_STATE} states are "
            "searched). Remedy: pass a witness; models by construction have one, model.witness().",
            block="states",
        )


def refuse_contraction(rows: Rows) -> NoReturn:
    """Raise `NotCertified`: the search found no P and Λ that prove contraction."""
    raise NotCertified(
        "not certified: the search found no P and Λ with which the inequality of contraction holds, so no gain is "
        "proved either. This does not mean that the claim is false. Remedy: pass a witness to begin with, if there is "
        f"one; make the model smaller or slower{' (D11, B1, C1)' if rows.nv else ''}, or train one with a promise.",
        block="states and neurons",
    )


def predict(progress: Progress | None, problem: Structured, searches: int = 1) -> None:
    """Time one Newton system, and say what so many searches of about twenty will take.

    Args:
        progress: told in a sentence; None: nothing is timed.
        problem: of a search.
        searches: of this size.
    """
    if progress is None:
        return
    began = time.perf_counter()
    eye = np.eye(len(problem.constant))
    H = problem.schur(eye, eye)
    np.linalg.cholesky(H + (1 + np.abs(H).sum()) * np.eye(len(H)))
    seconds = 20 * searches * 1.5 * (time.perf_counter() - began)
    progress(f"{searches} search(es) of {len(H)} numbers, an inequality of {len(eye)} rows: about {seconds:.1g} s")


def proved_rate(P: Array, Lambda: Array, lfr: object) -> float:
    """`Witness.rate` of arrays."""
    return Witness(torch.from_numpy(P), torch.from_numpy(Lambda)).rate(lfr)  # type: ignore[arg-type]
