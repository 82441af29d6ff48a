"""A time budget becomes numbers of steps once; a resumed run follows them, whatever the clock says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import eqnets as eq
from eqnets.identification import finish, restarts
from eqnets.identification import train as module
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.finish import ITERATIONS
from eqnets.identification.normaliser import Normaliser
from eqnets.identification.pace import Pace, divided
from eqnets.identification.schedule import Schedule, Training
from eqnets.identification.streams import training_streams, validation_streams
from eqnets.identification.train import train

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


class Slow:
    """A clock on which every look is a second after the last one."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.parametrize(("seconds", "blocks"), [(1e6, 5), (40.0, 3), (1.0, 1), (None, 5)])
def test_the_finish_is_cut_short_where_the_updates_took_too_long(
    seconds: float | None, blocks: int, data: eq.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation takes a second, a block twelve; and what was decided is followed after an interrupt."""
    normal = Normaliser.learn(data).normalise(data)
    streams = training_streams(normal, list(normal.lengths), 1, 100)
    check = validation_streams(normal, [80] * len(normal.lengths), 10, 40)
    schedule = Schedule(steps=3, finish=5, seconds=seconds)

    def trained(keeper: Checkpoint | None, progress: Any = None) -> tuple[Training, eq.LFR]:
        model = eq.ContractingREN(1, 2, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0), dt=DT)
        x0 = torch.zeros(len(normal.records), 2, dtype=torch.float64)
        return train(model, streams, check, x0, schedule, progress, keeper), model.explicit().detach()

    def interrupt(event: dict[str, Any]) -> None:
        if event["step"] == 3 + ITERATIONS:
            raise KeyboardInterrupt

    monkeypatch.setattr(finish, "time", Slow())
    found, lfr = trained(None)
    assert len([row for row in found.history if row["step"] > 3]) == blocks and found.shortened == (blocks < 5)
    with pytest.raises(KeyboardInterrupt):
        trained(Checkpoint(tmp_path, {}), interrupt)
    monkeypatch.undo()
    again, same = trained(Checkpoint(tmp_path, {}, resume=True))
    assert same.digest() == lfr.digest() and again.shortened == found.shortened


def test_the_time_to_come_follows_a_machine_that_slows_down(data: eq.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred quick updates and a hundred slow ones: the mean pace would promise half of what is to come."""
    normal = Normaliser.learn(data).normalise(data)
    streams = training_streams(normal, list(normal.lengths), 1, 100)
    model = eq.ContractingREN(1, 2, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0), dt=DT)
    told: list[dict[str, Any]] = []
    clock = Slow()
    monkeypatch.setattr(module, "time", clock)

    def slower(event: dict[str, Any]) -> None:
        told.append(event)
        clock.now += 9.0 if event["phase"] == "train" and event["step"] > 100 else 0.0

    schedule = Schedule(steps=400, stop=200, checkpoint_seconds=1e9)
    train(model, streams, None, torch.zeros(len(normal.records), 2, dtype=torch.float64), schedule, slower)
    eta = {event["step"]: event["eta_seconds"] for event in told if event["phase"] == "train"}
    assert eta[1] is None and eta[100] == pytest.approx(100.0)
    mean = (100 * 1.0 + 80 * 10.0) / 180
    assert eta[181] > 1.25 * 19 * mean and eta[181] == pytest.approx(19 * 10.0, rel=0.3)
