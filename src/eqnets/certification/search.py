"""Witnesses that cost next to nothing: for linear, static, acyclic and small-gain systems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch

from eqnets.certification.claim import Claim, Contracting, Lipschitz, WellPosed
from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import Labels
from eqnets.certification.riccati import Loop, cayley, lti
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.lti import bounded_real, lyapunov


@dataclass(frozen=True, eq=False)
class Candidate:
    """Numbers that may prove a claim, and how they were found.

    Args:
        P: (nx, nx).
        Lambda: (nv,).
        origin: in words.
    """

    P: Array
    Lambda: Array
    origin: str


def candidates(claim: Claim, lfr: LFR) -> Iterator[Candidate]:
    """What can be tried without a witness, most promising first; nothing where no cheap way is known.

    A `NotCertified` says so where the claim is false for a linear system, by its spectral radius or H∞ norm.

    Args:
        claim: settled for this system.
        lfr: the system.

    Yields:
        The candidates.
    """
    rows = Rows.of(lfr)
    if isinstance(claim, WellPosed) or rows.nx == 0:
        P = np.zeros((0, 0)) if rows.nx == 0 else np.eye(rows.nx)
        for Lambda, origin in multipliers(rows):
            yield Candidate(P, Lambda, origin)
    elif rows.nv == 0 and isinstance(claim, Contracting | Lipschitz):
        yield _linear(claim, lfr, rows)
    elif rows.nv:
        yield from _small_gain(claim, rows)


def multipliers(rows: Rows) -> Iterator[tuple[Array, str]]:
    """Diagonal Λ that may make the neuron block positive definite: geometric, ones, Perron vectors."""
    nv = rows.nv
    D11 = rows.Lz[:, rows.parts()["w"]]
    if nv == 0:
        yield np.zeros(0), "no neurons"
        return
    if not np.triu(D11).any():
        for share in (1.0, 0.1, 0.01):
            Lambda = _geometric(D11, rows.low, rows.high, share)
            if Lambda is not None:
                yield Lambda, "geometric multipliers of an acyclic network"
    yield np.ones(nv), "equal multipliers"
    size = np.abs(D11) + 1e-9 * (1 + np.abs(D11).max())
    right = np.abs(np.linalg.eig(size)[1][:, np.argmax(np.abs(np.linalg.eigvals(size)))])
    left = np.abs(np.linalg.eig(size.T)[1][:, np.argmax(np.abs(np.linalg.eigvals(size.T)))])
    if (right > 0).all() and (left > 0).all():
        yield left / right, "Perron multipliers"


def _geometric(D11: Array, low: Array, high: Array, share: float) -> Array | None:
    """Λ for a strictly lower triangular D11, row by row.

    With W the block of the rows above and b the row, the next Schur complement stays positive definite for
    λ (β − α)²/2 · bᵀW⁻¹b < 1; half of that, times `share`, is taken, and never more than 1.

    Args:
        D11: (nv, nv), strictly lower triangular.
        low: (nv,) the slopes' lower bounds α.
        high: (nv,) the slopes' upper bounds β.
        share: of the largest multiplier that is safe.

    Returns:
        Λ (nv,), or None where float64 cannot hold it.
    """
    nv = len(D11)
    Lambda = np.ones(nv)
    W = np.zeros((nv, nv))
    for k in range(nv):
        b = D11[k, :k]
        if b.any():
            size = 1 / np.sqrt(np.diagonal(W)[:k])
            try:
                factor = scipy.linalg.cho_factor(W[:k, :k] * size[:, None] * size[None, :], lower=True)
            except np.linalg.LinAlgError:
                return None
            weight = float(b * size @ scipy.linalg.cho_solve(factor, b * size)) * (high[k] - low[k]) ** 2
            Lambda[k] = min(Lambda[k], share / weight) if weight > 0 else Lambda[k]
        lam, alpha, beta = Lambda[k], low[k], high[k]
        W[:k, :k] += lam * 2 * alpha * beta * np.outer(b, b)
        W[k, :k] = W[:k, k] = -lam * (alpha + beta) * b
        W[k, k] = 2 * lam
        if lam < 1e-140:
            return None
    return Lambda


def _linear(claim: Contracting | Lipschitz, lfr: LFR, rows: Rows) -> Candidate:
    """P from the Lyapunov equation or from the bounded-real lemma; continuous time by the Cayley transform."""
    empty = np.zeros(0)
    part = rows.parts()
    if isinstance(claim, Contracting):
        A = rows.Lx[:, part["x"]]
        if rows.discrete:
            A = A / claim.rate
            radius = float(np.abs(np.linalg.eigvals(A)).max()) * claim.rate
            if radius >= claim.rate:
                raise NotCertified(
                    f"not certified: the linear system has the spectral radius {radius:.7g}, which is not below the "
                    f"rate {claim.rate:.7g}. Remedy: claim a larger rate (at most 1), or stabilise the model.",
                    block="states", margin=claim.rate - radius,
                )  # fmt: skip
        else:
            A = A + claim.rate * np.eye(rows.nx)
            slowest = float(np.linalg.eigvals(A).real.max())
            if slowest >= 0:
                raise NotCertified(
                    f"not certified: the slowest pole of the linear system is at {slowest - claim.rate:.7g} 1/s, not "
                    f"left of −c = {-claim.rate:.7g}. Remedy: claim a smaller c, or stabilise the model.",
                    block="states", margin=-slowest,
                )  # fmt: skip
            A = cayley(A, A[:, :0], A[:0], np.zeros((0, 0)))[0]
        P = lyapunov(torch.from_numpy(A), torch.eye(rows.nx, dtype=torch.float64))
        return Candidate(P.numpy(), empty, "the Lyapunov equation")
    u_scale, y_scale = claim.scales(Labels.of(lfr))
    A, B = rows.Lx[:, part["x"]], rows.Lx[:, part["u"]] * np.array(u_scale)[None, :]
    Ly = rows.Ly / np.array(y_scale)[:, None]
    C, D = Ly[:, part["x"]], Ly[:, part["u"]] * np.array(u_scale)[None, :]
    if not rows.discrete:
        slowest = float(np.linalg.eigvals(A).real.max())
        if slowest >= 0:
            raise NotCertified(
                f"not certified: the linear system has a pole at {slowest:.7g} 1/s, so it has no finite gain. "
                "Remedy: stabilise the model.", block="states", margin=-slowest,
            )  # fmt: skip
        A, B, C, D = cayley(A, B, C, D)
    if min(B.shape[1], C.shape[0]) == 0:
        Q = C.T @ C + np.eye(rows.nx)
        return Candidate(lyapunov(torch.from_numpy(A), torch.from_numpy(Q)).numpy(), empty, "the Lyapunov equation")
    try:
        P = bounded_real(lti(A, B, C, D), claim.gamma)
    except (InputError, np.linalg.LinAlgError) as error:
        raise NotCertified(f"not certified: {error}", block="gain") from error
    return Candidate(P.numpy(), empty, "the bounded-real lemma")


def _small_gain(claim: Claim, rows: Rows) -> Iterator[Candidate]:
    """P and Λ from the small-gain theorem around the middle of the slopes: w = m v + k δ with |Δδ_i| ≤ |Δv_i|."""
    rate = claim.rate if isinstance(claim, Contracting) else float(rows.discrete)
    loop = Loop.of(rows, rate, np.zeros(0), np.zeros(0))
    ones = np.ones(rows.nv)
    P = loop.storage(ones) if loop is not None else None
    if loop is not None and P is not None:
        yield Candidate(P, loop.unit, "the small-gain theorem")
