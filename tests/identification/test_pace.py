"""A time budget becomes numbers of steps once; a resumed run follows them, whatever the clock says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import eqnets as eq
from eqnets.identification import restarts
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.finish import ITERATIONS
from eqnets.identification.pace import Pace, divided

DT = 0.05


@pytest.fixture(scope="module")
def data() -> eq.Data:
    plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=4.0)
    pairs = plant.records(torch.Generator().manual_seed(1), n_records=2, duration=6.0, dt=DT)
    return eq.read(pairs, u=["torque"], y=["angle"], dt=DT)


@pytest.mark.parametrize("steps", [0, 1, 9, 30, 34, 100, 999, 12345])
def test_steps_are_divided_without_rest(steps: int) -> None:
    first, blocks = divided(steps)
    assert first + ITERATIONS * blocks == steps and first >= 0.7 * steps and blocks >= 0


@pytest.mark.parametrize("update", [1e-4, 1e-2, 3.0])
@pytest.mark.parametrize("evaluation", [1e-4, 1e-1, 10.0])
@pytest.mark.parametrize("seconds", [1.0, 60.0, 1800.0])
def test_the_steps_fit_into_the_time(update: float, evaluation: float, seconds: float) -> None:
    pace = Pace(update, evaluation, validation=evaluation / 4)
    steps, blocks = pace.steps(seconds)
    spent = 1.1 * update * steps + blocks * (12 * evaluation + evaluation / 4)
    assert steps >= 1 and (spent <= seconds * (1 + 1e-9) or steps == 1)
    assert spent > 0.9 * seconds or update > 0.05 * seconds


@pytest.mark.parametrize("model", ["ren", "gru"])
def test_a_resumed_run_follows_the_stored_plan(
    model: str, data: eq.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the second start, and resumed where every step would be measured as ten times as slow."""
    options: dict[str, Any] = {"model": model, "minutes": 0.02, "nv": 4, "restarts": 2, "refit": False, "seed": 0}
    options |= {"nx": 2} if model == "ren" else {}

    def interrupt(event: dict[str, Any]) -> None:
        if event.get("restart") == 2 and event["step"] >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eq.identify(data, **options, progress=interrupt, keeper=Checkpoint(tmp_path / "a", {}))
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "checkpoint.safetensors", tmp_path / "b")  # the plan alone: an undisturbed run
    monkeypatch.setattr(restarts, "measure", lambda *_: Pace(10.0, 10.0, 10.0))
    a, b = (eq.identify(data, **options, keeper=Checkpoint(tmp_path / name, {}, resume=True)) for name in "ab")
    assert a.system.digest() == b.system.digest() and a.settings["updates"] == b.settings["updates"]
    fresh = eq.identify(data, **options)
    assert fresh.settings["updates"] == 1 and a.settings["updates"] > 1
