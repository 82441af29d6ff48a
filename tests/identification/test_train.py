"""Training: resumable to the bit, keeps the best validated step, keeps its promise at every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.identification.conftest import random_lti, records_of
from torch import nn

from eqnets.certification import Contracting, certify
from eqnets.errors import DataError, NotConverged
from eqnets.identification.data import Data
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.streams import Streams, training_streams, validation_streams
from eqnets.identification.train import Schedule, train, validation_rmse
from eqnets.models import ContractingREN
from eqnets.system.lfr import LFR

ENDS = [160, 120]


def setting(seed: int = 0) -> tuple[ContractingREN, Streams, Streams, torch.Tensor]:
    data = records_of(random_lti(2, 1, 1, seed), [200, 150], seed, noise=0.02)
    model = ContractingREN(1, 2, 3, 1, activation="tanh", generator=torch.Generator().manual_seed(seed)).double()
    x0 = torch.zeros(2, 2, dtype=torch.float64)
    return model, training_streams(data, ENDS, 8, 20), validation_streams(data, ENDS, 50, 100), x0


def killer(at: int) -> Any:
    def progress(event: dict[str, Any]) -> None:
        if event["phase"] == "train" and event["step"] == at:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("at", [1, 7, 10, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interrupted_and_resumed_is_the_same_to_the_bit(tmp_path: Path, at: int, dtype: torch.dtype) -> None:
    schedule = Schedule(steps=25, segment=16, learning_rate=1e-2, dtype=dtype)
    model, streams, check, x0 = setting()
    whole = train(model, streams, check, x0, schedule)
    expected = {name: value.clone() for name, value in model.state_dict().items()}

    model, streams, check, x0 = setting()
    with pytest.raises(KeyboardInterrupt):
        train(model, streams, check, x0, schedule, killer(at), Checkpoint(tmp_path, {"a": 1}))
    model, streams, check, x0 = setting()
    resumed = train(model, streams, check, x0, schedule, keeper=Checkpoint(tmp_path, {"a": 1}, resume=True))
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert torch.equal(resumed.x0, whole.x0) and resumed.best_step == whole.best_step
    for a, b in zip(resumed.history, whole.history, strict=True):
        assert a["step"] == b["step"] and a["val_rmse"] == b["val_rmse"]


def test_an_interrupt_amid_an_update_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule(steps=25, segment=16, learning_rate=1e-2, checkpoint_seconds=0.0)
    model, streams, check, x0 = setting()
    train(model, streams, check, x0, schedule)
    expected = {name: value.clone() for name, value in model.state_dict().items()}

    calls, update = [0], torch.optim.Adam.step

    def step(self: torch.optim.Adam) -> None:
        update(self)
        calls[0] += 1
        if calls[0] == 13:
            raise KeyboardInterrupt

    model, streams, check, x0 = setting()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.Adam, "step", step)
        train(model, streams, check, x0, schedule, keeper=Checkpoint(tmp_path, {"a": 1}))
    model, streams, check, x0 = setting()
    train(model, streams, check, x0, schedule, keeper=Checkpoint(tmp_path, {"a": 1}, resume=True))
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_the_model_is_left_at_its_best_validated_step() -> None:
    model, streams, check, x0 = setting()
    done = train(model, streams, check, x0, Schedule(steps=80, segment=40, learning_rate=3e-2))
    best = min(done.history, key=lambda row: row["val_rmse"])
    assert best["step"] == done.best_step
    assert validation_rmse(model.explicit().detach(), check, done.x0) == pytest.approx(best["val_rmse"], rel=1e-9)
    assert done.history[0]["step"] == 0 and best["val_rmse"] < done.history[0]["val_rmse"]


def test_the_promise_holds_at_every_step() -> None:
    """Not only at the end: a run may be stopped anywhere."""
    model, streams, check, x0 = setting()
    proved: list[float] = []

    def progress(event: dict[str, Any]) -> None:
        if event["phase"] in ("train", "validate"):
            proved.append(certify(Contracting(), model.explicit().detach(), model.witness()).margin)

    train(model, streams, check, x0, Schedule(steps=30, segment=40, learning_rate=0.1), progress)
    assert len(proved) > 30 and min(proved) > 0


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    model, streams, check, x0 = setting()
    train(model, streams, check, x0, Schedule(steps=2), keeper=Checkpoint(tmp_path, {"seed": 1}))
    with pytest.raises(DataError, match="seed changed"):
        Checkpoint(tmp_path, {"seed": 2}, resume=True).load()
    path = tmp_path / "checkpoint.safetensors"
    for content in (path.read_bytes()[:100], b"", b"\x00" * 40):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            Checkpoint(tmp_path, {"seed": 1}, resume=True).load()


def test_data_that_cannot_be_trained_on_is_said_at_once() -> None:
    class Explodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor([[1e200]], dtype=torch.float64))

        def explicit(self) -> LFR:
            one = torch.ones(1, 1, dtype=torch.float64)
            return LFR(A=self.a, B2=one, C2=one, D22=one)

    data: Data = records_of(random_lti(1, 1, 1, 0), [60], 0)
    with pytest.raises(NotConverged, match="not finite"):
        train(Explodes(), training_streams(data, [60], 1, 60), None, torch.zeros(1, 1).double(), Schedule(steps=3))
