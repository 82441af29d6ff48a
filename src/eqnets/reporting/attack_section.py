"""The worst input that was found: two runs whose outputs differ most for how little their inputs do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from eqnets.certification import Lipschitz, lower_bound
from eqnets.errors import EqnetsError
from eqnets.reporting import style
from eqnets.reporting.figures import MOST_ROWS, Channels
from eqnets.reporting.sections import Album, section
from eqnets.reporting.words import channel, clean, number, plain, quantity
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate

ATTACK: dict[str, Any] = {"time": 60, "tries": 4, "steps": 40}
"""Its size: steps of the runs, starts, steps of ascent."""


def worst_input(album: Album, of: Channels, fit: Any) -> dict | None:
    """An attack on the model's gain, drawn.

    Args:
        album: takes the figure.
        of: names and units.
        fit: the fit.

    Returns:
        The section; None for models that have no LFR or no input.
    """
    if not isinstance(fit.system, LFR) or fit.lfr.nu == 0:
        return None
    heading = {"id": "worst", "name": "Worst input found", "short": "Worst input"}
    claim, known = (None, None) if fit.certificate is None else (fit.certificate.claim, fit.certificate.bound)
    promised = isinstance(claim, Lipschitz)
    scales = (tuple(map(float, s)) for s in (fit.normaliser.u_scale, fit.normaliser.y_scale))
    asked = claim if isinstance(claim, Lipschitz) else Lipschitz(1.0, *scales)
    try:
        found = known if promised and known is not None else lower_bound(asked, fit.lfr, **ATTACK)
    except EqnetsError as error:
        return section(**heading, figures=[], notes=[f"The attack could not be made: {clean(error)}"])
    if found.u is None or found.x0 is None or found.attained is None or not math.isfinite(found.attained):
        return section(**heading, figures=[], notes=["The attack found no pair of runs with a finite gain."])
    with torch.no_grad():
        y = simulate(fit.lfr, found.u, found.x0)[0]
    du, dy = (found.u[1] - found.u[0]).numpy(), (y[1] - y[0]).numpy()
    scale = "in the scales of the claim" if promised else "between signals in standard deviations of the training data"
    notes = [
        "Two runs from one initial state, sought by gradient ascent so that their outputs differ as much as possible "
        f"for the size of the difference of their inputs: a gain of {number(found.attained)} {scale}.",
        f"Certified: no pair exceeds {number(asked.gamma, 4)}; this pair reaches "
        f"{100 * found.attained / asked.gamma:.3g} % of that."
        if promised
        else "No gain is certified for this model: other inputs may do worse than this one.",
    ]  # fmt: skip
    if promised and found.pattern is not None:
        notes.append(
            f"The best frozen slopes of the neurons reach {number(found.pattern, 4)}: no certificate that knows their "
            "slopes alone can promise less."
        )
    peaks = ", ".join(
        f"{clean(name)} {quantity(peak, unit)}"
        for name, unit, peak in zip(of.y_names, of.y_units, np.abs(dy).max(axis=0), strict=True)
    )
    caption = f"The difference of the two inputs, and of the two outputs. Largest: {peaks}."
    place = album.add("worst", [("", "", draw(of, du, dy))], "", "Input and output differences over time", caption)
    return section(**heading, figures=[place], notes=notes)


def draw(of: Channels, du: np.ndarray, dy: np.ndarray) -> go.Figure:
    """Differences of inputs and outputs over one time axis.

    Args:
        of: names, units and sample time.
        du: (T, nu).
        dy: (T, ny).

    Returns:
        The figure.
    """
    rows = [(n, s, v, style.INPUT) for n, s, v in zip(of.u_names, of.u_units, du.T, strict=True)]
    rows += [(n, s, v, style.MODEL) for n, s, v in zip(of.y_names, of.y_units, dy.T, strict=True)]
    rows = rows[:MOST_ROWS]
    titles = [f"Δ {plain(channel(name, unit))}" for name, unit, _, _ in rows]
    figure = style.stack(titles, [140] * len(rows), "time [s]")
    time = np.arange(len(du)) * of.dt
    for row, (name, _, values, colour) in enumerate(rows, start=1):
        figure.add_scatter(
            x=time, y=values, mode="lines", name=plain(name, 24), showlegend=False, line=style.line(colour), row=row,
            col=1,
        )  # fmt: skip
    return figure
