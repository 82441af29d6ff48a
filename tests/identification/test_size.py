"""Sizes by short trials: every trial has the same start and the same updates, the least good size is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import eqnets as eq
from eqnets.identification import size
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.progress import part_of

DT = 0.05
AUTO: dict[str, Any] = {"nv": "auto", "nx": 2, "steps": 40, "restarts": 1, "refit": False, "seed": 0}


@pytest.fixture(scope="module")
def data() -> eq.Data:
    plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=4.0)
    pairs = plant.records(torch.Generator().manual_seed(1), n_records=2, duration=10.0, dt=DT)
    return eq.read(pairs, u=["torque"], y=["angle"], dt=DT)


@pytest.fixture(scope="module")
def fit(data: eq.Data) -> eq.Fit:
    return eq.identify(data, **AUTO)


def test_the_least_number_near_the_best_is_taken(fit: eq.Fit) -> None:
    curve = fit.settings["neuron_curve"]
    assert [row["nv"] for row in curve] == [5, 10, 20, 40]
    best = min(row["val_rmse"] for row in curve)
    near = [row["nv"] for row in curve if row["val_rmse"] <= size.CLOSE * best]
    assert fit.settings["nv"] == fit.lfr.nv == near[0]
    assert fit.certificate is not None and fit.settings["updates"] == AUTO["steps"]


def test_a_trial_is_a_fit_of_that_size_with_a_tenth_of_the_steps(fit: eq.Fit, data: eq.Data) -> None:
    for row in fit.settings["neuron_curve"][:2]:
        alone = eq.identify(data, **AUTO | {"nv": row["nv"], "steps": 4})
        assert alone.settings["val_rmse"] == row["val_rmse"]


@pytest.mark.parametrize("phase", ["trial with 20 neurons", "train"])
def test_an_interrupted_choice_goes_on_to_the_bit(phase: str, fit: eq.Fit, data: eq.Data, tmp_path: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event["phase"] == phase and event["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eq.identify(data, **AUTO, progress=interrupt, keeper=Checkpoint(tmp_path, {}))
    again = eq.identify(data, **AUTO, keeper=Checkpoint(tmp_path, {}, resume=True))
    assert again.lfr.digest() == fit.lfr.digest()
    assert again.settings["neuron_curve"] == fit.settings["neuron_curve"]


@pytest.mark.parametrize(("val_rmse", "chosen"), [([4, 2, 1, 1], 20), ([1, 1, 1, 1], 5), ([4, 3, 2, 1], 40)])
def test_the_choice_is_by_the_curve_alone(
    val_rmse: list[float], chosen: int, data: eq.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter(val_rmse)
    monkeypatch.setattr(size, "_trial", lambda *_: float(next(errors)))
    assert eq.identify(data, **AUTO | {"steps": 1}).lfr.nv == chosen


def test_a_time_budget_pays_for_the_trials(data: eq.Data, tmp_path: Path) -> None:
    """The plan of the trials and that of the chosen size are two, and both are kept for a resumed run."""
    options = AUTO | {"steps": None, "minutes": 0.02}
    fit = eq.identify(data, **options, keeper=Checkpoint(tmp_path, {}))
    assert len(fit.settings["neuron_curve"]) == 4
    kept = [Checkpoint(tmp_path, {}, resume=True), Checkpoint(tmp_path, {}, resume=True).part("sized")]
    plans = [keeper.load()[1] for keeper in kept]
    assert all(plan["steps"] >= 1 for plan in plans) and fit.settings["updates"] == plans[1]["steps"]


def test_what_has_no_neurons_has_no_number_of_them(data: eq.Data) -> None:
    with pytest.raises(eq.InputError, match="no neurons"):
        eq.identify(data, model="linear", nv="auto")
    with pytest.raises(eq.InputError, match="or 'auto'; got 'many'"):
        eq.identify(data, nv="many")


def test_the_time_to_come_counts_what_follows() -> None:
    heard: list[dict[str, Any]] = []
    told = part_of(heard.append, 0.1, 2.0, "trial", restart=1)
    assert told is not None and part_of(None, 1, 1) is None
    told({"phase": "train", "seconds": 3.0, "eta_seconds": 1.0})
    told({"phase": "train", "seconds": 0.0, "eta_seconds": None})
    assert heard[0] == {"phase": "trial", "seconds": 3.0, "eta_seconds": pytest.approx(1 + 4 * 20), "restart": 1}
    assert heard[1]["eta_seconds"] is None
