from __future__ import annotations

import numpy as np
import pytest

from eqnets.reporting.thin import MOST_POINTS, cap, envelope_index, trace


@pytest.mark.parametrize("length", [1, 7, 999, 1000, 1001, 1003, 12_345, 100_003])
def test_no_peak_is_lost(length: int) -> None:
    y = np.random.default_rng(length).standard_normal(length)
    index = envelope_index(y, 1000)
    assert len(index) <= 1000
    assert (np.diff(index) > 0).all()
    assert index[0] == 0 and index[-1] == length - 1
    assert y[index].max() == y.max() and y[index].min() == y.min()
    if length <= 1000:
        assert len(index) == length


def test_every_stretch_keeps_its_extremes() -> None:
    y = np.zeros(50_000)
    spikes = np.arange(300, 49_000, 1500)
    y[spikes] = 1.0
    y[spikes + 700] = -1.0
    index = envelope_index(y, 1000)
    assert set(spikes) <= set(index) and set(spikes + 700) <= set(index)


def test_a_gap_does_not_hide_its_neighbours() -> None:
    y = np.zeros(10_000)
    y[5000:5100] = np.nan
    y[5105] = 3.0
    assert 5105 in envelope_index(y, 500)


def test_a_short_signal_is_drawn_sample_by_sample() -> None:
    drawn = trace(np.arange(5.0), 0.25)
    assert (drawn["x0"], drawn["dx"]) == (0.0, 0.25)
    assert drawn["y"].dtype == np.float32


def test_precision_that_can_be_seen_is_kept() -> None:
    small_on_large = 1e6 + 1e-3 * np.arange(5.0)
    assert trace(small_on_large, 1.0)["y"].dtype == np.float64
    late = trace(np.random.default_rng(0).standard_normal(3_000_000), 1e-3, 1000)
    assert late["x"].dtype == np.float64
    assert late["x"][-1] == pytest.approx(2999.999)


def test_the_cap_keeps_to_the_budget() -> None:
    assert cap([5000] * 4, 10**6) == MOST_POINTS
    points = cap([100_000] * 20, 10**6)
    assert 1000 <= points < MOST_POINTS
    assert 20 * points * 8 * 4 / 3 <= 10**6
    assert cap([100_000] * 2000, 10**6) == 1000
