"""The residual section: what a residual analysis found, drawn and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from eqnets.errors import DataError
from eqnets.identification.residuals import Residuals, analyse
from eqnets.reporting import style
from eqnets.reporting.figures import Channels, pair_name
from eqnets.reporting.gather import Run, linear_outputs
from eqnets.reporting.sections import Album, section
from eqnets.reporting.words import clean

_MOST_PAIRS = 24


def residuals(album: Album, of: Channels, measured: Any, runs: Sequence[Run]) -> dict:
    """The residual analysis of the test records, or of the training records where there are no others.

    Args:
        album: takes the figures.
        of: names and units.
        measured: the data that `runs` simulate, or None.
        runs: one per record of `measured`.

    Returns:
        The section.
    """
    if measured is None:
        return section("residuals", "Residuals", [], ["No data were given for this report, so there are no residuals."])
    n_init = runs[0].n_init
    try:
        found = analyse(measured, [run.model for run in runs], n_init=n_init)
    except DataError as error:
        return section("residuals", "Residuals", [], [f"No residual analysis: {error}"])
    verdicts = [{"tone": "good" if found.independent else "bad", "text": f"Model: {clean(found.sentence)}"}]
    outputs = linear_outputs(runs)
    if outputs:
        try:
            start = analyse(measured, outputs, n_init=n_init, lags=found.lags)
            verdicts.append({"tone": "open", "text": f"Linear model, for comparison: {clean(start.sentence)}"})
        except DataError:
            pass  # the linear model's residual is no verdict on the model
    choices = [("", pair_name(of, i, j), draw(found, of, i, j)) for i, j in of.pairs()[:_MOST_PAIRS]]
    which = "test records" if runs[0].role == "test" else "training records (no test data were given)"
    notes = [
        f"What the {which} hold beyond the simulation, {found.n_samples} samples. A simulation error may take its "
        "colour from the sensor and from disturbances: its auto-correlation is no verdict. A relation with the input "
        "is one, because a better model would explain it. That none is found does not say that the model is right: an "
        "odd nonlinearity (a sine, a saturation on both sides) need not show in these correlations."
    ]
    if len(of.pairs()) > _MOST_PAIRS:
        notes.append(f"The first {_MOST_PAIRS} of {len(of.pairs())} channel pairs are drawn; the verdict rests on all.")
    caption = (
        "Shaded: 99 % of the values lie there, one lag at a time, if residual and input are independent (for the "
        "auto-correlation: if the residual is white); the bands take the colour of both signals into account. "
        "Dashed: the verdict's limit, which an independent residual exceeds at any lag of any pair with a probability "
        f"of at most {found.alpha:.0%}. The bars beyond it are red."
    )
    alt = "Auto-correlation of the residual, and its cross-correlation with the input and the squared input"
    place = album.add("residuals", choices, "Pair", alt, caption)
    return section("residuals", "Residuals", [place], notes, verdicts=verdicts)


def draw(found: Residuals, of: Channels, i: int, j: int) -> go.Figure:
    """The correlations of one output's residual with itself, with one input and with its square.

    Args:
        found: the analysis.
        of: names and units.
        i: the output.
        j: the input.

    Returns:
        The figure, over the lag in seconds.
    """
    rows: list[tuple[str, np.ndarray, float, float | None]] = []
    rows.append(("auto-correlation of the residual e", found.auto[i].r, found.auto[i].band, None))
    for test in found.cross:
        if (test.output, test.input) == (of.y_names[i], of.u_names[j]):
            words = "e with (u − ū)²: what a better nonlinear part would explain"
            words = words if test.squared else "e with u: what a better linear part would explain"
            rows.append((words, test.r, test.band, test.limit))
    figure = style.stack([row[0] for row in rows], [140] * len(rows), "lag [s]")
    lag = np.arange(found.lags + 1) * found.dt
    edge = found.dt / 2
    for k, (name, r, band, limit) in enumerate(rows, start=1):
        figure.add_shape(
            type="rect", x0=-edge, x1=lag[-1] + edge, y0=-band, y1=band, fillcolor=style.SHADE, line_width=0,
            layer="below", row=k, col=1,
        )  # fmt: skip
        outside = np.abs(r) > limit if limit is not None else np.zeros(len(r), dtype=bool)
        figure.add_bar(
            x=lag, y=r, width=0.55 * found.dt, name=name.split(":")[0], showlegend=False, row=k, col=1,
            marker={"color": [style.ALARM if out else style.MODEL for out in outside], "line_width": 0},
        )  # fmt: skip
        for level in [] if limit is None else [-limit, limit]:
            figure.add_scatter(
                x=[-edge, lag[-1] + edge], y=[level, level], mode="lines", hoverinfo="skip", showlegend=False,
                line=style.line(style.MUTED, width=1, dash="dash"), row=k, col=1,
            )  # fmt: skip
    figure.update_xaxes(range=[-2 * edge, lag[-1] + 2 * edge])
    return figure
