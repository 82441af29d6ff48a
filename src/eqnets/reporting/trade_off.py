"""The figure of a trade-off: accuracy against the promised gain, network and linear models under one promise."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from eqnets.identification.trade_off import TradeOff
from eqnets.reporting import style

_LOOKS = {
    "REN": (style.MODEL, "solid", "circle"), "linear, trained": (style.LINEAR, "solid", "square"),
    "linear, scaled": (style.MUTED, "dot", "diamond"),
}  # fmt: skip


def trade_off_figure(result: TradeOff) -> go.Figure:
    """NRMSE over the promised gain, on a logarithmic axis; models that promise contraction alone stand at their gain.

    Args:
        result: what `eqnets.trade_off` gave.

    Returns:
        The figure: `figure.write_html(path)` or `figure.show()`.
    """
    figure = style.stack([f"Mean NRMSE, {result.scored_on}"], [340], "gain, in the scales of the table")
    for name, (colour, dash, symbol) in _LOOKS.items():
        rows = sorted((row for row in result.rows if row.model == name), key=lambda row: row.gamma)
        bounded = [math.isfinite(row.gamma) for row in rows]
        figure.add_scatter(
            x=[row.gamma if inside else row.attained for row, inside in zip(rows, bounded, strict=True)],
            y=[row.nrmse for row in rows], name=name, mode="lines+markers", line=style.line(colour, dash=dash),
            marker={"color": colour, "size": 8, "symbol": [symbol + ("" if b else "-open") for b in bounded]},
            customdata=[row.attained for row in rows],
            hovertemplate="NRMSE %{y:.4g}, attained gain %{customdata:.4g}",
        )  # fmt: skip
    figure.update_xaxes(type="log")
    figure.update_yaxes(rangemode="tozero")
    return figure
