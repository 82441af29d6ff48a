"""The search: orders of long records are tried, the curve is kept, and the trials resume to the bit like all else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.identification.conftest import random_lti, records_of

import eqnets as eq
from eqnets.identification import identify as verb
from eqnets.identification import order
from eqnets.identification.data import Data
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.record import Record


def hidden(seed: int) -> Data:
    """y = (G u)³-like through two systems: a linear model sees fewer states than there are."""
    first = records_of(random_lti(2, 1, 1, seed, radius=0.8), [700, 500], seed)
    made = []
    for record in first.records:
        v, x, y = np.tanh(2 * record.y / record.y.std()), 0.0, np.empty_like(record.y)
        for t in range(len(v)):
            x = 0.7 * x + v[t, 0]
            y[t] = x
        made.append(Record(record.u, y, record.name))
    return Data(tuple(made), dt=0.1)


@pytest.fixture
def long_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has 100 samples counts as long, with fewer orders to choose from."""
    for module in (order, verb):
        monkeypatch.setattr(module, "LONG", 100)
    monkeypatch.setattr(order, "_ORDERS", {True: (2, 4)})


@pytest.mark.usefixtures("long_records")
def test_the_order_of_the_best_trial_is_taken(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 60, "nv": 4, "seed": 0}
    fit = eq.identify(hidden(0), **options)
    curve = fit.settings["order_curve"]
    assert [row["nx"] for row in curve] == [fit.settings["linear_nx"] + more for more in (0, 2, 4)]
    assert fit.system.nx == min(curve, key=lambda row: row["val_rmse"])["nx"]
    assert fit.linear.lfr.nx == fit.settings["linear_nx"]

    def interrupt(event: dict[str, Any]) -> None:
        if event["phase"] == "train" and event["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eq.identify(hidden(0), **options, progress=interrupt, keeper=Checkpoint(tmp_path, {}))
    again = eq.identify(hidden(0), **options, keeper=Checkpoint(tmp_path, {}, resume=True))
    assert again.lfr.digest() == fit.lfr.digest() and again.settings["order_curve"] == curve


@pytest.mark.usefixtures("long_records")
def test_an_order_that_was_asked_for_is_not_tried() -> None:
    fit = eq.identify(hidden(0), steps=3, nv=2, nx=3)
    assert fit.settings["order_curve"] == [] and fit.system.nx == 3


def test_a_run_that_replaces_an_interrupted_one_can_be_resumed_itself(tmp_path: Path) -> None:
    data = records_of(random_lti(2, 1, 1, 1), [120, 90], 1, noise=0.05)
    options: dict[str, Any] = {"steps": 12, "nv": 3, "restarts": 3}

    def stop(start: int):
        seen = []

        def progress(event: dict[str, Any]) -> None:
            seen.extend([event["step"]] if event["phase"] == "train" else [])
            if seen.count(6) > start:
                raise KeyboardInterrupt

        return progress

    for seed, start in ((0, 2), (1, 0)):  # the first has checkpoints of starts that the second has not come to
        with pytest.raises(KeyboardInterrupt):
            eq.identify(data, **options, seed=seed, progress=stop(start), keeper=Checkpoint(tmp_path, {"seed": seed}))
    resumed = eq.identify(data, **options, seed=1, keeper=Checkpoint(tmp_path, {"seed": 1}, resume=True))
    assert resumed.system.digest() == eq.identify(data, **options, seed=1).system.digest()


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    data = records_of(random_lti(2, 1, 1, 1), [120, 90], 1, noise=0.05)
    options: dict[str, Any] = {"steps": 12, "nv": 3, "restarts": 3, "seed": 0}
    alone = eq.identify(data, **options)
    shared = eq.identify(data, **options, workers=2, keeper=Checkpoint(tmp_path, {}))
    assert shared.system.digest() == alone.system.digest()
    for a, b in zip(shared.settings["restarts"], alone.settings["restarts"], strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    resumed = eq.identify(data, **options, keeper=Checkpoint(tmp_path, {}, resume=True))
    assert resumed.system.digest() == alone.system.digest()
