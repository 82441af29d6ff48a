"""Witnesses that cost next to nothing: for linear, static, acyclic and small-gain systems."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch

from eqnets.certification.claim import Claim, Contracting, Lipschitz, WellPosed
from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import Labels
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI, bounded_real, lyapunov


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
            A = _cayley(A)[0]
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
        A, B, C, D = _cayley(A, B, C, D)
    if min(B.shape[1], C.shape[0]) == 0:
        Q = C.T @ C + np.eye(rows.nx)
        return Candidate(lyapunov(torch.from_numpy(A), torch.from_numpy(Q)).numpy(), empty, "the Lyapunov equation")
    try:
        P = bounded_real(_lti(A, B, C, D), claim.gamma)
    except (InputError, np.linalg.LinAlgError) as error:
        raise NotCertified(f"not certified: {error}", block="gain") from error
    return Candidate(P.numpy(), empty, "the bounded-real lemma")


def _lti(A: Array, B: Array, C: Array, D: Array) -> LTI:
    A, B, C, D = (np.ascontiguousarray(block) for block in (A, B, C, D))
    return LTI(torch.from_numpy(A), torch.from_numpy(B), torch.from_numpy(C), torch.from_numpy(D))


def _cayley(A: Array, B: Array | None = None, C: Array | None = None, D: Array | None = None) -> tuple[Array, ...]:
    """The discrete system with the same P and the same gain as a stable continuous one: z = (a + s)/(a − s)."""
    nx = len(A)
    a = float(np.exp(np.mean(np.log(np.abs(np.linalg.eigvals(A)) + 1e-300))))
    inverse = np.linalg.inv(a * np.eye(nx) - A)
    Ad = inverse @ (a * np.eye(nx) + A)
    if B is None or C is None or D is None:
        return (Ad,)
    return Ad, math.sqrt(2 * a) * inverse @ B, math.sqrt(2 * a) * C @ inverse, D + C @ inverse @ B


def _small_gain(claim: Claim, rows: Rows) -> Iterator[Candidate]:
    """P and Λ from the small-gain theorem around the middle of the slopes: w = m v + k δ with |Δδ_i| ≤ |Δv_i|."""
    middle, spread = (rows.high + rows.low) / 2, (rows.high - rows.low) / 2
    if not (spread > 0).all():
        return
    rate = claim.rate if isinstance(claim, Contracting) else float(rows.discrete)
    part = rows.parts()
    A, B1 = rows.Lx[:, part["x"]], rows.Lx[:, part["w"]]
    C1, D11 = rows.Lz[:, part["x"]], rows.Lz[:, part["w"]]
    try:
        inverse = np.linalg.inv(np.eye(rows.nv) - D11 * middle[None, :])
        closed = (B1 * middle[None, :]) @ inverse
        A, B = A + closed @ C1, (B1 + closed @ D11) * spread[None, :]
        C, D = inverse @ C1, inverse @ D11 * spread[None, :]
        if rows.discrete:
            system = _lti(A / rate, B / rate, C, D)
        else:
            system = _lti(*_cayley(A + rate * np.eye(rows.nx), B, C, D))
        P = bounded_real(system, 1.0)
    except (np.linalg.LinAlgError, InputError):
        return
    yield Candidate(P.numpy(), 0.5 / spread**2, "the small-gain theorem")
