"""Scores equal their definitions at every scale, leave n_init out, and fail in words."""

from __future__ import annotations

import numpy as np
import pytest

from eqnets.errors import DataError, InputError
from eqnets.identification.data import Data
from eqnets.identification.metrics import fit_percent, nrmse, rmse, score, vaf
from eqnets.identification.record import Record

SCALES = [1e-200, 1e-9, 1.0, 1e6, 1e200]


def signals(n=400, ny=2, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n, ny)) + [5.0, -1.0][:ny]
    return y, y + 0.3 * rng.standard_normal((n, ny)) + 0.1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("n_init", [0, 50])
def test_metrics_equal_their_definitions_at_every_scale(scale, n_init):
    y, y_hat = signals()
    y_, e = y[n_init:], (y - y_hat)[n_init:]
    norm = np.linalg.norm
    np.testing.assert_allclose(rmse(scale * y, scale * y_hat, n_init) / scale, np.sqrt((e**2).mean(0)), rtol=1e-9)
    np.testing.assert_allclose(nrmse(scale * y, scale * y_hat, n_init), np.sqrt((e**2).mean(0)) / y_.std(0), rtol=1e-9)
    expected = 100 * (1 - norm(e, axis=0) / norm(y_ - y_.mean(0), axis=0))
    np.testing.assert_allclose(fit_percent(scale * y, scale * y_hat, n_init), expected, rtol=1e-9)
    np.testing.assert_allclose(vaf(scale * y, scale * y_hat, n_init), 100 * (1 - e.var(0) / y_.var(0)), rtol=1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_known_answers(scale):
    y = scale * signals()[0]
    np.testing.assert_array_equal(fit_percent(y, y), [100, 100])
    np.testing.assert_allclose(fit_percent(y, np.ones_like(y) * y.mean(0)), [0, 0], atol=1e-9)
    centred = y - y.mean(0)
    np.testing.assert_allclose(fit_percent(centred, -centred), [-100, -100])
    np.testing.assert_allclose(vaf(centred, -centred), [-300, -300])
    np.testing.assert_allclose(vaf(y, y + 2 * scale), [100, 100])  # VAF forgives an offset, fit does not
    assert (fit_percent(y, y + 2 * scale) < 0).all()


def test_a_diverged_simulation_has_an_infinite_error():
    y, y_hat = signals()
    for value in (np.nan, np.inf, -np.inf):
        y_hat[300, 1] = value
        assert np.isfinite(rmse(y, y_hat)[0]) and rmse(y, y_hat)[1] == np.inf
        assert fit_percent(y, y_hat)[1] == -np.inf and vaf(y, y_hat)[1] == -np.inf
    assert rmse(y, y_hat, 301)[1] < 1


def test_a_score_pools_records_by_their_samples():
    parts = [signals(n, seed=n) for n in (100, 300)]
    data = Data(
        tuple(Record(np.ones((len(y), 1)), y, f"r{i}") for i, (y, _) in enumerate(parts)), 1.0, y_units=("V", "m")
    )
    result = score(data, [y_hat for _, y_hat in parts], n_init=20)
    assert (result.n_samples, result.n_init, result.y_units) == (360, 20, ("V", "m"))
    y = np.concatenate([y[20:] for y, _ in parts])
    y_hat = np.concatenate([y_hat[20:] for _, y_hat in parts])
    np.testing.assert_allclose(result.rmse, rmse(y, y_hat))
    np.testing.assert_allclose(result.fit_percent, fit_percent(y, y_hat))
    for row, (y, y_hat) in zip(result.records, parts, strict=True):
        np.testing.assert_allclose(row.rmse, rmse(y, y_hat, 20))
        np.testing.assert_allclose(row.vaf, vaf(y, y_hat, 20))
    assert [row.name for row in result.records] == ["r0", "r1"] and result.records[0].n_samples == 80


def test_a_constant_measurement_is_named():
    y, y_hat = signals(100)
    y[:, 1] = 3e-7
    for metric in (nrmse, fit_percent, vaf):
        with pytest.raises(DataError, match="'channel 1' is constant in the scored samples"):
            metric(y, y_hat)
    assert np.isfinite(rmse(y, y_hat)).all()
    u = np.arange(100.0)[:, None]
    resting = Data((Record(u, y),), 1.0, y_names=("a", "b"))
    with pytest.raises(DataError, match="'b' is constant"):
        score(resting, [y_hat])
    moving = Data((Record(u, y), Record(u, signals(100)[0])), 1.0)
    rows = score(moving, [y_hat, y_hat]).records
    assert np.isnan(rows[0].fit_percent[1]) and np.isfinite(rows[0].rmse[1]) and np.isfinite(rows[1].fit_percent).all()


def test_bad_arguments_are_named():
    y, y_hat = signals(60)
    data = Data((Record(np.ones((60, 1)), y, "run"),), 1.0)
    cases = [
        (lambda: score(data, []), "0 simulations for 1 records"),
        (lambda: score(data, [y_hat[:50]]), r"run: measured \(60, 2\) and simulated \(50, 2\)"),
        (lambda: score(data, [y_hat], n_init=59), "run has 60 samples, and n_init=59 leaves 1"),
        (lambda: score(data, [y_hat], n_init=-1), "n_init is -1"),
        (lambda: score(data, [y_hat], n_init=1.5), "n_init is 1.5"),
        (lambda: rmse(y[:, 0], y_hat), "differ"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
