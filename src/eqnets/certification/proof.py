"""The everyday proof that a symmetric matrix is positive definite, in milliseconds of float64.

After scaling by powers of two (no rounding), a shifted matrix M − cI is factored, and the residual of the factor is
bounded rigorously: M − cI − LLᵀ = E with ‖E‖ < c gives M ≽ (c − ‖E‖) I ≻ 0 (Rump 2006, with the residual bounded after
the fact: soundness rests on the bound of the product LLᵀ, not on how L was found). The radius of the enclosure of M,
the rounding of its assembly, is part of E: success is a proof about the exact matrix under IEEE arithmetic.
`exact` proves the same in integers, for margins below what float64 can see, and leaves what a sceptic can check.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eqnets.certification.enclosure import Array, Ball

METHOD = "shifted Cholesky with a rigorous rounding bound (float64)"


@dataclass(frozen=True)
class Factor:
    """What shows in exact arithmetic that a matrix is positive definite: S M S ≈ cI + LLᵀ, see `exact`.

    Args:
        scale: (n,) the exponents of S = diag(2^scale).
        shift: c > 0.
        bits: of L behind the binary point.
        L: the rows of the lower triangle, times 2^bits.
    """

    scale: list[int]
    shift: float
    bits: int
    L: list[list[int]]


@dataclass(frozen=True)
class Proof:
    """What is known about the positive definiteness of a matrix.

    Args:
        holds: whether M ≻ 0 is proved.
        margin: the smallest eigenvalue of the Jacobi-scaled matrix (unit diagonal), as computed; 1 is the most.
        lower: a proved lower bound on the smallest eigenvalue after scaling by powers of two (negative: none).
        resolution: the rounding error of the assembly, on the same scale; a margin far above it is easy to prove.
        factor: what an exact proof leaves behind; None for a proof in float64.
    """

    holds: bool
    margin: float
    lower: float
    resolution: float
    factor: Factor | None = None


def prove_positive(M: Ball) -> Proof:
    """Try to prove that every symmetric matrix enclosed by M is positive definite.

    Args:
        M: (n, n), symmetric; n = 0 is positive definite.

    Returns:
        The proof; `holds` is never true for a ball that contains a matrix that is not positive definite.
    """
    n = M.mid.shape[0]
    if n == 0:
        return Proof(True, 1.0, 1.0, 0.0)
    if not (np.isfinite(M.mid).all() and np.isfinite(M.radius).all()):
        return Proof(False, -np.inf, -np.inf, np.inf)
    diagonal = np.diagonal(M.mid)
    margin = scaled_eigenvalue(M.mid)
    if not (diagonal > 0).all() or margin <= 0:
        return Proof(False, margin, -np.inf, np.inf)
    exponent = -np.round(np.log2(diagonal) / 2).astype(np.int32)
    scale = exponent[:, None] + exponent[None, :]
    # exact but where an entry leaves the range of float64: then its radius takes it in
    with np.errstate(all="ignore"):
        scaled = np.ldexp(M.mid, scale)
        lost = np.abs(np.ldexp(scaled, -scale) - M.mid)
        radius = np.ldexp(M.radius + lost, scale) * (1 + 2.0**-40) + 4 * np.finfo(np.float64).tiny
    if not (np.isfinite(scaled).all() and np.isfinite(radius).all()):
        return Proof(False, margin, -np.inf, np.inf)
    resolution = Ball(np.zeros_like(radius), radius).norm()
    smallest = float(np.linalg.eigvalsh(scaled)[0])
    lower = -np.inf
    for share in (0.5, 0.9, 0.1):
        shift = share * smallest
        lower = max(lower, _bound(scaled, radius, shift))
        if lower > 0:
            break
    return Proof(lower > 0, margin, lower, resolution)


def scaled_eigenvalue(M: Array) -> float:
    """The smallest eigenvalue of M_ij/√(|M_ii||M_jj|); rows with a zero on the diagonal are left as they are."""
    if M.shape[0] == 0:
        return 1.0
    if not np.isfinite(M).all():
        return -np.inf
    size = np.sqrt(np.abs(np.diagonal(M)))
    size = np.where(size > 0, size, 1.0)
    return float(np.linalg.eigvalsh(M / size[:, None] / size[None, :])[0])


def _bound(scaled: Array, radius: Array, shift: float) -> float:
    """A proved lower bound on λ_min of every matrix within `radius` of `scaled`: shift − ‖E‖, or −inf."""
    if not shift > 0:
        return -np.inf
    identity = np.eye(len(scaled))
    try:
        factor = np.linalg.cholesky(scaled - shift * identity)
    except np.linalg.LinAlgError:
        return -np.inf
    L = Ball.exact(factor)
    residual = Ball(scaled, radius) - Ball.exact(shift * identity) - (L @ L.T).symmetric()
    room = shift - residual.norm()
    return room * (1 - 2.0**-50) if room > 0 else -np.inf
