"""The figures of the page: pure functions from arrays to plotly. Names arrive raw and are escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from eqnets.reporting import style
from eqnets.reporting.thin import MOST_POINTS, trace
from eqnets.reporting.words import channel, has_unit, plain

MOST_ROWS = 12
"""At most this many channels are drawn in one figure."""


@dataclass(frozen=True)
class Channels:
    """The names and units of one system's signals, and its sample time.

    Args:
        u_names: (nu) names of the inputs.
        y_names: (ny) names of the outputs.
        u_units: (nu) their units.
        y_units: (ny) their units.
        dt: the sample time in seconds.
    """

    u_names: Sequence[str]
    y_names: Sequence[str]
    u_units: Sequence[str]
    y_units: Sequence[str]
    dt: float

    def pairs(self) -> list[tuple[int, int]]:
        """Every (output, input), outputs first."""
        return [(i, j) for i in range(len(self.y_names)) for j in range(len(self.u_names))]

    def gain_unit(self, i: int, j: int) -> str:
        """The unit of output i over input j."""
        top, bottom = self.y_units[i], self.u_units[j]
        if not has_unit(bottom):
            return top if has_unit(top) else ""
        return f"{top if has_unit(top) else '1'} / {bottom}" if "/" not in bottom else f"({top}) / ({bottom})"


def record(channels: Channels, u: np.ndarray, y: np.ndarray, tail: int = 0, most: int = MOST_POINTS) -> go.Figure:
    """What was measured: every input and every output of one record over one time axis.

    Args:
        channels: names, units, sample time.
        u: (T, nu).
        y: (T, ny).
        tail: how many samples at the end were kept for validation; they are shaded.
        most: points drawn per trace.

    Returns:
        The figure.
    """
    inputs = zip(channels.u_names, channels.u_units, u.T, strict=True)
    outputs = zip(channels.y_names, channels.y_units, y.T, strict=True)
    rows = [(*row, style.INPUT) for row in inputs] + [(*row, style.MEASURED) for row in outputs]
    rows = rows[:MOST_ROWS]
    figure = style.stack([_title(n, s) for n, s, _, _ in rows], [150 if len(rows) < 4 else 120] * len(rows), "time [s]")
    for row, (name, _, signal, colour) in enumerate(rows, start=1):
        figure.add_scatter(
            **trace(signal, channels.dt, most), mode="lines", name=plain(name, 24), showlegend=False,
            line=style.line(colour, width=1.1), row=row, col=1,
        )  # fmt: skip
    if tail:
        _shade(figure, (len(u) - tail) * channels.dt, (len(u) - 1) * channels.dt, "validation")
    return figure


def fit(
    channels: Channels, y: np.ndarray, model: np.ndarray, linear: np.ndarray | None, n_init: int = 0,
    most: int = MOST_POINTS,
) -> go.Figure:  # fmt: skip
    """Measured against simulated, and the errors below, per output.

    Args:
        channels: names, units, sample time.
        y: (T, ny) measured.
        model: (T, ny) simulated by the model.
        linear: (T, ny) simulated by the linear model, or None.
        n_init: samples at the start that set the initial state and are not scored; they are shaded.
        most: points drawn per trace.

    Returns:
        The figure.
    """
    names = list(zip(channels.y_names, channels.y_units, strict=True))[: MOST_ROWS // 2]
    titles: list[str] = []
    for name, unit in names:
        titles += [_title(name, unit), f"error, measured − simulated{_unit(unit)}"]
    figure = style.stack(titles, [230, 110] * len(names), "time [s]")
    for i in range(len(names)):
        lines = [("measured", y[:, i], style.line(style.MEASURED, width=1.6))]
        if linear is not None:
            lines.append(("linear model", linear[:, i], style.line(style.LINEAR, width=1.1, dash="dot")))
        lines.append(("model", model[:, i], style.line(style.MODEL, width=1.3)))
        for name, signal, look in lines:
            figure.add_scatter(
                **trace(signal, channels.dt, most), mode="lines", name=name, legendgroup=name, showlegend=i == 0,
                line=look, row=2 * i + 1, col=1,
            )  # fmt: skip
            if name != "measured":
                figure.add_scatter(
                    **trace(y[:, i] - signal, channels.dt, most), mode="lines", name=name, legendgroup=name,
                    showlegend=False, line={**look, "width": 1.0}, row=2 * i + 2, col=1,
                )  # fmt: skip
    if n_init:
        _shade(figure, 0.0, (n_init - 1) * channels.dt, "")
    return figure


def frequency_response(
    channels: Channels, pair: tuple[int, int], hertz: np.ndarray, model: np.ndarray, linear: np.ndarray | None,
    band: tuple[float, float] | None = None,
) -> go.Figure:  # fmt: skip
    """Magnitude and phase of one channel pair.

    Args:
        channels: names and units.
        pair: (output, input).
        hertz: (k,) frequencies in Hz, increasing.
        model: (k,) complex response of the model's linearisation.
        linear: (k,) complex response of the linear model, or None.
        band: where the input had power, in Hz; what lies outside is shaded.

    Returns:
        The figure.
    """
    unit = channels.gain_unit(*pair)
    figure = style.stack([f"magnitude{_unit(unit)}", "phase [°]"], [230, 150], "frequency [Hz]")
    lines = [("linear model", linear, style.line(style.LINEAR, width=1.6, dash="dot"))] if linear is not None else []
    sizes, turn = np.zeros(0), 0.0
    for name, response, look in [*lines, ("model, linearised", model, style.line(style.MODEL, width=1.6))]:
        shared = {"x": hertz, "mode": "lines", "name": name, "legendgroup": name, "col": 1}
        shared["line"] = {**look, "simplify": False}  # a smooth curve stays smooth
        size, phase = np.abs(response), np.degrees(np.unwrap(np.angle(response)))
        phase -= 360 * np.round(phase[0] / 360)
        figure.add_scatter(y=size, row=1, **shared)
        figure.add_scatter(y=phase, row=2, showlegend=False, **shared)
        sizes, turn = np.append(sizes, size), max(turn, np.ptp(phase))
    minor = {"showgrid": True, "gridcolor": "#f3f5f7"}
    figure.update_xaxes(
        type="log", range=np.log10(hertz[[0, -1]]).tolist(), minor=minor, nticks=5, tickformat="~g", hoverformat=".4g"
    )
    decades = np.ptp(np.log10(sizes[sizes > 0])) if (sizes > 0).any() else 0.0
    figure.update_yaxes(type="log", minor=minor, nticks=4, dtick=1 if decades > 2 else None, row=1, col=1)
    dtick = next((d for d in (45, 90, 180, 360) if turn < 4.5 * d), 3600)
    figure.update_yaxes(tick0=0, dtick=dtick, row=2, col=1)
    if band is not None:
        for low, high in ((hertz[0], band[0]), (band[1], hertz[-1])):
            if high > low * 1.02:
                figure.add_vrect(x0=low, x1=high, fillcolor=style.SHADE, line_width=0, layer="below")
    return figure


def training(
    steps: np.ndarray, seconds: np.ndarray, train: np.ndarray, validation: np.ndarray, baseline: float | None = None,
    best: int | None = None,
) -> go.Figure:  # fmt: skip
    """Training and validation error over the steps.

    Args:
        steps: (k,) step numbers.
        seconds: (k,) since the start.
        train: (k,) normalised training RMSE; NaN where there is none.
        validation: (k,) normalised validation RMSE; NaN where it was not computed.
        baseline: the linear model's validation RMSE.
        best: the step whose parameters were kept.

    Returns:
        The figure.
    """
    figure = style.stack(["normalised RMSE"], [300], "step")
    for name, values, look in (
        ("training", train, style.line(style.MUTED, width=1.2)),
        ("validation", validation, style.line(style.MODEL, width=1.8)),
    ):  # fmt: skip
        there = np.isfinite(values)
        figure.add_scatter(
            x=steps[there], y=values[there], customdata=seconds[there], name=name, line=look, marker={"size": 4},
            hovertemplate="%{y:.4g} after %{customdata:.1f} s", mode="lines+markers" if there.sum() < 40 else "lines",
        )  # fmt: skip
    if baseline is not None:
        _level(figure, steps[0], steps[-1], baseline, "linear model, validation")
    at = np.flatnonzero(steps == best)
    if len(at) and np.isfinite(validation[at[0]]):
        figure.add_scatter(
            x=[best], y=[validation[at[0]]], mode="markers", name="kept", hoverinfo="skip",
            marker={"size": 11, "color": style.MODEL, "symbol": "circle-open", "line": {"width": 2}},
        )  # fmt: skip
    if min(np.nanmin(v, initial=np.inf) for v in (train, validation)) > 0:
        figure.update_yaxes(type="log")
    return figure


def sizes(numbers: list[int], errors: list[float], chosen: int, what: str, baseline: float | None = None) -> go.Figure:
    """The validation error of short trials over the size of the model.

    Args:
        numbers: the sizes, rising.
        errors: the normalised validation RMSE of each.
        chosen: the size that was taken.
        what: "states" or "neurons".
        baseline: the linear model's validation RMSE.

    Returns:
        The figure.
    """
    figure = style.stack(["normalised validation RMSE of a short trial"], [230], what)
    figure.add_scatter(
        x=numbers, y=errors, mode="lines+markers", name="trial", line=style.line(style.MODEL), hovertemplate="%{y:.4g}",
        marker={"size": [13 if n == chosen else 7 for n in numbers]},
    )  # fmt: skip
    if baseline is not None:
        _level(figure, numbers[0], numbers[-1], baseline, "linear model")
    figure.update_xaxes(tickvals=numbers)
    figure.update_yaxes(rangemode="tozero")
    return figure


def _level(figure: go.Figure, first: float, last: float, value: float, name: str) -> None:
    """A dotted line at the linear model's value."""
    figure.add_scatter(
        x=[first, last], y=[value, value], mode="lines", name=name, line=style.line(style.LINEAR, dash="dot")
    )


def _title(name: str, unit: str | None) -> str:
    return f"<b>{plain(name)}</b>{_unit(unit)}"


def _unit(unit: str | None) -> str:
    return f" [{plain(unit, 40)}]" if has_unit(unit) else ""


def pair_name(channels: Channels, i: int, j: int) -> str:
    """`"force [N] → acc1 [m/s²]"`, raw."""
    left = channel(channels.u_names[j], channels.u_units[j])
    return f"{left} → {channel(channels.y_names[i], channels.y_units[i])}"


def _shade(figure: go.Figure, start: float, stop: float, words: str) -> None:
    figure.add_vrect(x0=start, x1=stop, fillcolor=style.SHADE, line_width=0, layer="below", row="all", col=1)  # type: ignore[arg-type]
    if words:
        figure.add_annotation(
            x=stop, y=1, yref="y domain", xanchor="right", yanchor="bottom", text=words, showarrow=False,
            font={"size": 11, "color": style.MUTED},
        )  # fmt: skip
