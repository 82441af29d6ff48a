"""New data that leave the training range are named, with the share of the samples, and others are not."""

from __future__ import annotations

import numpy as np
import pytest

from eqnets.identification.data import Data
from eqnets.identification.extrapolation import outside
from eqnets.identification.provenance import describe_data
from eqnets.identification.record import Record


def data(u: np.ndarray, y: np.ndarray) -> Data:
    return Data((Record(u, y, "r"),), 0.1, ("force", "heat"), ("acc",), ("N", "W"), ("m/s²",))


@pytest.mark.parametrize("seed", range(3))
def test_each_channel_by_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, y = rng.uniform(-1, 1, (400, 2)), rng.uniform(2, 3, (400, 1))
    info = describe_data(data(u, y), [320], 0.2)
    assert outside(info, data(u, y)) == ()
    louder = u * [1.0, 1.5]
    (found,) = outside(info, data(louder, y))
    low, high = u[:, 1].min(), u[:, 1].max()
    assert (found.channel, found.role, found.unit) == ("heat", "input", "W")
    assert found.range == (low, high) and found.reached == (louder[:, 1].min(), louder[:, 1].max())
    assert found.share == np.mean((louder[:, 1] < low) | (louder[:, 1] > high))
    assert "heat leaves the range" in found.sentence and " W" in found.sentence
    assert [f.channel for f in outside(info, data(2 * u, y + 5))] == ["force", "heat", "acc"]


def test_a_model_from_before_ranges_were_stored_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    assert outside({"records": []}, data(rng.standard_normal((50, 2)), rng.standard_normal((50, 1)))) == ()
