"""How a wrong initial state is forgotten, beside the bound that was proved for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from eqnets.errors import InputError
from eqnets.reporting import style
from eqnets.reporting.words import rate as rate_words
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate
from eqnets.system.witness import Witness

_FLOOR = 1e-10  # below it float64 rounding, not the model, decides the distance


@dataclass(frozen=True)
class Decay:
    """The distances of wrong starts from the right one, and the proved bound.

    Args:
        ratio: (n, steps + 1), |Δx_t|_P / |Δx_0|_P.
        rate: ᾱ, with |Δx_t|_P ≤ ᾱᵗ |Δx_0|_P proved.
        dt: the sample time in seconds.
    """

    ratio: np.ndarray
    rate: float
    dt: float

    @property
    def bound(self) -> np.ndarray:
        """(steps + 1,) the proved envelope ᾱᵗ."""
        return self.rate ** np.arange(self.ratio.shape[1])

    @property
    def worst(self) -> float:
        """The largest measured ratio over its bound, after the start: at most 1 where the proof is right."""
        return float((self.ratio[:, 1:] / self.bound[1:]).max()) if self.ratio.shape[1] > 1 else 1.0


def wrong_starts(
    lfr: LFR, witness: Witness, u: np.ndarray | torch.Tensor, n: int = 10, seed: int = 0, most: int = 2_000
) -> Decay:
    """Simulate one right and n wrong initial states under the same input.

    The wrong starts lie in random directions, as far from the right one (zero) as its own trajectory ever goes, in the
    norm |x|_P = √(xᵀPx) of the witness.

    Args:
        lfr: the discrete system.
        witness: P and Λ, which prove the rate for this system.
        u: (T, nu) the input, in the system's units.
        n: how many wrong starts.
        seed: of their directions.
        most: at most this many steps are simulated; fewer where the bound falls below what float64 resolves.

    Returns:
        The distances.

    Raises:
        InputError: a static or continuous system, an input of another width, or a witness that proves no rate below 1.
    """
    dt = lfr.dt
    if lfr.nx == 0 or dt is None:
        raise InputError("wrong starts are forgotten by discrete models with a state; this one has none, or no dt.")
    lfr = lfr.detach().to("cpu", torch.float64)
    rate = witness.rate(lfr)
    if not rate < 1:
        raise InputError(f"the witness proves the rate {rate:.6g}; only a rate below 1 gives an envelope to draw.")
    u = torch.from_numpy(np.array(u, dtype=np.float64))
    if u.ndim != 2 or u.shape[1] != lfr.nu or len(u) < 1:
        raise InputError(f"the input must be (time, nu={lfr.nu}); got {tuple(u.shape)}.")
    steps = min(len(u), most, max(2, math.ceil(math.log(_FLOOR) / math.log(rate))) if rate > 0 else 2)
    generator = torch.Generator().manual_seed(seed)
    root = torch.linalg.cholesky(witness.P.detach().to("cpu", torch.float64))
    directions = torch.randn(n, lfr.nx, generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=1, keepdim=True)
    probe = lfr.replace(  # the same system, whose output is its state
        C2=torch.eye(lfr.nx, dtype=torch.float64), D21=torch.zeros(lfr.nx, lfr.nv, dtype=torch.float64),
        D22=torch.zeros(lfr.nx, lfr.nu, dtype=torch.float64), by=torch.zeros(lfr.nx, dtype=torch.float64),
        y_names=None, y_units=None,
    )  # fmt: skip
    with torch.no_grad():
        right = _states(probe, u[:steps], torch.zeros(1, lfr.nx, dtype=torch.float64))
        reach = float((right @ root).norm(dim=-1).max()) or 1.0
        start = reach * torch.linalg.solve_triangular(root.T, directions.T, upper=True).T  # |start|_P = reach
        wrong = _states(probe, u[:steps], start)
        distance = ((wrong - right) @ root).norm(dim=-1)
    ratio = (distance / distance[:, :1]).numpy()
    return Decay(ratio, rate, float(dt))


def envelope(
    fit: Any, witness: Witness | None = None, u: np.ndarray | torch.Tensor | None = None, n: int = 10, seed: int = 0
) -> go.Figure:
    """The figure of `wrong_starts`: |Δx_t|_P / |Δx_0|_P of n wrong initial states, below the proved ᾱᵗ.

    Args:
        fit: a fit with its certificate, or an LFR.
        witness: P and Λ; None takes the certificate's.
        u: (T, nu) the input, in the system's units; None is zero.
        n: how many wrong starts.
        seed: of their directions.

    Returns:
        The figure, on a logarithmic axis.

    Raises:
        InputError: nothing is proved: no witness, no state, or no rate below 1.
    """
    lfr = fit if isinstance(fit, LFR) else fit.lfr
    if witness is None:
        witness = getattr(getattr(fit, "certificate", None), "witness", None)
    if witness is None:
        raise InputError("an envelope needs a witness; give one, or a fit that has a certificate.")
    return draw(wrong_starts(lfr, witness, np.zeros((2_000, lfr.nu)) if u is None else u, n, seed))


def draw(decay: Decay) -> go.Figure:
    """The figure of a `Decay`."""
    ratio = np.where(decay.ratio > _FLOOR / 100, decay.ratio, np.nan)
    time = np.arange(ratio.shape[1]) * decay.dt
    figure = style.stack(["|Δx<sub>t</sub>|<sub>P</sub> / |Δx<sub>0</sub>|<sub>P</sub>"], [300], "time [s]")
    for row, measured in enumerate(ratio):
        figure.add_scatter(
            x=time, y=measured.astype(np.float32), mode="lines", name=f"{len(ratio)} wrong starts", showlegend=row == 0,
            legendgroup="starts", line=style.line(style.MODEL, width=1.0), opacity=0.75,
        )  # fmt: skip
    figure.add_scatter(
        x=time, y=decay.bound, mode="lines", name=f"proved: {rate_words(decay.rate)}<sup>t</sup>",
        line=style.line(style.LINEAR, width=2, dash="dash"),
    )  # fmt: skip
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_layout(hovermode="closest")
    return figure


def _states(probe: LFR, u: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
    """The states before every sample and after the last, (batch, T + 1, nx)."""
    x, last = simulate(probe, u.expand(len(x0), -1, -1).contiguous(), x0)
    return torch.cat([x, last[:, None]], dim=1)
