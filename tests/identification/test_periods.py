"""Noise from repeated periods, and drift: found where they were put in, and not where they were not."""

from __future__ import annotations

import os

import numpy as np
import pytest

from eqnets.identification.data import Data
from eqnets.identification.drift import drifts
from eqnets.identification.periods import noise_levels, period_of
from eqnets.identification.readers import read
from eqnets.identification.record import Record


def filtered(u: np.ndarray, pole: float = 0.8) -> np.ndarray:
    y = np.zeros_like(u)
    for t in range(1, len(u)):
        y[t] = pole * y[t - 1] + u[t - 1] + 0.2 * np.tanh(u[t - 1])
    return y


def multisine(period: int, count: int, seed: int, extra: int = 0) -> np.ndarray:
    u = np.random.default_rng(seed).standard_normal(period)
    return np.resize(u, period * count + extra)


@pytest.mark.parametrize(("period", "count", "extra"), [(100, 2, 0), (257, 5, 40), (1024, 9, 0)])
def test_the_period_is_found(period: int, count: int, extra: int) -> None:
    u = multisine(period, count, 0, extra)
    rng = np.random.default_rng(1)
    assert period_of(u[:, None]) == period
    assert period_of((u + 0.02 * rng.standard_normal(len(u)))[:, None]) == period  # a measured input
    assert period_of(np.stack([u, rng.standard_normal(len(u))], 1)) is None  # the other input does not repeat
    assert period_of(np.cumsum(rng.standard_normal(len(u)))[:, None]) is None


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.4])
def test_the_noise_is_what_was_added(noise: float) -> None:
    records = []
    rng = np.random.default_rng(3)
    for k in range(2):
        u = multisine(500, 8, k)
        y = filtered(u)
        records.append(Record(u[:, None], (y + noise * rng.standard_normal(len(y)))[:, None], f"r{k}"))
    (found,) = noise_levels(Data(tuple(records), 0.01))
    assert found.std == pytest.approx(noise, rel=0.05, abs=1e-9)
    assert (found.records, found.period, found.count) == (2, 500, 8)
    if noise:
        clean = np.var(np.concatenate([filtered(multisine(500, 8, k)) for k in range(2)]))
        assert found.snr_db == pytest.approx(10 * np.log10(clean / noise**2), abs=0.5)
    assert (
        noise_levels(Data((Record(np.random.default_rng(0).standard_normal((900, 1)), np.ones((900, 1)), "r"),), 1.0))
        == ()
    )  # noqa: E501


@pytest.mark.parametrize("seed", range(5))
def test_drift_is_told_from_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(3000)
    y, ramp = filtered(u), np.linspace(-1, 1, 3000)
    assert drifts(Data((Record(u[:, None], y[:, None], "r"),), 1.0)) == ()
    (found,) = drifts(Data((Record(u[:, None], (y + 2 * ramp)[:, None], "r"),), 1.0))
    assert found.change == pytest.approx(4, rel=0.2) and 0.02 < found.share < 1
    assert drifts(Data((Record((u + ramp)[:, None], filtered(u + ramp)[:, None], "r"),), 1.0)) == ()  # its input has it


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("EQNETS_DATA"), reason="EQNETS_DATA is not set")
def test_the_periods_of_f16_are_those_of_its_authors() -> None:
    file = os.path.join(os.environ["EQNETS_DATA"], "f16", "F16Data_FullMSine_Level1.mat")
    (found, *_) = noise_levels(read(file, u=["Force"], y=["Acceleration[0]"]))
    assert (found.period, found.count) == (8192, 9) and 0 < found.share < 0.02
