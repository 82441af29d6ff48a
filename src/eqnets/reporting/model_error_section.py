"""The error of the model over frequency on the page, with the weight that bounds its estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from eqnets.errors import DataError
from eqnets.identification.model_error import ModelError, model_error
from eqnets.reporting import style
from eqnets.reporting.figures import Channels, pair_name
from eqnets.reporting.sections import Album, section
from eqnets.reporting.words import clean, plain

_MOST_PAIRS = 6


def frequency_error(album: Album, of: Channels, fit: Any, test: Any, data: Any, n_init: int) -> dict | None:
    """Model errors of the first channel pairs, from test records, or from the training records where there are none.

    Args:
        album: takes the figures.
        of: names and units.
        fit: the fit.
        test: records that training has not seen, or None.
        data: the training records, or None.
        n_init: samples that set the initial state.

    Returns:
        The section; None without records.
    """
    records = test if test is not None else data
    if records is None:
        return None
    heading = {"id": "error", "name": "Model error over frequency", "short": "Model error"}
    try:
        found = model_error(fit, records, n_init=n_init)
    except DataError as error:
        return section(**heading, figures=[], notes=[f"Not estimated: {clean(error)}"])
    choices = [("", pair_name(of, *pair), draw(of, found, pair)) for pair in of.pairs()[:_MOST_PAIRS]]
    notes = [clean(found.sentence)]
    if test is None:
        notes.append("From the training records, which make a model look better than it is: give test records.")
    if len(of.pairs()) > _MOST_PAIRS:
        notes.append(f"The first {_MOST_PAIRS} of {len(of.pairs())} channel pairs are drawn.")
    caption = (
        "Drawn where the input has power. The weight has two states, is stable with its inverse, and lies above the "
    )
    caption += "bound; a controller that tolerates it tolerates every linear error below it."
    place = album.add("error", choices, "Pair", "Estimated model error, its bound and a weight over frequency", caption)
    return section(**heading, figures=[place], notes=notes)


def draw(of: Channels, found: ModelError, pair: tuple[int, int]) -> go.Figure:
    """The error of one channel pair.

    Args:
        of: names and units.
        found: what `model_error` gave.
        pair: (output, input).

    Returns:
        The figure.
    """
    i, j = pair
    unit = of.gain_unit(i, j)
    figure = style.stack([f"|G − Ĝ|{f' [{plain(unit, 40)}]' if unit else ''}"], [320], "frequency [Hz]")
    there = found.excited[:, j]
    hertz = found.hertz[there]
    weight = found.weight(i, j).frequency_response(torch.from_numpy(2 * np.pi * hertz)).abs().numpy()[:, 0, 0]
    bound = f"bound, {100 * found.confidence:g} %"
    for name, values, look in (
        ("estimate", found.estimate[there, i, j], style.line(style.MUTED, width=1.1)),
        (bound, found.upper[there, i, j], style.line(style.MODEL)),
        ("weight |W|", weight, style.line(style.ALARM, width=1.8, dash="dash")),
    ):
        figure.add_scatter(x=hertz, y=values, mode="lines", name=name, line=look)
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    return figure
