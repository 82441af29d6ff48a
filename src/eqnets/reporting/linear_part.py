"""The linear part of a model: its linearisation at the rest point that belongs to the mean input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from eqnets.errors import EqnetsError
from eqnets.identification.dynamics import System, linearised, roll
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI


@dataclass(frozen=True)
class RestPoint:
    """A state that the model keeps under a constant input.

    Args:
        x: (nx,) the state, float64.
        u: (nu,) the input.
        residual: |f(x, u) − x| relative to 1 + |x|.
    """

    x: torch.Tensor
    u: torch.Tensor
    residual: float

    @property
    def found(self) -> bool:
        """Whether x really stays where it is."""
        return self.residual < 1e-8


def rest_point(system: System, u: np.ndarray, settle: int = 500) -> RestPoint:
    """Let the model settle under a constant input, then finish by Newton's method.

    Args:
        system: the deployed system.
        u: (nu,) the constant input, in the system's units.
        settle: steps simulated before Newton starts.

    Returns:
        The point with the smallest residual that was met; `found` says whether it rests.
    """
    system = system.detach().to("cpu", torch.float64) if isinstance(system, LFR) else system
    held = torch.from_numpy(np.array(u, dtype=np.float64)).reshape(system.nu)

    def step(x: torch.Tensor, steps: int = 1) -> torch.Tensor:
        with torch.no_grad():
            return roll(system, held.expand(1, steps, system.nu).contiguous(), x[None])[1][0]

    def judged(x: torch.Tensor) -> RestPoint:
        moved = float((step(x) - x).norm() / (1 + x.norm()))
        return RestPoint(x, held, moved if np.isfinite(moved) else np.inf)

    zero = torch.zeros(system.nx, dtype=torch.float64)
    best = judged(zero)
    if system.nx == 0:
        return best
    settled = judged(step(zero, settle))
    best = min(best, settled, key=lambda point: point.residual)
    x = best.x
    for _ in range(25):
        if best.residual < 1e-12:
            break
        try:
            slope = torch.eye(system.nx, dtype=torch.float64) - linearised(system, x, held).A
            x = x + torch.linalg.solve(slope, step(x) - x)
        except (EqnetsError, RuntimeError):
            break
        if not bool(torch.isfinite(x).all()):
            break
        best = min(best, judged(x), key=lambda point: point.residual)
    return best


def at_rest(system: System, point: RestPoint) -> LTI:
    """The linearisation of the model at a rest point."""
    return linearised(system, point.x, point.u)


def frequencies(dt: float, longest: int, count: int = 500) -> np.ndarray:
    """(count,) frequencies in Hz, logarithmic, from one period of the longest record up to the Nyquist frequency.

    Args:
        dt: the sample time in seconds.
        longest: the longest record, in samples.
        count: how many.

    Returns:
        Increasing frequencies.
    """
    low = 1 / (max(longest, 64) * dt)
    return np.geomspace(low, 0.5 / dt, count)


def excited_band(records: list[np.ndarray], dt: float, share: float = 1e-3) -> tuple[float, float] | None:
    """The band in which an input has power: where its averaged spectrum exceeds `share` of its peak.

    Args:
        records: each (T,) of one input channel.
        dt: the sample time in seconds.
        share: of the peak power.

    Returns:
        (low, high) in Hz, or None where the input is too short or constant.
    """
    length = min(1024, min((len(r) for r in records), default=0))
    if length < 32:
        return None
    window = np.hanning(length)
    power = np.zeros(length // 2 + 1)
    for signal in records:
        for start in range(0, len(signal) - length + 1, length // 2):
            piece = signal[start : start + length]
            power += np.abs(np.fft.rfft(window * (piece - piece.mean()))) ** 2
    if not power.max() > 0:
        return None
    there = np.flatnonzero(power[1:] > share * power.max()) + 1
    frequency = np.fft.rfftfreq(length, dt)
    return (0.0 if there[0] <= 2 else float(frequency[there[0]])), float(frequency[there[-1]])
