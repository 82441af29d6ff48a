"""The static characteristic on the page: where the model settles under every constant input of the training range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from eqnets.errors import InputError, NotConverged
from eqnets.reporting import style
from eqnets.reporting.figures import Channels, pair_name
from eqnets.reporting.sections import Album, section
from eqnets.reporting.words import channel, clean, plain, quantity
from eqnets.system.lfr import LFR
from eqnets.system.steady import operating_point
from eqnets.system.witness import Witness

_POINTS = 101
_MOST_PAIRS = 24


def steady(album: Album, of: Channels, fit: Any) -> dict | None:
    """y(u) of every channel pair, the other inputs at their training means.

    Args:
        album: takes the figures.
        of: names and units.
        fit: the fit.

    Returns:
        The section; None where nothing proves that there is one steady state for every input.
    """
    certificate = fit.certificate
    rate = certificate.rate if certificate is not None else None
    if certificate is None or rate is None or not math.isfinite(rate) or not rate < 1 or fit.lfr.nx == 0:
        return None
    heading = {"id": "static", "name": "Static characteristic"}
    ranges = fit.data_info.get("u_ranges")
    if ranges is None:
        return section(**heading, figures=[], notes=["The file does not hold the range of the training inputs."])
    held = np.asarray(fit.normaliser.u_offset, dtype=np.float64)
    linear = fit.linear.lfr if fit.linear is not None else None
    choices = []
    try:
        for j in range(fit.lfr.nu):
            low, high = ranges[j]
            grid = np.linspace(low, high, _POINTS)
            y = _settled(fit.lfr, held, j, grid, certificate.witness)
            line = _settled(linear, held, j, grid, None) if linear is not None else None
            for i in range(fit.lfr.ny):
                if len(choices) < _MOST_PAIRS:
                    drawn = draw(of, (i, j), grid, y[:, i], None if line is None else line[:, i])
                    choices.append(("", pair_name(of, i, j), drawn))
    except (InputError, NotConverged) as error:
        return section(**heading, figures=[], notes=[f"Not drawn: {clean(error)}"])
    notes = [
        "The model contracts: under a constant input it settles at one steady state, whatever it began with. Over the "
        "range of the training inputs; what the plant does at rest, only slow data can tell."
    ]
    if fit.lfr.nu > 1:
        others = zip(of.u_names, of.u_units, held, strict=True)
        means = ", ".join(f"{clean(name)} = {quantity(value, unit)}" for name, unit, value in others)
        notes.append(f"One input moves at a time; the others keep their training mean ({means}).")
    if fit.lfr.nu * fit.lfr.ny > _MOST_PAIRS:
        notes.append(f"The first {_MOST_PAIRS} of {fit.lfr.nu * fit.lfr.ny} channel pairs are drawn.")
    caption = "Each point is solved to rounding. The slope of the curve is the gain at low frequency around that point."
    place = album.add("static", choices, "Pair", "Steady output over constant input", caption)
    return section(**heading, figures=[place], notes=notes)


def draw(of: Channels, pair: tuple[int, int], u: np.ndarray, y: np.ndarray, linear: np.ndarray | None) -> go.Figure:
    """One characteristic.

    Args:
        of: names and units.
        pair: (output, input).
        u: (k,) the constant input.
        y: (k,) where the model settles.
        linear: (k,) where the linear model does, or None.

    Returns:
        The figure.
    """
    i, j = pair
    left = f"steady {plain(channel(of.y_names[i], of.y_units[i]))}"
    figure = style.stack([left], [320], plain(channel(of.u_names[j], of.u_units[j])))
    if linear is not None:
        figure.add_scatter(x=u, y=linear, mode="lines", name="linear model", line=style.line(style.LINEAR, dash="dot"))
    figure.add_scatter(x=u, y=y, mode="lines", name="model", line=style.line(style.MODEL, width=1.8))
    return figure


def _settled(lfr: LFR, held: np.ndarray, j: int, grid: np.ndarray, witness: Witness | None) -> np.ndarray:
    u = np.tile(held, (len(grid), 1))
    u[:, j] = grid
    return operating_point(lfr, torch.from_numpy(u), witness).y.detach().numpy()
