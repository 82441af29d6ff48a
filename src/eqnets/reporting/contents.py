"""The words and numbers of the page: plain dicts, which the template lays out and escapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from eqnets.certification import Recovery
from eqnets.certification.claim import Labels, Lipschitz, up
from eqnets.identification.guarantee import NOTHING
from eqnets.reporting.figures import Channels
from eqnets.reporting.gather import Run
from eqnets.reporting.three_sentences import three_sentences
from eqnets.reporting.words import (
    channel,
    channels,
    clean,
    count,
    exact,
    number,
    percent,
    quantity,
    rate,
    time_constant,
)
from eqnets.system.lfr import LFR

_ROLES = {"test": "Test data", "training": "Training data, which both models have seen"}


def title(of: Channels) -> str:
    """`"force [N] → acceleration [m/s²]"`."""
    return f"{channels(of.u_names, of.u_units)} → {channels(of.y_names, of.y_units)}"


def lead(fit: Any) -> str:
    """One sentence on what the model is and what it was fitted to."""
    system, info = fit.system, dict(fit.data_info or {})
    kind = {
        "Contracting": "A contracting", "Lipschitz": "A Lipschitz-bounded", "Dissipative": "A dissipative",
        "Passive": "A passive", "WellPosed": "A well-posed",
    }  # fmt: skip
    article = kind.get(type(fit.guarantee).__name__, "An unconstrained")
    if isinstance(system, LFR):
        words = f"{article} model with {count(system.nx, 'state')} and {count(system.nv, 'neuron')} "
        words += f"({system.activation.name[:30]})"
    else:
        words = f"{article} model ({type(fit.model).__name__}) with {count(system.nx, 'state')}"
    dt = float(system.dt or math.nan)
    words += f", sampled every {exact(dt, 's')} ({exact(1 / dt, 'Hz')})"
    records = info.get("records", ())
    if records:
        samples = sum(record["samples"] for record in records)
        words += f"; identified from {count(len(records), 'record')} with {count(samples, 'sample')}"
    return words + "."


def error_card(of: Channels, model: Any, linear: Any, n_records: int) -> dict:
    """The test error beside the linear model's.

    Args:
        of: names and units.
        model: the model's Score on test data, or None where none were given.
        linear: the linear model's Score, or None.
        n_records: how many test records there are.

    Returns:
        The card.
    """
    if model is None:
        return {
            "rows": [], "tone": "open",
            "note": "No test records were given for this report, so there is no evidence about the plant on it. "
            "Pass records that training has not seen.",
        }  # fmt: skip
    rows, ratios = [], []
    for i, (name, unit) in enumerate(zip(of.y_names, of.y_units, strict=True)):
        own = float(model.rmse[i])
        other = float(linear.rmse[i]) if linear is not None else math.nan
        ratios.append(own / other if other > 0 else math.nan)
        rows.append({
            "name": clean(name), "model": quantity(own, unit), "change": _change(ratios[-1]),
            "linear": quantity(other, unit) if linear is not None else "–",
        })  # fmt: skip
    better = sum(ratio < 1 for ratio in ratios)
    tone = "good" if better == len(ratios) else "bad" if better == 0 and not np.isnan(ratios).all() else "open"
    note = f"On {count(n_records, 'test record')}; the first {count(model.n_init, 'sample')} of each set the initial "
    note += "state and are not scored."
    if len(rows) == 1:
        note = f"Fit {percent(model.fit_percent[0])}\u00a0%. " + note
    if len(rows) > 4:
        note = f"Better than the linear model on {better} of {len(rows)} outputs; the first four are shown. " + note
    return {"rows": rows[:4], "tone": tone, "note": note}


def _change(ratio: float) -> str:
    if not math.isfinite(ratio):
        return ""
    percent = 100 * (1 - ratio)
    if abs(percent) < 0.5:
        return "as large as"
    return f"{abs(percent):.0f}\u00a0% {'below' if percent > 0 else 'above'}"


def certificate_card(fit: Any) -> dict:
    """The certificate in words and units."""
    certificate = fit.certificate
    if certificate is None:
        return {
            "proved": False, "tone": "open", "sub": "what is proved of the model", "headline": "No certificate",
            "note": "",
            "sentence": NOTHING,
        }  # fmt: skip
    claim = certificate.claim
    headline = {"Contracting": "Contracting", "WellPosed": "Well posed"}.get(type(claim).__name__, type(claim).__name__)
    if isinstance(claim, Lipschitz):
        headline = f"Gain γ ≤ {number(float(up(claim.gamma, 4)), 4)}"
        pairs = claim.pair_gains(Labels.of(fit.lfr))
        if len(pairs) == 1:
            headline = f"Gain ≤ {quantity(float(up(pairs[0].gain, 3)), pairs[0].unit)}"
    sentence = clean(certificate.sentence)
    note = ""
    if len(sentence) > 330:
        cut = sentence[:330].rfind(", with ")
        sentence = sentence[: cut if cut > 60 else 320] + " …"
        note = "In full, with every scale and channel pair, under Certificate below."
    return {
        "proved": True, "tone": "info", "sub": "what is proved of the model", "headline": headline,
        "sentence": sentence, "note": note,
    }  # fmt: skip


def memory_card(fit: Any, proved: float | None) -> dict:
    """The proved rate and its time constant.

    Args:
        fit: the fit.
        proved: the proved rate ᾱ, or None.

    Returns:
        The card.
    """
    card = {"sub": "proved rate and time constant", "note": ""}
    if proved is None or not proved < 1:
        return card | {
            "proved": False, "tone": "open", "headline": "No proved rate",
            "sentence": "No bound is proved on how long a wrong initial state is felt.",
        }  # fmt: skip
    if fit.system.nx == 0 or proved <= 0:
        return card | {
            "proved": True, "tone": "info", "headline": "At once",
            "sentence": "The model has no state, so nothing of the past is kept.",
        }  # fmt: skip
    tau = float(up(time_constant(proved, fit.lfr.dt), 3))
    steps = math.ceil(math.log(0.01) / math.log(proved))
    return card | {
        "proved": True, "tone": "info", "headline": f"τ ≤ {quantity(tau, 's')}",
        "sentence": f"Rate ᾱ = {rate(proved)} per step of {exact(fit.lfr.dt, 's')}; τ = −dt / ln ᾱ. The effect of any "
        f"wrong initial state is below 1 % after at most {quantity(float(up(steps * fit.lfr.dt, 3)), 's')}, in the "
        "norm of the certificate.",
    }  # fmt: skip


def score_table(of: Channels, role: str, model: Any, linear: Any) -> dict:
    """The numbers per output, the model's beside the linear model's."""
    rows = []
    for i, (name, unit) in enumerate(zip(of.y_names, of.y_units, strict=True)):
        cells = []
        for attribute, sign in (("rmse", 1), ("nrmse", 1), ("fit_percent", -1), ("vaf", -1)):
            write = percent if sign < 0 else number
            own = float(getattr(model, attribute)[i])
            other = float(getattr(linear, attribute)[i]) if linear is not None else math.nan
            for value, rival in ((own, other), (other, own)):
                text = quantity(value, unit) if attribute == "rmse" else write(value)
                cells.append({"text": text, "best": bool(sign * value < sign * rival)})
        rows.append({"name": channel(name, unit), "cells": cells})
    return {"heading": _ROLES[role], "rows": rows, "records": _record_rows(of, model, linear)}


def _record_rows(of: Channels, model: Any, linear: Any) -> list[dict]:
    if len(model.records) < 2:
        return []
    rows = []
    for k, score in enumerate(model.records):
        for i, (name, unit) in enumerate(zip(of.y_names, of.y_units, strict=True)):
            rows.append({
                "record": clean(score.name),
                "name": clean(name), "model": quantity(score.rmse[i], unit), "fit": percent(score.fit_percent[i]),
                "linear": quantity(linear.records[k].rmse[i], unit) if linear is not None else "–",
            })  # fmt: skip
    return rows


def certificate_facts(fit: Any, proved: float | None, run: Run | None = None) -> dict:
    """The certificate section: the three sentences, facts, notes and the gains of the channel pairs.

    Args:
        fit: the fit.
        proved: the proved rate ᾱ, or None.
        run: the run that the second sentence speaks of; None where there are no data.

    Returns:
        What the template lays out.
    """
    certificate = fit.certificate
    if certificate is None:
        return {
            "facts": [], "gains": None,
            "notes": [f"{NOTHING} To have a certificate, fit again with a guarantee."],
        }  # fmt: skip
    lfr, claim = fit.lfr, certificate.claim
    facts = three_sentences(fit, run)
    margin = certificate.margin
    facts.append(("Margin of the inequality", number(margin) if isinstance(margin, int | float) else clean(margin)))
    if proved is not None and 0 < proved < 1 and lfr.nx:
        tau = time_constant(proved, lfr.dt)
        facts.append(("Proved rate", f"{rate(proved)} per step; time constant {quantity(float(up(tau, 4)), 's', 4)}"))
        facts.append(("Memory", _memory(fit)))
    scope = "the deployed model in physical units; "
    facts.append(("It speaks of", scope + "the estimate of the initial state from measured outputs is not covered"))
    gains = None
    if isinstance(claim, Lipschitz):
        labels = Labels.of(lfr)
        pairs = {(p.output, p.input): p for p in claim.pair_gains(labels)}
        gains = {
            "outputs": [clean(y) for y in labels.outputs()[:12]],
            "rows": [
                {"name": clean(u), "cells": [
                    quantity(float(up(pairs[y, u].gain, 4)), pairs[y, u].unit, 4) for y in labels.outputs()[:12]
                ]} for u in labels.inputs()[:12]
            ],
        }  # fmt: skip
    return {"facts": facts, "gains": gains, "notes": []}


def _memory(fit: Any) -> str:
    """How long the outputs show a start that is as wrong as the training records' starts differ."""
    recovery = Recovery.of(fit.certificate)
    sizes, axes = torch.linalg.eigh(fit.prior.covariance.to(torch.float64))
    spread = axes * sizes.clamp_min(0).sqrt()
    # the largest |Δx|_P of all Δx = L z with |z| = 1, where L Lᵀ is the covariance (it may be singular)
    direction = torch.linalg.svd(torch.linalg.cholesky(recovery.P).T @ spread)[2][0]
    seconds = recovery.time_within(spread @ direction, 0.01 * torch.from_numpy(np.array(fit.normaliser.y_scale)))
    return (
        f"from a start one standard deviation off (of those of the training records), every output is within 1 % of "
        f"its standard deviation of the right one after at most {quantity(float(up(seconds, 3)), 's')}"
    )


def reproduce(fit: Any, test: Any) -> dict:
    """Command, settings, versions, sources, digests."""
    settings = dict(fit.settings or {})
    info = dict(fit.data_info or {})
    command = settings.pop("command", None)
    for curve in ("order_curve", "neuron_curve"):
        settings.pop(curve, None)  # stands with the training
    rows = [_source(source, "training") for source in info.get("sources", ()) or ()]
    rows += [_source(source, "test") for source in (test.sources if test is not None else ())]
    digests = [("Model (every block, activation, sample time)", fit.system.digest())]
    if fit.certificate is not None:
        digests.append(("Model named in the certificate", clean(fit.certificate.digest)))
    return {
        "command": clean(command) if command else _call(settings, fit.guarantee),
        "settings": [(clean(k).replace("_", " "), _setting(v)) for k, v in settings.items() if v is not None],
        "versions": [(clean(k), _setting(v)) for k, v in dict(fit.environment or {}).items()],
        "sources": rows, "digests": digests,
        "notes": [
            "The same data, settings, seed and versions on the same kind of machine give the same model, where "
            "steps were asked for. How many steps fit into minutes is measured once, on the machine at hand."
        ],
    }  # fmt: skip


def _call(settings: dict, guarantee: Any) -> str:
    order = ("model", "nx", "nv", "delay", "steps" if settings.get("steps") is not None else "minutes", "seed")
    asked = "'none'" if guarantee == "none" else f"eqnets.{guarantee!r}"
    words = [f"guarantee={asked}"] + [f"{k}={settings[k]!r}" for k in order if settings.get(k) is not None]
    return f"fit = eqnets.identify(data, {', '.join(words)})"


def _source(source: Any, role: str) -> dict:
    def get(key: str) -> str:
        return clean(source.get(key) if isinstance(source, dict) else getattr(source, key)) or "–"

    return {"name": get("file"), "role": role, "sha256": get("sha256")}


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return str(len(value))
    if isinstance(value, list | tuple):
        return ", ".join(_setting(v) for v in value)
    return clean(value)
