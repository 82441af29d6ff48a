"""How every figure looks: colours that colour-blind readers can tell apart, thin axes, rows over one time axis."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

INK = "#1c2530"
MUTED = "#5b6673"
GRID = "#e6e9ed"
MEASURED = "#1c2530"
MODEL = "#0a63b0"
LINEAR = "#d1620a"
INPUT = "#00785a"
ALARM = "#a8321d"
SHADE = "rgba(91,102,115,0.12)"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif'

_TOP, _BOTTOM, _GAP = 46, 52, 40  # pixels: above the first row, below the last one, between rows


def stack(titles: list[str], heights: list[int], x_title: str, *, shared: bool = True) -> go.Figure:
    """An empty figure of rows over each other.

    Args:
        titles: what stands over each row, escaped already.
        heights: each row's height in pixels.
        x_title: the label of the x axis.
        shared: whether the rows zoom together in x.

    Returns:
        The figure; add traces with `row=…, col=1`.
    """
    gap = _GAP if shared else _GAP + 34
    total = sum(heights) + gap * (len(heights) - 1)
    figure = make_subplots(
        rows=len(heights), cols=1, shared_xaxes=shared, row_heights=[float(h) for h in heights],
        vertical_spacing=gap / total, subplot_titles=titles,
    )  # fmt: skip
    figure.update_layout(**base(total + _TOP + _BOTTOM))
    figure.update_annotations(x=0, xanchor="left", font={"size": 12.5, "color": INK}, yshift=1)
    figure.update_xaxes(**axis())
    figure.update_yaxes(**axis())
    figure.update_xaxes(title={"text": x_title, "standoff": 6}, row=len(heights), col=1)
    if not shared:
        figure.update_xaxes(title={"text": x_title, "standoff": 6})
    return figure


def base(height: int) -> dict:
    """The layout that every figure shares; `height` in pixels."""
    return {
        "template": go.layout.Template(), "height": height, "autosize": True,
        "margin": {"l": 66, "r": 16, "t": _TOP, "b": _BOTTOM}, "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff",
        "font": {"family": FONT, "size": 12, "color": MUTED}, "hovermode": "x unified", "dragmode": "zoom",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": GRID, "font": {"color": INK, "family": FONT}},
        "legend": {
            "orientation": "h", "x": 0.97, "xanchor": "right", "y": 1, "yref": "container", "yanchor": "top",
            "font": {"color": INK}, "bgcolor": "rgba(255,255,255,0)",
        },
        "modebar": {"orientation": "v", "bgcolor": "rgba(255,255,255,0.7)"},  # flat, it lies on the legend
    }  # fmt: skip


def axis() -> dict:
    """The look of one axis."""
    return {
        "gridcolor": GRID, "linecolor": "#c3c9d1", "showline": True, "zeroline": False, "ticks": "outside",
        "ticklen": 4, "tickcolor": "#c3c9d1", "hoverformat": ".5g", "automargin": True,
        "title": {"font": {"color": MUTED}},
        "exponentformat": "power", "showexponent": "last",
    }  # fmt: skip


def line(colour: str, *, width: float = 1.4, dash: str | None = None) -> dict:
    """A line style."""
    return {"color": colour, "width": width, **({"dash": dash} if dash else {})}
