"""The description finds what was put into simulated data."""

from __future__ import annotations

import numpy as np
import pytest

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.describe import describe
from eqnets.identification.record import Record


def make(u: np.ndarray, y: np.ndarray, dt: float = 0.01, parts: int = 1) -> Data:
    pairs = zip(np.array_split(u, parts), np.array_split(y, parts), strict=True)
    return Data(
        tuple(Record(a.reshape(len(a), -1), b.reshape(len(b), -1), f"r{i}") for i, (a, b) in enumerate(pairs)), dt
    )


def test_ranges_and_saturation():
    rng = np.random.default_rng(0)
    u = rng.standard_normal(2000)
    levels = np.sign(rng.standard_normal(2000))
    result = describe(make(np.stack([u, levels], axis=1), np.minimum(u, 1.0), parts=3))
    clipped, plain, two = result.channels[2], result.channels[0], result.channels[1]
    assert clipped.maximum == 1.0 and clipped.at_maximum == pytest.approx(np.mean(u >= 1.0)) and clipped.saturated
    assert not plain.saturated and plain.minimum == u.min() and plain.std == pytest.approx(u.std())
    assert two.at_maximum == pytest.approx(0.5, abs=0.05) and not two.saturated  # a two-level input is no saturation
    assert result.lengths == (667, 667, 666) and result.duration == pytest.approx(20.0)


def test_the_excitation_band_is_the_frequency_of_a_sine():
    t = np.arange(5000) * 0.01
    u = np.sin(2 * np.pi * 3 * t) + 0.3 * np.sin(2 * np.pi * 12 * t)
    band = [c.band for c in describe(make(u, u, parts=2)).channels]
    assert band[0] == pytest.approx(12, rel=0.02) and band[1] is None


@pytest.mark.parametrize("pole", [0.0, 0.9])
@pytest.mark.parametrize("delay", [0, 1, 23])
def test_a_delay_is_found_under_a_coloured_input(pole, delay):
    rng = np.random.default_rng(delay)
    u = np.zeros(4000)
    for t in range(1, 4000):
        u[t] = pole * u[t - 1] + rng.standard_normal()
    y = np.zeros(4000)
    for t in range(delay + 1, 4000):
        y[t] = 0.8 * y[t - 1] + u[t - delay]
    y += 0.2 * rng.standard_normal(4000)
    assert describe(make(u, y, parts=2)).delays[0].samples == delay
    assert describe(make(rng.standard_normal(4000), y)).delays[0].samples is None


def test_the_linear_share_is_the_share_of_the_noise():
    rng = np.random.default_rng(8)
    u = rng.standard_normal((20000, 2))
    linear = u[:, 0] + np.convolve(u[:, 1], [0.5, 0.3, -0.4], mode="same")
    for noise in (0.1, 1.0):
        y = linear + noise * linear.std() * rng.standard_normal(20000)
        share = describe(make(u, y)).linear[0]
        assert share.share == pytest.approx(1 / (1 + noise**2), abs=0.02)
        assert share.snr_db == pytest.approx(-20 * np.log10(noise), abs=0.7)
    assert describe(make(u[:200], y[:200])).linear[0].share is None  # too short to tell
    walk = np.cumsum(rng.standard_normal(20000))
    assert describe(make(u, walk)).linear[0].share is None  # too slow to tell


def test_what_is_neither_linear_nor_noise_is_the_cube():
    rng = np.random.default_rng(4)
    u = np.resize(rng.standard_normal(4000), 32000)
    linear = np.convolve(u, [0.5, 0.3, -0.4])[:32000]
    cube = linear**3 - 3 * linear.var() * linear  # uncorrelated with every linear function of a Gaussian input
    for nonlinear, noise in ((0.0, 0.3), (0.4, 0.3), (0.4, 0.0)):
        y = linear / linear.std() + nonlinear * cube / cube.std() + noise * rng.standard_normal(32000)
        found = describe(make(u, y))
        power = 1 + nonlinear**2 + noise**2
        assert found.noise[0].share == pytest.approx(noise**2 / power, abs=0.005)
        assert found.nonlinear_share(0) == pytest.approx(nonlinear**2 / power, abs=0.02)
    assert describe(make(u[:4000], y[:4000])).nonlinear_share(0) is None  # no period, no noise level


def test_one_sample_at_the_extreme_of_a_short_record_is_no_saturation():
    rng = np.random.default_rng(8)
    data = Data((Record(rng.standard_normal((40, 1)), rng.standard_normal((40, 1))),), 1.0)
    assert not any(channel.saturated for channel in describe(data).channels)


@pytest.mark.parametrize("scale", [1e-250, 1e-76, 1e76, 1e250])
def test_sizes_whose_squares_are_no_numbers_are_refused_and_those_below_are_not(scale):
    rng = np.random.default_rng(9)
    u, y = rng.standard_normal((60, 1)), rng.standard_normal((60, 1))
    with pytest.raises(DataError, match="'y1' (reaches|moves by) .*another unit"):
        describe(Data((Record(u, scale * y),), 1.0))
    kept = 1e70 if scale > 1 else 1e-70
    assert describe(Data((Record(u, kept * y),), 1.0)).channels[1].std == pytest.approx(kept * y.std())
