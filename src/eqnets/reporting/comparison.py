"""Several models on the page: their scores side by side, and a trade-off curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from eqnets.errors import InputError
from eqnets.identification.metrics import Score
from eqnets.identification.trade_off import TradeOff
from eqnets.reporting.figures import Channels
from eqnets.reporting.sections import Album, section
from eqnets.reporting.trade_off import trade_off_figure
from eqnets.reporting.words import channel, clean, count, number, quantity

_OWN = "this model"
_MOST_OUTPUTS = 6
"""So many outputs have a column of their own in the table of a trade-off."""


def comparison(of: Channels, fit: Any, others: Mapping[str, Any], test: Any, data: Any, n_init: int) -> dict:
    """Every model scored on the same records, handled alike.

    Args:
        of: names and units.
        fit: the fit of the page.
        others: fits by name.
        test: records that training has not seen, or None.
        data: the training data, which take their place, or None.
        n_init: samples that set the initial state.

    Returns:
        The section.

    Raises:
        InputError: there are no records to compare on, or a name is that of a row of the table.
    """
    records = test if test is not None else data
    if records is None:
        raise InputError("models are compared on records; give test= (or data=) beside compare=.")
    taken = {_OWN, "its linear model"} & set(others)
    if taken:
        raise InputError(f"'{taken.pop()}' is a row of the table already; give the compared model another name.")
    models = {_OWN: fit, **({"its linear model": fit.linear} if fit.linear is not None else {}), **others}
    scores = {name: model.score(records, n_init=n_init) for name, model in models.items()}
    best = min(scores, key=lambda name: float(np.mean(scores[name].nrmse)))
    rows = [
        {
            "strong": name == best,
            "cells": [clean(name), _promise(models[name]), _size(models[name]), *_cells(of, score)],
        }
        for name, score in scores.items()
    ]
    outputs = [f"RMSE {clean(channel(n, u))}" for n, u in zip(of.y_names, of.y_units, strict=True)]
    head = ["Model", "Proved", "Size", *outputs, "Mean NRMSE"]
    table = {"caption": "The smallest mean NRMSE stands in bold", "head": head, "rows": rows}
    where = "test records" if test is not None else "training records (no test data were given)"
    note = f"On the {where}, {len(records.records)} in number: each model from the input and the first "
    note += f"{count(n_init, 'sample')} of the output. One fit each: another seed moves these numbers too."
    return section("comparison", "Comparison of models", [], [note], short="Comparison", table=table)


def trade(album: Album, result: TradeOff) -> dict:
    """The curve of a trade-off, and its table.

    Args:
        album: takes the figure.
        result: what `eqnets.trade_off` gave.

    Returns:
        The section.
    """
    caption = "Open markers promise contraction alone and stand at the gain that was found. Further left is more "
    caption += "robust, further down more accurate."
    alt = "Error over the promised gain"
    place = album.add("trade", [("", "", trade_off_figure(result))], "", alt, caption)
    names, units = result.y_names[:_MOST_OUTPUTS], result.y_units[:_MOST_OUTPUTS]
    rows = [
        {"strong": False, "cells": [
            clean(row.model), "none" if math.isinf(row.gamma) else number(row.gamma, 4), "yes" if row.proved else "no",
            number(row.attained, 4), number(row.nrmse, 4),
            *(quantity(*pair) for pair in zip(row.rmse, units, strict=False)),
        ]} for row in result.rows
    ]  # fmt: skip
    head = ["Model", "Gain bound γ", "Proved", "Gain found", "Mean NRMSE", *(f"RMSE {clean(name)}" for name in names)]
    note = f"Errors on {clean(result.scored_on)}; gains in the scales of the table. The gain found is a lower bound of "
    note += "the true one for a network, and the true one for a linear model."
    table = {"caption": "Every model of the curve", "head": head, "rows": rows}
    return section("trade", "Accuracy against robustness", [place], [note], short="Trade-off", table=table)


def _promise(model: Any) -> str:
    certificate = getattr(model, "certificate", None)
    return "nothing" if certificate is None else clean(repr(certificate.claim))


def _size(model: Any) -> str:
    neurons = getattr(model.system, "nv", None)
    words = count(model.system.nx, "state")
    return words if not neurons else f"{words}, {count(neurons, 'neuron')}"


def _cells(of: Channels, score: Score) -> list[str]:
    errors = [quantity(value, unit) for value, unit in zip(score.rmse, of.y_units, strict=True)]
    return [*errors, number(float(np.mean(score.nrmse)), 4)]
