"""Run a measured benchmark by its official protocol: our fits, compared models and linear starts beside published ones.

The test records are opened after every choice is made, used once, and only `u` and the first n_init outputs are given
to a model. Several seeds give a median and a range, never the best.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eqnets.certification import verify
from eqnets.errors import InputError
from eqnets.identification.benchmarks import Benchmark, benchmark, info
from eqnets.identification.data import Data
from eqnets.identification.files.whole import CERTIFICATE
from eqnets.identification.fit import Fit
from eqnets.identification.guarantee import Promise
from eqnets.identification.identified import Identified
from eqnets.identification.identify import identify
from eqnets.identification.integrator import slowest_poles
from eqnets.identification.kinds import KINDS, settle
from eqnets.identification.progress import Progress
from eqnets.identification.rates import integrated_score, is_rate


@dataclass(frozen=True)
class Run:
    """One fit of one seed.

    Args:
        seed: of the fit.
        values: the score on every test record, in the benchmark's unit.
        linear: the linear start's, likewise.
        seconds: the fit took.
        certificate: the proved claim in words, verified anew from its file; None where nothing was promised.
        nx: number of states.
        nv: number of neurons or hidden units.
    """

    seed: int
    values: tuple[float, ...]
    linear: tuple[float, ...]
    seconds: float
    certificate: str | None
    nx: int
    nv: int


@dataclass(frozen=True, eq=False)
class BenchResult:
    """The runs of one model on one benchmark.

    Args:
        known: its rule and the published rows.
        model: a key of `kinds.KINDS`.
        guarantee: what the model promises, or "none".
        rates: whether the model is of the output's rate of change, and the score of its (uncertified) sum.
        runs: one a seed.
    """

    known: Benchmark
    model: str
    guarantee: Promise
    rates: bool
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """The model and its promise, in words."""
        promise = "no guarantee" if self.guarantee == "none" else type(self.guarantee).__name__
        return f"{KINDS[self.model].title}, {promise}"

    def median(self, linear: bool = False) -> tuple[float, ...]:
        """The median over the seeds, for every test record."""
        return tuple(float(v) for v in np.median(self._table(linear), axis=0))

    def spread(self, linear: bool = False) -> tuple[tuple[float, float], ...]:
        """The smallest and the largest over the seeds, for every test record."""
        table = self._table(linear)
        return tuple((float(a), float(b)) for a, b in zip(table.min(axis=0), table.max(axis=0), strict=True))

    def to_json(self) -> dict[str, Any]:
        """What the model did, as JSON takes it."""
        return {
            "model": self.model, "guarantee": self.guarantee if self.guarantee == "none" else repr(self.guarantee),
            "median": list(self.median()), "spread": [list(pair) for pair in self.spread()],
            "linear_median": list(self.median(linear=True)),
            "runs": [{**vars(run)} for run in self.runs],
        }  # fmt: skip

    def _table(self, linear: bool) -> np.ndarray:
        return np.array([run.linear if linear else run.values for run in self.runs])


def table_to_json(results: Sequence[BenchResult]) -> dict[str, Any]:
    """One table, as JSON takes it: every model on one benchmark, beside what was published.

    Args:
        results: of one benchmark, at least one.

    Returns:
        The table.
    """
    known = results[0].known
    return {
        "benchmark": known.name, "unit": known.unit, "tests": list(known.tests), "n_init": known.n_init,
        "rates_integrated": results[0].rates, "models": [result.to_json() for result in results],
        "published": [{"model": r.model, "values": list(r.values), "source": r.source} for r in known.rows],
    }  # fmt: skip


def run_benchmark(
    name: str, guarantee: Promise | None, folder: Path, *, model: str = "ren", seeds: int = 1, minutes: float = 5.0,
    steps: int | None = None, data: Path | None = None, progress: Progress | None = None,
    done: Callable[[Run], None] | None = None,
) -> BenchResult:  # fmt: skip
    """Fit and score one model on one benchmark.

    Args:
        name: one of `benchmarks.names()`.
        guarantee: what the model promises, in physical units; None is the model's default.
        folder: where the model folders go, `NAME-MODEL-seedK`, or `NAME-MODEL-none-seedK` where one that can promise
            does not.
        model: a key of `kinds.KINDS`.
        seeds: how many seeds, from 0.
        minutes: for each fit.
        steps: updates instead of minutes, so that the result is the same every time.
        data: the folder of the measured files; None takes EQNETS_DATA.
        progress: called with events of the fits.
        done: called with every run.

    Returns:
        The runs with what was published.

    Raises:
        InputError: fewer than one seed.
    """
    if seeds < 1:
        raise InputError(f"a benchmark needs at least one seed; got {seeds}.")
    known = info(name)
    guarantee = settle(model, guarantee, None, None, None)
    free = "-none" if guarantee == "none" and KINDS[model].promises else ""
    train, tests = benchmark(name, data)
    slow = [pole.output for pole in slowest_poles(train) if pole.integrates]
    seen = train.difference(*slow) if slow else train
    runs = []
    for seed in range(seeds):
        began = time.monotonic()
        fit = identify(seen, guarantee, model=model, minutes=minutes, steps=steps, seed=seed, progress=progress)
        seconds = time.monotonic() - began
        place = fit.save(folder / f"{name}-{model}{free}-seed{seed}", force=True)
        if fit.certificate is not None:
            verify(place / CERTIFICATE, fit.lfr)
        run = Run(
            seed, _scores(fit, tests, slow, known), _scores(fit.linear, tests, slow, known), seconds,
            None if fit.certificate is None else fit.certificate.sentence, fit.system.nx, fit.settings["nv"],
        )  # fmt: skip
        runs.append(run)
        if done is not None:
            done(run)
    return BenchResult(known, model, guarantee, bool(slow), tuple(runs))


def _scores(model: Fit | Identified, tests: list[Data], slow: list[str], known: Benchmark) -> tuple[float, ...]:
    values = []
    for raw in tests:
        data = raw.difference(*slow) if slow else raw
        if not slow:
            found = model.score(data, n_init=known.n_init)
        else:
            simulated = [model.simulate(r.u, r.y[: known.n_init]) for r in data.records]
            found = integrated_score(raw, simulated, [is_rate(n) for n in data.y_names], known.n_init)
        values.append(float(found.rmse[0]) * known.factor)
    return tuple(values)
