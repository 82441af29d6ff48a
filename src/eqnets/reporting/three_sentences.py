"""What is known of the model, of a run and of the deployed program: three sentences, each of which stands alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eqnets.certification import Certificate, ErrorBar, error_bar, without_bar, without_solve
from eqnets.errors import NotCertified
from eqnets.reporting.gather import Run
from eqnets.reporting.words import clean
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate

_MOST_SAMPLES = 10_000  # of the run whose residuals are measured


def three_sentences(fit: Any, run: Run | None) -> list[tuple[str, str]]:
    """The sentences, by what they speak of.

    Args:
        fit: with a certificate.
        run: the run that is spoken of, the first of the page; None where there are no data.

    Returns:
        Three pairs of a name and a sentence.
    """
    lfr, certificate = fit.lfr, fit.certificate
    said = without_solve(certificate) if lfr.is_acyclic else _solved(fit, lfr, certificate, run)
    pairs = [sentence.split(": ", 1) for sentence in said]
    return [(name, clean(words[0].upper() + words[1:])) for name, words in pairs]


def _solved(fit: Any, lfr: LFR, certificate: Certificate, run: Run | None) -> tuple[str, str, str]:
    if run is None:
        return without_bar(certificate, "no data were given for this report")
    scales = tuple(map(float, fit.normaliser.y_scale)) if len(set(lfr.y_units or [""])) > 1 else None
    try:
        return _measured(fit, error_bar(lfr, y_scale=scales), run)
    except NotCertified:
        return without_bar(certificate, "no gain from the residual of the equation to the outputs could be proved")


def _measured(fit: Any, bar: ErrorBar, run: Run) -> tuple[str, str, str]:
    """The states and neurons of the first record's run, and their error bars."""
    lfr, count = bar.lfr, min(len(run.u), _MOST_SAMPLES)
    x0, u = fit.initial_state(run.u, run.y[: run.n_init]), torch.tensor(run.u[:count], dtype=torch.float64)
    eye, zero = torch.eye(lfr.nx + lfr.nv, dtype=torch.float64), torch.zeros(lfr.nx + lfr.nv, 1 + lfr.nu).double()
    seen = lfr.replace(
        C2=eye[:, : lfr.nx], D21=eye[:, lfr.nx :], D22=zero[:, 1:], by=zero[:, 0], y_names=None, y_units=None
    )
    with torch.no_grad():
        x, w = simulate(seen, u[None], x0[None])[0][0].split([lfr.nx, lfr.nv], dim=1)
    epsilon: Tensor = bar(w, u, x)
    return bar.sentences(fit.certificate, epsilon)
