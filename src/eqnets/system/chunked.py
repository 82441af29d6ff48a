"""Long records in parallel: overlapping chunks rolled out as one batch, with a proved bound on what that changes.

Chunk i starts from a guess, L steps before its part of the record. Two trajectories of a contracting system under one
input approach each other, |Δx_t|_P ≤ ᾱᵗ |Δx_0|_P, so that the guess is forgotten. Afterwards the states tell how well:
at the start of part i let x be the true state, x̂_i that of chunk i, x̃_{i−1} the end of chunk i − 1. Then

    e_i = |x − x̂_i|_P ≤ |x̃_{i−1} − x̂_i|_P + ᾱᴴ e_{i−1},   e_0 = 0,

where the first term is measured, and H is the length of a part. Nothing about u or the size of x is assumed. The
output's error follows from ‖Δy‖ ≤ c |Δx|_P, which the sector of the neurons proves: see `output_gain`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness

Run = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_LANES = 8
"""Lanes per thread that a kernel needs to be busy."""
_PILOT = 256
_TRIES = 4


def rollout(
    run: Run, lfr: LFR, u: Tensor, x0: Tensor, witness: Witness | None, atol: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Roll out in overlapping chunks, so that every output is within `atol` of the sequential rollout's.

    Args:
        run: the rollout (u, x0) → (y, x_last) that takes the chunks as a batch.
        lfr: a discrete LFR.
        u: (batch, time, nu).
        x0: (batch, nx).
        witness: the P and Λ that prove a rate below 1.
        atol: the largest ‖y − y_sequential‖ that the bound may allow, beside what the dtype rounds.

    Returns:
        y (batch, time, ny), the last state (batch, nx), and the proved bound on ‖y − y_sequential‖ per sample (batch,),
        with an allowance for the rounding of the states that it compares; the rounding of the rollout itself comes on
        top. It is zero where the record was too short to be worth chunks.

    Raises:
        InputError: there is no witness, or it proves no rate below 1.
    """
    if witness is None:
        raise InputError(
            "method='chunked' needs witness=, whose proved rate says how long chunks overlap; see model.witness()."
        )
    if bool((witness.Lambda < 0).any()):
        raise InputError("a witness needs Lambda >= 0; this one has a negative multiplier and proves nothing.")
    exact = lfr.detach().to("cpu", torch.float64)
    rate = witness.rate(exact)
    if not rate < 1:
        raise InputError(
            f"method='chunked' needs a proved rate below 1, but this witness proves {rate:.6g}: nothing says how fast "
            "a wrong start is forgotten. Use method='auto', or a model with rate= below 1."
        )
    batch, time = u.shape[:2]
    if not batch:
        return *run(u, x0), u.new_zeros(0)
    root = torch.linalg.cholesky(witness.P.detach().to("cpu", torch.float64)).to(u.device)
    gain = output_gain(exact, witness)
    wanted = -(-_LANES * torch.get_num_threads() // batch) if u.device.type == "cpu" else time
    with torch.no_grad():
        states = _states(lfr, run, u[:, :_PILOT], x0)
        error = 10 * gain * float(_norm(states, root).max()) if states.numel() else 0.0
    overlap = 0
    for _ in range(_TRIES):
        overlap += _steps(error / atol, rate)
        parts = min(wanted, (time - overlap) // max(overlap, 1)) if overlap else 1
        if parts < 2 or not math.isfinite(error):
            break
        overlap += (time - overlap) % parts  # the parts are alike, and nothing is left over
        y, x_last, bound, rounding = _chunks(run, u, x0, overlap, parts, rate, root)
        error = gain * float(bound.max())
        if error <= atol + gain * float(rounding.max()):
            return y, x_last, gain * (bound + rounding)
    y, x_last = run(u, x0)
    return y, x_last, torch.zeros(batch, dtype=torch.float64, device=u.device)


def _steps(factor: float, rate: float) -> int:
    """How many steps shrink an error by a factor, and one to spare."""
    if not 0 < rate < 1 or not math.isfinite(factor):
        return 0
    return max(1, 1 + math.ceil(math.log(max(factor, 1.0)) / -math.log(rate)))


def _chunks(
    run: Run, u: Tensor, x0: Tensor, overlap: int, parts: int, rate: float, root: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One pass; returns y, the last state, the bound on |x − x̂|_P over all parts, and how exactly that was measured."""
    batch, time = u.shape[:2]
    length = (time - overlap) // parts
    pieces = u.unfold(1, overlap + length, length).transpose(2, 3).flatten(0, 1)
    starts = torch.cat([x0[:, None], x0.new_zeros(batch, parts - 1, x0.shape[1])], 1).flatten(0, 1)
    y_first, begins = run(pieces[:, :overlap], starts)
    y_parts, ends = run(pieces[:, overlap:], begins)
    y_first = y_first.unflatten(0, (batch, parts))[:, 0]
    y_parts = y_parts.unflatten(0, (batch, parts)).flatten(1, 2)
    begins, ends = (x.unflatten(0, (batch, parts)) for x in (begins, ends))
    measured = _norm((ends[:, :-1] - begins[:, 1:]).detach(), root)
    error = bound = torch.zeros(batch, dtype=torch.float64, device=u.device)
    for gap in measured.unbind(1):
        error = gap + rate**length * error
        bound = torch.maximum(bound, error)
    rounding = torch.finfo(u.dtype).eps / 2 * _norm(ends.detach(), root).amax(1)
    return torch.cat([y_first, y_parts], 1), ends[:, -1], bound, rounding


def _states(lfr: LFR, run: Run, u: Tensor, x0: Tensor) -> Tensor:
    """Some states along the start of the record, (·, nx): how large states are, for a first choice of the overlap."""
    found = [x0]
    for piece in u.split(max(1, u.shape[1] // 2), 1):
        found.append(run(piece, found[-1])[1])
    return torch.cat(found)


def _norm(x: Tensor, root: Tensor) -> Tensor:
    """|x|_P for P = root rootᵀ, over the last axis, float64."""
    return torch.linalg.vector_norm(x.to(torch.float64) @ root, dim=-1)


def output_gain(lfr: LFR, witness: Witness) -> float:
    """A c with ‖Δy‖ ≤ c |Δx|_P for any two states under one input.

    The neurons' increments satisfy [Δx; Δw]ᵀ Π [Δx; Δw] ≤ 0 with the Π of `Witness.rate`. For every τ > 0 with
    Y = τ Π_ww − D21ᵀD21 ≻ 0, completing the square in Δw gives ‖Δy‖² ≤ Δxᵀ (C2ᵀC2 − τ Π_xx + X Y⁻¹ Xᵀ) Δx with
    X = C2ᵀD21 − τ Π_xw; c² is the largest eigenvalue of that matrix against P, and the best τ of a grid is taken.

    Args:
        lfr: the system.
        witness: P ≻ 0 and Λ > 0 with a proved rate.

    Returns:
        c.

    Raises:
        InputError: no τ of the grid makes Y positive definite.
    """
    lfr = lfr.detach().to("cpu", torch.float64)
    P, Lambda = witness.P.detach().to("cpu", torch.float64), witness.Lambda.detach().to("cpu", torch.float64)
    n = lfr.nx
    if n == 0 or lfr.ny == 0:
        return 0.0
    low, high = lfr.activation.slopes(lfr.nv)
    Lz = torch.cat([lfr.C1, lfr.D11], dim=1)
    Ew = torch.cat([torch.zeros_like(lfr.C1), torch.eye(lfr.nv, dtype=torch.float64)], dim=1)
    Pi = (Ew - low[:, None] * Lz).mT @ (Lambda[:, None] * (Ew - high[:, None] * Lz))
    Pi = Pi + Pi.mT
    root = torch.linalg.cholesky(P)
    size = float(lfr.D21.square().sum())
    least = float(torch.linalg.eigvalsh(Pi[n:, n:])[0]) if lfr.nv else 1.0
    scale = max(size, torch.finfo(torch.float64).tiny) / least if least > 0 else math.nan
    tau = scale * torch.logspace(-3, 4, 8, dtype=torch.float64)[:, None, None]
    factor, failed = torch.linalg.cholesky_ex(tau * Pi[n:, n:] - lfr.D21.mT @ lfr.D21)
    tau, factor = tau[failed == 0], factor[failed == 0]
    X = torch.linalg.solve_triangular(factor, (lfr.C2.mT @ lfr.D21 - tau * Pi[:n, n:]).mT, upper=False)
    M = lfr.C2.mT @ lfr.C2 - tau * Pi[:n, :n] + X.mT @ X
    half = torch.linalg.solve_triangular(root, M, upper=False)
    scaled = torch.linalg.solve_triangular(root, half.mT, upper=False)
    best = min(torch.linalg.eigvalsh((scaled + scaled.mT) / 2)[:, -1].tolist(), default=math.inf)
    if not math.isfinite(best):
        raise InputError(
            "this witness bounds no output: its multipliers leave the neurons unbounded; use method='auto'."
        )
    return math.sqrt(max(best, 0.0)) * (1 + 1e-9)
