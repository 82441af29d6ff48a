"""The second-order finish: it descends, validation decides, and it resumes to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.identification.conftest import random_lti, records_of

from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.finish import ITERATIONS, _Finish, finish
from eqnets.identification.schedule import Schedule, Training
from eqnets.identification.simulation_error import validation_rmse
from eqnets.identification.streams import Streams, training_streams, validation_streams
from eqnets.identification.train import train
from eqnets.models import ContractingREN

ENDS = [160, 120]


def setting(most: int = 1, seed: int = 0) -> tuple[ContractingREN, Streams, Streams, torch.Tensor]:
    """Whole records (`most` = 1) or streams that continue each other."""
    data = records_of(random_lti(2, 1, 1, seed), [200, 150], seed, noise=0.02)
    model = ContractingREN(1, 2, 3, 1, activation="tanh", generator=torch.Generator().manual_seed(seed)).double()
    return (
        model,
        training_streams(data, ENDS, most, 20),
        validation_streams(data, ENDS, 50, 100),
        torch.zeros(2, 2).double(),
    )  # noqa: E501


def killer(at: int) -> Any:
    def progress(event: dict[str, Any]) -> None:
        if event["step"] == at:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("at", [5, 10, 30, 50])
@pytest.mark.parametrize("most", [1, 8])
def test_interrupted_and_resumed_is_the_same_to_the_bit(tmp_path: Path, most: int, at: int) -> None:
    schedule = Schedule(steps=10, finish=5, segment=40, learning_rate=1e-2, dtype=torch.float32)
    model, streams, check, x0 = setting(most)
    whole = train(model, streams, check, x0, schedule)
    expected = {name: value.clone() for name, value in model.state_dict().items()}

    model, streams, check, x0 = setting(most)
    with pytest.raises(KeyboardInterrupt):
        train(model, streams, check, x0, schedule, killer(at), Checkpoint(tmp_path, {}))
    model, streams, check, x0 = setting(most)
    resumed = train(model, streams, check, x0, schedule, keeper=Checkpoint(tmp_path, {}, resume=True))
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert torch.equal(resumed.x0, whole.x0) and resumed.best_block == whole.best_block
    assert [row["val_rmse"] for row in resumed.history] == [row["val_rmse"] for row in whole.history]


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_it_goes_on_where_first_order_training_stops(seed: int, most: int) -> None:
    model, streams, check, x0 = setting(most, seed)
    first = train(model, streams, check, x0, Schedule(steps=40, segment=40, learning_rate=1e-2))
    before = validation_rmse(model.explicit().detach(), check, first.x0)
    done = finish(model, streams, check, first, Schedule(steps=40, finish=10))
    after = validation_rmse(model.explicit().detach(), check, done.x0)
    blocks = done.history[len(first.history) :]
    assert after == min([before, *(row["val_rmse"] for row in blocks)]) < before
    assert blocks[-1]["train_rmse"] < 0.9 * first.history[-1]["train_rmse"]


@pytest.mark.parametrize("most", [1, 8])
def test_initial_states_are_settled_first(most: int) -> None:
    """A model that is right, but starts wrong: its error is gone before a block is made."""
    data = records_of(random_lti(2, 1, 1, 0), [200, 150], 0)
    model = ContractingREN.from_linear(random_lti(2, 1, 1, 0), 2)
    streams = training_streams(data, ENDS, most, 20)
    wrong = Training(torch.full((2, 2), 3.0, dtype=torch.float64), history=[])
    done = finish(model, streams, validation_streams(data, ENDS, 50, 100), wrong, Schedule(0, finish=1))
    assert done.history[0]["train_rmse"] < 1e-3  # 0.9^105 is what 105 samples forget


def test_where_validation_gets_worse_the_first_order_model_is_kept() -> None:
    model, streams, check, x0 = setting()
    first = train(model, streams, check, x0, Schedule(steps=60, segment=40, learning_rate=1e-2))
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    other = Streams(check.u, -check.y, check.weight, check.record, check.before, check.warm)
    done = finish(model, streams, other, first, Schedule(steps=60, finish=2))
    assert done.best_block == 0
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("most", [1, 8])
def test_the_gradient_is_that_of_the_error(most: int) -> None:
    model, streams, _, x0 = setting(most, 3)
    run = _Finish(model, streams, None, Training(x0), Schedule(0, finish=1), None, None)
    x = run.descent.x + 0.01 * torch.randn(len(run.descent.x), generator=torch.Generator().manual_seed(0)).double()
    direction = torch.randn(len(x), generator=torch.Generator().manual_seed(1)).double()
    slope = float(run.error(x)[1] @ direction)
    h = 1e-6
    difference = (run.error(x + h * direction)[0] - run.error(x - h * direction)[0]) / (2 * h)
    assert slope == pytest.approx(difference, rel=1e-5)


def test_without_validation_the_last_block_is_kept() -> None:
    """As the refit of the chosen start needs it: the same numbers of steps, on more samples."""
    model, streams, _, x0 = setting()
    done = train(model, streams, None, x0, Schedule(steps=20, stop=12, finish=3, segment=40))
    assert done.steps == 12 and done.best_block == 3 and done.history[-1]["step"] == 12 + 3 * ITERATIONS
