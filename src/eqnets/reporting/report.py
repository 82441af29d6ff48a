"""The verb: one self-contained HTML page about a fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eqnets.identification.extrapolation import outside
from eqnets.identification.metrics import Score, score
from eqnets.identification.trade_off import TradeOff
from eqnets.reporting import contents, gather, page, sections, thin
from eqnets.reporting.attack_section import worst_input
from eqnets.reporting.comparison import comparison, trade
from eqnets.reporting.gather import Run
from eqnets.reporting.model_error_section import frequency_error
from eqnets.reporting.residual_section import residuals
from eqnets.reporting.steady_section import steady
from eqnets.reporting.words import clean

CREED = "The certificate is about the model, not the plant; the test error is the evidence for the plant."
_BUDGET = 1_000_000  # bytes of recorded signals: with plotly.js (2 MB, compressed) the page stays near 4 MB
_MOST_RECORDS = 12  # per role, drawn; all are scored


def report(
    fit: Any, path: str | os.PathLike, data: Any = None, test: Any = None, *, n_init: int = 50,
    compare: Mapping[str, Any] | None = None, trade_off: TradeOff | None = None, force: bool = False,
) -> Path:  # fmt: skip
    """Write one HTML file that shows a fit, its evidence and its certificate. It needs no network, then or later.

    Args:
        fit: the fit.
        path: where the file goes; its folder must exist.
        data: the training data in physical units, to be drawn; None leaves them out.
        test: records that training has not seen; None, and the page says that there is no test error.
        n_init: samples at the start of each record that set the initial state and are not scored.
        compare: other fits of the same channels by name, to be scored beside this one.
        trade_off: what `eqnets.trade_off` gave, to be drawn.
        force: replace an existing file.

    Returns:
        The path of the file.

    Raises:
        InputError: the file exists and `force` is not given, its folder does not exist, models are to be compared
            without records, or (a DataError) the data do not have the channels and sample time of a model, or a record
            is not longer than n_init.
    """  # noqa: DOC502
    path = page.new_file(path, force)
    for given in (data, test):
        if given is not None:
            fit.check(given)
    page.write(path, _page(fit, data, test, n_init, compare, trade_off))
    return path


def _page(
    fit: Any, data: Any, test: Any, n_init: int, compare: Mapping[str, Any] | None, trade_off: TradeOff | None
) -> str:
    of = gather.channels_of(fit)
    tested = gather.runs(fit, test, "test", n_init) if test is not None else []
    trained = gather.runs(fit, data, "training", n_init) if data is not None else []
    shown = tested[:_MOST_RECORDS] + trained[:_MOST_RECORDS]
    points = _points(shown)
    proved = _proved_rate(fit)
    scores, own, rival = _scores(fit, of, data, test, tested, trained, n_init)
    tails = {record["name"]: record["samples"] - record["train"] for record in fit.data_info.get("records", ())}
    album = sections.Album()
    inputs = [run.u for run in (trained or tested)]
    body = [
        sections.data(album, of, shown, tails, points, len(tested) + len(trained) - len(shown)),
        sections.fit(album, of, shown, points),
        residuals(album, of, test if test is not None else data, tested or trained),
        comparison(of, fit, compare, test, data, n_init) if compare else None,
        trade(album, trade_off) if trade_off is not None else None,
        sections.frequency(album, of, fit, inputs),
        frequency_error(album, of, fit, test, data, n_init),
        steady(album, of, fit),
        worst_input(album, of, fit),
        sections.training(album, fit),
    ]
    body = [part for part in body if part is not None]
    first = (tested or trained or [None])[0]
    starts = sections.wrong_starts(album, fit, first.u if first is not None else None)
    return page.render(
        "page.html.jinja", album, title=contents.title(of), lead=contents.lead(fit),
        error_card=contents.error_card(of, own, rival, len(tested)),
        certificate_card=contents.certificate_card(fit), memory_card=contents.memory_card(fit, proved),
        scores=scores, body=body, certificate=contents.certificate_facts(fit, proved, first) | {"figures": starts},
        sections=[
            {"id": "scores", "name": "Scores", "short": ""}, *body,
            {"id": "certificate", "name": "Certificate", "short": ""},
            {"id": "reproduce", "name": "Reproduce", "short": ""},
        ],
        reproduce=contents.reproduce(fit, test),
    )  # fmt: skip


def _scores(
    fit: Any, of: Any, data: Any, test: Any, tested: Sequence[Run], trained: Sequence[Run], n_init: int
) -> tuple[dict[str, Any], Score | None, Score | None]:
    """The score tables, and the test scores of both models for the card."""
    tables: list[dict] = []
    tested_own: Score | None = None
    tested_rival: Score | None = None
    for role, given, runs in (("test", test, tested), ("training", data, trained)):
        if given is None:
            continue
        own = score(given, [run.model for run in runs], n_init)
        rival = score(given, gather.linear_outputs(runs), n_init) if fit.linear is not None else None
        tables.append(contents.score_table(of, role, own, rival))
        if role == "test":
            tested_own, tested_rival = own, rival
    notes = [] if test is not None else ["No test data were given, so there is no test error."]
    if test is not None:
        notes += [clean(channel.sentence) for channel in outside(fit.data_info, test)]
    return {"tables": tables, "notes": notes}, tested_own, tested_rival


def _proved_rate(fit: Any) -> float | None:
    rate = fit.certificate.rate if fit.certificate is not None else None
    return None if rate is None or not np.isfinite(rate) else float(rate)


def _points(shown: Sequence[Run]) -> int:
    lengths = []
    for run in shown:
        per_output = 4 if run.linear is None else 6  # measured twice; each simulation and its error
        lengths += [len(run.u)] * (run.u.shape[1] + run.y.shape[1] * per_output)
    return thin.cap(lengths, _BUDGET)
