"""The figure sections of the page: which figures, in which order, with which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from eqnets.errors import InputError
from eqnets.reporting import decay, figures, linear_part
from eqnets.reporting.figures import Channels
from eqnets.reporting.gather import Run
from eqnets.reporting.words import clean, number, quantity, rate
from eqnets.system.simulate import linearise

_CURVES = {("nx", "states"): "order_curve", ("nv", "neurons"): "neuron_curve"}
_GROUPS = {"test": "Test records", "training": "Training records"}


@dataclass
class Album:
    """The figures of one page by key, as they go into the file.

    Args:
        figures: filled by `add`.
    """

    figures: dict[str, go.Figure] = field(default_factory=dict)

    def add(self, name: str, choices: Sequence[tuple[str, str, go.Figure]], label: str, alt: str, caption: str) -> dict:
        """Put one place on the page, where the reader chooses between figures.

        Args:
            name: of the place, a word.
            choices: (group, name, figure) of each; the first is shown.
            label: stands before the choice.
            alt: what the figure shows, for those who cannot see it.
            caption: stands below.

        Returns:
            What the template needs.
        """
        entries = []
        for k, (group, words, figure) in enumerate(choices):
            key = f"{name}-{k}"
            self.figures[key] = figure
            entries.append({"key": key, "group": group, "name": clean(words), "first": k == 0})
        height = max(int(figure.layout.height) for _, _, figure in choices)
        return {
            "id": f"figure-{name}", "choices": entries, "choice_label": label, "alt": alt, "caption": caption,
            "height": height if len(choices) == 1 else int(choices[0][2].layout.height),
        }  # fmt: skip


def section(id: str, name: str, figures: list[dict], notes: Sequence[str] = (), **more: Any) -> dict:
    """A section for the template.

    Args:
        id: its anchor.
        name: its heading.
        figures: its places, from `Album.add`.
        notes: sentences above the figures.
        more: `short` (the name in the navigation), `verdicts`, `table`.

    Returns:
        What the template needs.
    """
    standard: dict[str, Any] = {"short": "", "verdicts": [], "table": None}
    return standard | {"id": id, "name": name, "figures": figures, "notes": list(notes)} | more


def data(album: Album, of: Channels, runs: Sequence[Run], tails: dict[str, int], points: int, hidden: int) -> dict:
    """Every record as it was measured.

    Args:
        album: takes the figures.
        of: names and units.
        runs: the records to draw.
        tails: how many samples at the end of a training record were kept for validation, by its name.
        points: per trace.
        hidden: how many records are not drawn.

    Returns:
        The section.
    """
    if not runs:
        return section("data", "Data", [], ["No data were given for this report; their digests are listed at the end."])
    choices = []
    for run in runs:
        tail = tails.get(run.name, 0) if run.role == "training" else 0
        seconds = quantity(len(run.u) * of.dt, "s")
        words = f"{run.name} ({len(run.u)} samples, {seconds})"
        choices.append((_GROUPS[run.role], words, figures.record(of, run.u, run.y, tail, points)))
    caption = "Inputs in green, outputs in black, as they were measured. Drag in a figure to zoom, double-click to "
    caption += "return; a click on a legend entry hides it."
    if tails and any(run.role == "training" for run in runs):
        caption += " Shaded: the tail of a training record, which chose the step at which training stopped."
    caption += _thinned(runs, points)
    notes = [f"{hidden} further records are scored but not drawn."] if hidden else []
    place = album.add("data", choices, "Record", "Measured inputs and outputs over time", caption)
    return section("data", "Data", [place], notes)


def fit(album: Album, of: Channels, runs: Sequence[Run], points: int) -> dict:
    """Measured against simulated.

    Args:
        album: takes the figures.
        of: names and units.
        runs: the simulated records, test records first.
        points: per trace.

    Returns:
        The section.
    """
    notes = []
    if not any(run.role == "test" for run in runs):
        notes.append(
            "No test data were given. What is drawn here was seen in training, and says little about the plant."
            if runs
            else "No data were given for this report, so there is nothing to compare with."
        )
    if not runs:
        return section("fit", "Fit", [], notes)
    choices = [
        (_GROUPS[run.role], run.name, figures.fit(of, run.y, run.model, run.linear, run.n_init, points))
        for run in runs
    ]  # fmt: skip
    caption = "Both models see the input and, in the shaded samples at the start, the output that sets their initial "
    caption += "state; from there on they are simulated without any measurement." + _thinned(runs, points)
    place = album.add("fit", choices, "Record", "Measured and simulated outputs and their errors over time", caption)
    return section("fit", "Fit", [place], notes)


def _thinned(runs: Sequence[Run], points: int) -> str:
    """What a caption says where not every sample is drawn."""
    longest = max(len(run.u) for run in runs)
    if longest <= points:
        return ""
    return (
        f" Records longer than {points} samples (the longest has {longest}) are drawn by the smallest and the largest "
        "value of every stretch, so no peak is lost; every score and test uses all samples."
    )


def frequency(album: Album, of: Channels, fit: Any, inputs: list[np.ndarray], most_pairs: int = 24) -> dict:
    """The linearised model against the linear model.

    Args:
        album: takes the figures.
        of: names and units.
        fit: the fit.
        inputs: the measured inputs (T, nu), for the band that was excited; may be empty.
        most_pairs: at most so many channel pairs are drawn.

    Returns:
        The section.
    """
    mean = np.asarray(getattr(fit.normaliser, "u_offset", np.zeros(fit.system.nu)), dtype=np.float64)
    point = linear_part.rest_point(fit.system, mean)
    where = ", ".join(
        f"{clean(name)} = {quantity(value, unit)}"
        for name, unit, value in zip(of.u_names, of.u_units, mean, strict=True)
    )
    hertz = linear_part.frequencies(of.dt, max((len(u) for u in inputs), default=4096))
    omega = torch.from_numpy(2 * np.pi * hertz)
    model = linear_part.at_rest(fit.system, point).frequency_response(omega).numpy()
    start = linearise(fit.linear.lfr).frequency_response(omega).numpy() if fit.linear is not None else None
    choices, shaded = [], False
    for i, j in of.pairs()[:most_pairs]:
        band = linear_part.excited_band([u[:, j] for u in inputs], of.dt) if inputs else None
        line = start[:, i, j] if start is not None else None
        figure = figures.frequency_response(of, (i, j), hertz, model[:, i, j], line, band)
        shaded = shaded or bool(figure.layout.shapes)
        choices.append(("", figures.pair_name(of, i, j), figure))
    notes = [f"The model is linearised at its rest point under the mean training input ({where})."]
    if not point.found:
        notes.append(
            "The model does not come to rest there: the linearisation is taken at the state with the smallest drift, "
            f"{number(point.residual)} of its size per step."
        )
    if len(of.pairs()) > most_pairs:
        notes.append(f"The first {most_pairs} of {len(of.pairs())} channel pairs are drawn.")
    caption = "Both curves end at the Nyquist frequency."
    if shaded:
        caption += " Shaded: frequencies at which the input had less than a thousandth of its peak power, so that "
        caption += "neither curve is supported by the data."
    place = album.add("frequency", choices, "Pair", "Magnitude and phase over frequency", caption)
    return section("frequency", "Frequency response of the linear part", [place], notes, short="Frequency response")


def training(album: Album, fit: Any) -> dict:
    """The training curve.

    Args:
        album: takes the figure.
        fit: the fit, with its history.

    Returns:
        The section.
    """
    history, settings = list(fit.history), dict(fit.settings)
    if not history:
        return section("training", "Training", [], ["There is no training curve: the history is empty."])
    keys = ("seconds", "train_rmse", "val_rmse")
    column = {key: np.array([row[key] for row in history], dtype=np.float64) for key in keys}
    steps = np.array([int(row["step"]) for row in history])
    validated = np.isfinite(column["val_rmse"]).any()
    best = int(steps[np.nanargmin(column["val_rmse"])]) if validated else None
    figure = figures.training(
        steps, column["seconds"], column["train_rmse"], column["val_rmse"], settings.get("linear_val_rmse"), best
    )
    caption = f"{int(steps[-1])} steps in {quantity(column['seconds'][-1], 's')}."
    if best is not None:
        caption += f" The validation error is lowest at step {best}, whose parameters were kept."
    if settings.get("refit"):
        caption += " The model was then trained once more for as many steps, on the validation tails too."
    caption += " The errors are relative to the size of the training output."
    alt = "Training and validation error over the steps"
    place = album.add("training", [("", "", figure)], "", alt, caption)
    table = _starts_table(settings.get("restarts"), settings.get("val_rmse"))
    notes = [clean(note) for note in fit.notes]
    places = [place]
    curves = {what: settings.get(entry) for what, entry in _CURVES.items()}
    for what, curve in curves.items():
        if curve:
            rows = "; ".join(f"{row[what[0]]} {what[1]} {number(row['val_rmse'])}" for row in curve)
            notes.append(f"Short trials chose the number of {what[1]}, by their validation errors: {rows}.")
    choices = [
        ("", f"number of {name}", figures.sizes(
            [row[key] for row in curve], [row["val_rmse"] for row in curve], settings[key], name,
            settings.get("linear_val_rmse"),
        )) for (key, name), curve in curves.items() if curve
    ]  # fmt: skip
    if choices:
        caption = "Every trial began at the linear model and had a tenth of the updates; the large marker was taken. "
        caption += "Longer training may tell sizes apart that short trials do not."
        places.append(album.add("sizes", choices, "Trials of the", "Validation error over the size", caption))
    return section("training", "Training", places, notes, table=table)


def _starts_table(tried: Any, chosen: float | None) -> dict | None:
    """The random starts, and which one the validation error chose; None where there was one."""
    if not isinstance(tried, list) or len(tried) < 2:
        return None
    rows = [
        {"strong": row["val_rmse"] == chosen, "cells": [
            str(row["seed"]), str(row["nx"]), str(row["steps"]), str(row["best_step"]), number(row["val_rmse"], 4)
        ]} for row in tried
    ]  # fmt: skip
    head = ["Seed", "States", "Steps", "Best step", "Validation RMSE"]
    return {"caption": "Random starts; the validation error chose the bold one", "head": head, "rows": rows}


def wrong_starts(album: Album, fit: Any, u: np.ndarray | None, seed: int = 0) -> list[dict]:
    """Ten wrong starts inside the proved envelope; nothing where no rate below 1 is proved.

    Args:
        album: takes the figure.
        fit: the fit.
        u: (T, nu) the input they see; None is zero.
        seed: of their directions.

    Returns:
        No place or one.
    """
    witness = getattr(fit.certificate, "witness", None)
    if witness is None or fit.system.nx == 0:
        return []
    try:
        found = decay.wrong_starts(fit.lfr, witness, np.zeros((2_000, fit.lfr.nu)) if u is None else u, seed=seed)
    except InputError:
        return []
    driven = "the first measured input" if u is not None else "zero input"
    caption = (
        f"Ten wrong initial states under {driven}, as far off as "
        "the state itself ever moves, and their distance from the right one in the norm of the certificate. The "
        f"proof bounds it by {rate(found.rate)}ᵗ; the largest measured share of that bound is {number(found.worst)}."
    )
    alt = "Distance of ten wrong starts from the right trajectory, below the proved envelope"
    return [album.add("starts", [("", "", decay.draw(found))], "", alt, caption)]
