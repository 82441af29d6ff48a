"""Attacks on a model itself: pairs of runs that come as close as they can to breaking a claim (L1, attained).

What is returned is measured on the simulated pair, never taken from an optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.certification.patterns import Blocks
from eqnets.system.lfr import LFR
from eqnets.system.simulate import linearise, simulate

Score = Callable[[Tensor, Tensor], Tensor]
"""Of differences Δu (batch, time, nu) and Δy (batch, time, ny): one number per pair, larger is worse for the claim."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs and what they reach.

    Args:
        value: measured on the simulated pair, or by a linearisation where it is said so.
        u: (2, time, nu); in continuous time constant inputs, (2, 1, nu).
        x0: (2, nx).
    """

    value: float
    u: Tensor
    x0: Tensor


def attack(
    lfr: LFR, score: Score, u_scale: Tensor, *, time: int, tries: int, steps: int, generator: torch.Generator,
    towards: Tensor | None = None,
) -> Pair | None:  # fmt: skip
    """Gradient ascent of a score over pairs of input sequences from one initial state.

    Args:
        lfr: in discrete time, float64.
        score: what to raise.
        u_scale: (nu,) typical sizes of the inputs.
        time: steps of the sequences.
        tries: pairs that are improved at once.
        steps: of ascent.
        generator: of the starts.
        towards: (time, nu) a direction for half of the pairs, scaled; None: random ones.

    Returns:
        The worst pair, or None where no score was finite.
    """
    size = 10 ** (2 * torch.rand(tries, 1, 1, generator=generator, dtype=torch.float64) - 1)
    shape = (tries, time, lfr.nu)
    u = (size * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()
    d = size * torch.randn(shape, generator=generator, dtype=torch.float64)
    if towards is not None:
        d[: tries // 2] = size[: tries // 2] * towards / towards.norm() * towards.numel() ** 0.5
    d.requires_grad_()
    x0 = torch.randn(tries, lfr.nx, generator=generator, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([u, d, x0], lr=0.05)
    best: Pair | None = None
    for step in range(steps + 1):
        a, b = u * u_scale, (u + d) * u_scale
        with torch.set_grad_enabled(step < steps):
            y = simulate(lfr, torch.cat([a, b]), torch.cat([x0, x0]))[0]
            scores = score(b - a, y[tries:] - y[:tries])
        worst = int(scores.detach().nan_to_num(-math.inf).argmax())
        reached = float(scores[worst].detach())
        if math.isfinite(reached) and (best is None or reached > best.value):
            inputs = torch.stack([a[worst], b[worst]]).detach().clone()
            best = Pair(reached, inputs, x0[worst].detach().expand(2, lfr.nx).clone())
        if step < steps:
            optimiser.zero_grad()
            (-scores.sum()).backward()
            optimiser.step()
    return best


def slowest_pair(lfr: LFR, *, tries: int, time: int, generator: torch.Generator) -> Pair | None:
    """Two runs under one constant input that approach each other slowest, or part.

    Near an equilibrium the distance of two runs goes with the spectral radius of the linearisation there (in continuous
    time with c = −Re of its rightmost pole), which no proved rate can pass: that is the value.

    Args:
        lfr: float64, with states.
        tries: constant inputs, the first of them 0.
        time: steps of the pair; 1 in continuous time.
        generator: of the inputs.

    Returns:
        The pair, or None where no equilibrium was found.
    """
    best, reached = None, -math.inf
    for u, x, (A, *_) in _at_rest(lfr, torch.ones(lfr.nu, dtype=torch.float64), tries, generator):
        poles, vectors = torch.linalg.eig(torch.from_numpy(A))
        sizes = poles.abs() if lfr.dt is not None else poles.real
        worst = int(sizes.argmax())
        if float(sizes[worst]) > reached:
            reached, v = float(sizes[worst]), vectors[:, worst].real + vectors[:, worst].imag
            near = x + 1e-6 * (1 + float(x.norm())) * v / v.norm()
            value = reached if lfr.dt is not None else -reached
            best = Pair(value, u.expand(2, time, lfr.nu).clone(), torch.stack([x, near]))
    return best


def worst_rest(
    lfr: LFR, badness: Callable[[Blocks], float], u_scale: Tensor, *, tries: int, generator: torch.Generator
) -> Pair | None:
    """The constant input around which small signals do worst, in continuous time.

    About an equilibrium small inputs do what they do to the linearisation there, as closely as one likes: what is false
    of that is false of the model.

    Args:
        lfr: in continuous time, float64, with states.
        badness: of a stable linear system (A, B, C, D); inf is left out.
        u_scale: (nu,) typical sizes of the inputs.
        tries: constant inputs, the first of them 0.
        generator: of the inputs.

    Returns:
        The badness, and twice the constant input and its equilibrium; None where no stable equilibrium was found.
    """
    best: Pair | None = None
    for u, x, linear in _at_rest(lfr, u_scale, tries, generator):
        value = badness(linear)
        if math.isfinite(value) and (best is None or value > best.value):
            best = Pair(value, u.expand(2, 1, lfr.nu).clone(), x.expand(2, lfr.nx).clone())
    return best


def _at_rest(
    lfr: LFR, u_scale: Tensor, tries: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Blocks]]:
    """Constant inputs, equilibria under them by Newton's method, and the linearisations there."""
    eye = torch.eye(lfr.nx, dtype=torch.float64)
    steps = lfr if lfr.dt is not None else lfr.replace(A=lfr.A + eye, dt=1.0)  # x + ẋ rests where x does
    for k in range(tries):
        size = 0.0 if k == 0 else 10 ** float(3 * torch.rand(1, generator=generator, dtype=torch.float64) - 2)
        u = size * u_scale * torch.randn(lfr.nu, generator=generator, dtype=torch.float64)
        start = size * torch.randn(lfr.nx, generator=generator, dtype=torch.float64)
        x = _equilibrium(steps, u, start)
        if x is not None:
            found = linearise(steps, x, u)
            A = found.A if lfr.dt is not None else found.A - eye
            yield u, x, (A.numpy(), found.B.numpy(), found.C.numpy(), found.D.numpy())


def _equilibrium(lfr: LFR, u: Tensor, x: Tensor) -> Tensor | None:
    eye = torch.eye(lfr.nx, dtype=torch.float64)
    for _ in range(50):
        residual = simulate(lfr, u[None, None], x[None])[1][0] - x
        if not bool(residual.isfinite().all()) or float(x.norm()) > 1e9:
            return None
        if float(residual.norm()) <= 1e-10 * (1 + float(x.norm())):
            return x
        x = x + torch.linalg.lstsq(linearise(lfr, x, u).A - eye, -residual[:, None]).solution[:, 0]
    return None
