"""P by a Riccati equation for fixed Λ: the search where P has too many entries for a semidefinite program.

With w = m v + k δ around the middles m of the slopes and their half-widths k, the slopes' term of (★) is
Σ θ_i (δ_i² − v_i²), θ = 2 Λ k², so that (★) says that the linear loop (δ, u) → (v, y), scaled by Θ^½, has an H∞ norm
below 1: the KYP lemma gives P from a Riccati equation. The θ are searched on a grid of frequencies, where the smallest
gain, γ²(θ) = max over ω, |u| = 1 and δ of |y|² + Σ θ_i (|v_i|² − |δ_i|²), is a largest of linear functions: convex.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows
from eqnets.errors import InputError
from eqnets.system.lti import LTI, bounded_real

_STEPS = 120
_GRID = 65


@dataclass(frozen=True, eq=False)
class Loop:
    """The linear loop (δ, u) → (v, y) in discrete time, whose norm decides.

    Args:
        A: (nx, nx).
        B: (nx, nv + nu).
        C: (nv + ny, nx).
        D: (nv + ny, nv + nu).
        unit: (nv,) Λ of θ = 1, ρ²/2k²: the loop of a rate ρ is that of (★)/ρ².
    """

    A: Array
    B: Array
    C: Array
    D: Array
    unit: Array

    @classmethod
    def of(cls, rows: Rows, rate: float, u_scale: Array, y_scale: Array) -> Loop | None:
        """The loop of a system; continuous time by the Cayley transform, which keeps P and the norm.

        Args:
            rows: of the system.
            rate: ρ, or c in continuous time.
            u_scale: (nu,); empty to leave the inputs and outputs out.
            y_scale: (ny,), likewise.

        Returns:
            The loop, or None where a slope has no width, or the middle of the slopes has no solution.
        """
        middle, spread = (rows.high + rows.low) / 2, (rows.high - rows.low) / 2
        part, nx, nv = rows.parts(), rows.nx, rows.nv
        if not (spread > 0).all():
            return None
        try:
            inverse = np.linalg.inv(np.eye(nv) - rows.Lz[:, part["w"]] * middle)
        except np.linalg.LinAlgError:
            return None
        width = np.ones(rows.Lx.shape[1])
        width[part["w"]], width[part["u"]] = spread, u_scale if len(u_scale) else 0.0
        v = inverse @ (rows.Lz * width)  # over (x, δ, u)
        signals = np.diag(width)
        signals[part["w"]] += middle[:, None] * v
        after, y = rows.Lx @ signals, rows.Ly[: len(y_scale)] @ signals / y_scale[:, None]  # no scales: no outputs
        after = after / rate if rows.discrete else after + rate * np.eye(nx, rows.Lx.shape[1])
        end = nx + nv + len(u_scale)
        outputs = np.vstack([v, y])
        blocks = after[:, :nx], after[:, nx:end], outputs[:, :nx], outputs[:, nx:end]
        unit = (rate**2 if rows.discrete else 1.0) / (2 * spread**2)
        return cls(*(blocks if rows.discrete else cayley(*blocks)), unit)

    def storage(self, theta: Array, gamma: float = 1.0) -> Array | None:
        """P (nx, nx) of the bounded-real lemma for θ and γ, or None where the norm is not below 1."""
        nv = len(theta)
        root = np.sqrt(theta)
        left = np.concatenate([root, np.ones(len(self.C) - nv)])[:, None]
        right = np.concatenate([1 / root, np.full(self.B.shape[1] - nv, 1 / gamma)])
        try:
            P = bounded_real(lti(self.A, self.B * right, left * self.C, left * self.D * right), 1.0)
        except (InputError, np.linalg.LinAlgError):
            return None
        return P.numpy()

    def response(self) -> Array:
        """(frequencies, nv + ny, nv + nu), complex: on a grid and at the angles of the poles; empty where unstable."""
        poles = np.linalg.eigvals(self.A)
        if np.abs(poles).max(initial=0.0) >= 1:
            return np.zeros((0, *self.D.shape))
        angles = np.unique(np.concatenate([np.linspace(0, math.pi, _GRID), np.abs(np.angle(poles))]))
        resolvent = np.exp(1j * angles)[:, None, None] * np.eye(len(self.A)) - self.A
        return self.C @ np.linalg.solve(resolvent, np.broadcast_to(self.B, (len(angles), *self.B.shape))) + self.D


def contracting(rows: Rows, rate: float) -> tuple[Array, Array] | None:
    """P and Λ that make the inequality of contraction hold at a rate, or None where none were found.

    Args:
        rows: of the system.
        rate: ρ, or c in continuous time.

    Returns:
        P (nx, nx) and Λ (nv,), or None.
    """
    loop = Loop.of(rows, rate, np.zeros(0), np.zeros(0))
    if loop is None:
        return None
    H = loop.response()
    if not len(H):
        return None

    def norm(s: Array) -> tuple[float, Array]:
        root = np.exp(s / 2)
        left, sizes, right = np.linalg.svd(root[:, None] * H / root)
        worst = int(np.argmax(sizes[:, 0]))
        slope = np.abs(left[worst, :, 0]) ** 2 - np.abs(right[worst, 0]) ** 2
        return float(sizes[worst, 0]), slope

    theta = np.exp(_descend(norm, _balanced(H)))
    P = loop.storage(theta)
    return None if P is None else (P, loop.unit * theta)


def smallest_gain(
    rows: Rows, u_scale: Array, y_scale: Array, start: Array, gamma: float | None = None
) -> tuple[float, Array, Array, Array] | None:
    """A small γ that (★) can prove, with its P and Λ: not the smallest, since P follows from the Λ found on a grid.

    Args:
        rows: of the system.
        u_scale: (nu,).
        y_scale: (ny,).
        start: (nv,) Λ with which some P proves contraction.
        gamma: a γ to leave room for; None takes the smallest for the Λ found.

    Returns:
        γ, P (nx, nx), Λ (nv,), and the slopes (1, nv) of the worst increment; None where no gain was found.
    """
    loop = Loop.of(rows, 1.0 if rows.discrete else 0.0, u_scale, y_scale)
    H = loop.response() if loop is not None else np.zeros((0, 0, 0))
    if loop is None or not len(H):
        return None
    nv = rows.nv
    Hd, Hu = H[:, :, :nv], H[:, :, nv:]
    worst_delta, worst_v = np.zeros(nv, dtype=complex), np.ones(nv, dtype=complex)

    def gain(s: Array) -> tuple[float, Array]:
        """The logarithm of γ² and its subgradient in s = ln θ; inf where the neurons' own loop has no gain below 1."""
        nonlocal worst_delta, worst_v
        theta = np.exp(s)
        weight = np.concatenate([theta, np.ones(len(y_scale))])[:, None]
        adjoint = np.conj(np.swapaxes(Hd, 1, 2))
        K = np.diag(theta) - adjoint @ (weight * Hd)
        if not np.linalg.eigvalsh(K)[:, 0].min() > 0:
            return math.inf, s
        delta = np.linalg.solve(K, adjoint @ (weight * Hu))
        seen = Hd @ delta + Hu
        squares = np.conj(np.swapaxes(Hu, 1, 2)) @ (weight * seen)
        values, vectors = np.linalg.eigh((squares + np.conj(np.swapaxes(squares, 1, 2))) / 2)
        at = int(np.argmax(values[:, -1]))
        u = vectors[at, :, -1]
        worst_delta, worst_v = delta[at] @ u, (seen[at] @ u)[:nv]
        top = max(float(values[at, -1]), 1e-300)
        return math.log(top), theta * (np.abs(worst_v) ** 2 - np.abs(worst_delta) ** 2) / top

    s = np.log(start / loop.unit)
    common = min(np.linspace(-20.0, 40.0, 61), key=lambda t: gain(s + t)[0])
    s = _descend(gain, s + common)
    reached = math.exp(gain(s)[0] / 2)
    if not math.isfinite(reached):
        return None
    theta, sign = np.exp(s), np.sign(np.real(worst_delta * np.conj(worst_v)))
    slopes = ((rows.high + rows.low + sign * (rows.high - rows.low)) / 2)[None]
    rooms = (1e-4, 1e-3, 1e-2, 0.1, 0.5) if gamma is None else (gamma / max(reached, 1e-300) - 1,)
    for room in rooms:
        level = max(reached * (1 + room), 1e-100)
        P = loop.storage(theta, level)
        if P is not None:
            return level, P, loop.unit * theta, slopes
    return None


def _balanced(H: Array) -> Array:
    """The ln θ with which what goes into each neuron is about as large as what comes out of it (Osborne 1960)."""
    size, s = (np.abs(H) ** 2).max(axis=0) + 1e-300, np.zeros(H.shape[2])
    for _ in range(20):
        scaled = np.exp(s)[:, None] * size / np.exp(s)
        s = s + 0.5 * np.log(scaled.sum(axis=0) / scaled.sum(axis=1))
    return s


def _descend(value: Callable[[Array], tuple[float, Array]], s: Array) -> Array:
    """The best point of a subgradient method, with shorter and shorter steps of ln θ."""
    best, at, (now, slope), step = s, math.inf, value(s), 1.0
    for k in range(_STEPS):
        if now < at:
            best, at = s, now
        size = float(np.linalg.norm(slope))
        if not math.isfinite(now) or size < 1e-12:
            break
        while True:
            trial = s - step / (1 + k / 8) * slope / size
            after = value(trial)
            if math.isfinite(after[0]) or step < 1e-6:
                break
            step /= 2
        s, (now, slope) = trial, after
    return best if at <= now else s


def lti(A: Array, B: Array, C: Array, D: Array) -> LTI:
    """An `LTI` of arrays."""
    blocks = [torch.from_numpy(np.ascontiguousarray(block)) for block in (A, B, C, D)]
    return LTI(blocks[0], blocks[1], blocks[2], blocks[3])


def cayley(A: Array, B: Array, C: Array, D: Array) -> tuple[Array, Array, Array, Array]:
    """The discrete system with the same P and the same gain as a stable continuous one: z = (a + s)/(a − s).

    Args:
        A: (nx, nx).
        B: (nx, nu).
        C: (ny, nx).
        D: (ny, nu).

    Returns:
        The four blocks.
    """
    nx = len(A)
    a = float(np.exp(np.mean(np.log(np.abs(np.linalg.eigvals(A)) + 1e-300))))
    inverse = np.linalg.inv(a * np.eye(nx) - A)
    root = math.sqrt(2 * a)
    return inverse @ (a * np.eye(nx) + A), root * inverse @ B, root * C @ inverse, D + C @ inverse @ B
