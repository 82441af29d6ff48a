"""Claims about convolutional networks, frequency by frequency: a large torus falls apart into small Hermitian matrices.

On a torus of cells, W = Σ_Δ K_Δ (shift by Δ) is unitarily equivalent to the blocks W(ω) = Σ_Δ K_Δ e^{iωΔ}, so that
(★) with multipliers that are the same in every cell holds exactly where, for every frequency,

    [2Λ − ΛW(ω) − W(ω)ᴴΛ − I,  −ΛU(ω);  −U(ω)ᴴΛ,  γ²I] ≻ 0                         (y = w; without I and U: monotone)

The e^{iωΔ} are enclosed (`roots`), the blocks are balls, and each is proved by its shifted Cholesky factor, as a real
matrix of twice the size. With zero padding the neurons on the border are held at zero: their increments vanish, and so
do their terms in the sum of slopes, so that what holds for the torus holds for the picture. Of each pair ω, −ω, whose
blocks are conjugates, one is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm

import numpy as np
from numpy.typing import NDArray

from eqnets.certification.enclosure import Array, Ball
from eqnets.certification.proof import Proof, prove_positive
from eqnets.certification.roots import roots_of_unity
from eqnets.system.taps import ConvLFR, Taps

Integers = NDArray[np.int64]
Complex = tuple[Ball, Ball]
"""Real and imaginary part."""

_CHUNK = 2_000_000  # entries of blocks that are held at a time


def frequencies(grid: tuple[int, int]) -> Integers:
    """One frequency of each pair ω, −ω, as integers (count, 2): ω = 2π(k_y/h, k_x/w)."""
    h, w = grid
    half = [(y, x) for x in range(w // 2 + 1) for y in range(h) if (2 * x) % w or y <= (h - y) % h]
    return np.array(half)


def enclosed(network: ConvLFR) -> Iterator[tuple[Integers, Complex, Complex]]:
    """The blocks of a network, a few frequencies at a time.

    Args:
        network: the network.

    Yields:
        The frequencies (f, 2); W(ω), (f, n, n); U(ω), (f, n, k).
    """
    h, w = network.grid
    turn = lcm(h, w)
    roots, every = roots_of_unity(turn), frequencies(network.grid)
    size = max(1, _CHUNK // max(len(network.b) ** 2, 1))
    taps = [(_shifts(t), _stacked(t)) for t in (network.W, network.U)]
    for begin in range(0, len(every), size):
        some = every[begin : begin + size]
        phases = [(some * (turn // h, turn // w)) @ shifts.T % turn for shifts, _ in taps]
        W, U = (_sum(roots, phase, stacked) for phase, (_, stacked) in zip(phases, taps, strict=True))
        yield some, W, U


def _shifts(taps: Taps) -> Integers:
    return np.array(sorted(taps.at))


def _stacked(taps: Taps) -> Array:
    return np.stack([taps.at[at].detach().to("cpu").double().numpy() for at in sorted(taps.at)])


def _sum(roots: Complex, phase: Integers, stacked: Array) -> Complex:
    """Σ_Δ K_Δ e^{iωΔ} for every frequency."""
    shape = (len(phase), *stacked.shape[1:])
    flat = Ball.exact(stacked.reshape(len(stacked), -1))
    parts = (Ball(root.mid[phase], root.radius[phase]) @ flat for root in roots)
    cosine, sine = (Ball(part.mid.reshape(shape), part.radius.reshape(shape)) for part in parts)
    return cosine, sine


def monotone_blocks(W: Complex, m: float) -> Iterator[Ball]:
    """I − (W(ω) + W(ω)ᴴ)/2 − mI for every frequency, real of twice the size."""
    half, eye = Ball.exact(0.5), np.eye(W[0].mid.shape[-1])
    least = Ball.exact(eye) - Ball.exact(m) * Ball.exact(eye)
    for re, im in _each(W):
        yield _real(least - half * (re + re.T), half * (im.T - im))


def gain_blocks(W: Complex, U: Complex, Lambda: Array, gamma: float) -> Iterator[Ball]:
    """The matrix of the module's head for every frequency, real of twice the size; Λ (n,)."""
    n, k = U[0].mid.shape[-2:]
    weight, eye = Ball.exact(Lambda[:, None]), Ball.exact(np.eye(n))
    squared = Ball.exact(gamma) * Ball.exact(gamma)
    corner, nothing = squared * Ball.exact(np.eye(k)), Ball.exact(np.zeros((k, k)))
    diagonal = Ball.exact(np.diag(2 * Lambda)) - eye
    for (re, im), (a, b) in zip(_each(W), _each(U), strict=True):
        LWr, LWi, LUr, LUi = weight * re, weight * im, weight * a, weight * b
        real = _square(diagonal - (LWr + LWr.T), -LUr, -LUr.T, corner)
        yield _real(real, _square(LWi.T - LWi, -LUi, LUi.T, nothing))


def prove_all(blocks: Iterator[Ball]) -> Proof:
    """Prove every block, up to the first that fails; the margin is the smallest."""
    worst = Proof(True, 1.0, np.inf, 0.0)
    for block in blocks:
        proof = prove_positive(block)
        if not proof.holds:
            return proof
        worst = min(worst, proof, key=lambda one: one.margin)
    return worst


def _each(blocks: Complex) -> Iterator[Complex]:
    re, im = blocks
    for i in range(len(re.mid)):
        yield Ball(re.mid[i], re.radius[i]), Ball(im.mid[i], im.radius[i])


def _real(re: Ball, im: Ball) -> Ball:
    """[Re, −Im; Im, Re], positive definite exactly where the Hermitian matrix is."""
    return _square(re, -im, im, re).symmetric()


def _square(a: Ball, b: Ball, c: Ball, d: Ball) -> Ball:
    return Ball(np.block([[a.mid, b.mid], [c.mid, d.mid]]), np.block([[a.radius, b.radius], [c.radius, d.radius]]))
