"""Data is checked once, immutable, and cut without losing or moving a sample."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.normaliser import Normaliser
from eqnets.identification.record import Record, Source


def make(lengths=(50, 31), nu=2, ny=3, seed=0, **changes) -> Data:
    rng = np.random.default_rng(seed)
    records = tuple(Record(rng.random((n, nu)), rng.random((n, ny)), f"run{i}") for i, n in enumerate(lengths))
    return Data(records, 0.1, **changes)


def test_records_are_copies_that_nobody_can_change():
    u, y = np.random.default_rng(0).random((2, 20, 1))
    record = Record(u, y.astype(np.float32), "a")
    u[0] = 99
    assert record.u[0, 0] != 99 and record.y.dtype == np.float64 and record.y.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        record.u[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = "b"
    assert all(not r.u.flags.writeable for part in make().split() for r in part.records)


def test_channels_get_default_names_and_unknown_units():
    data = make()
    assert (data.u_names, data.y_names) == (("u1", "u2"), ("y1", "y2", "y3"))
    assert (data.u_units, data.y_units) == (("", ""), ("", "", ""))
    assert (data.nu, data.ny, data.lengths, data.n_samples) == (2, 3, (50, 31), 81)
    assert data.duration == pytest.approx(8.1)


@pytest.mark.parametrize("val", [0.2, 0.5, 0.1])
def test_split_takes_the_tail_of_every_record(val):
    data = make()
    train, tail = data.split(val)
    for whole, a, b in zip(data.records, train.records, tail.records, strict=True):
        np.testing.assert_array_equal(np.concatenate([a.u, b.u]), whole.u)
        np.testing.assert_array_equal(np.concatenate([a.y, b.y]), whole.y)
        assert len(b) == round(val * len(whole))


def test_slice_head_channels_and_join_keep_the_samples():
    data = make(u_units=("N", "V"), y_names=("a", "b", "c"))
    first = data.records[0]
    cut = data.slice(3, -5)
    assert cut.lengths == (42, 23) and cut.records[0].name == "run0[3:45]"
    np.testing.assert_array_equal(cut.records[0].y, first.y[3:-5])
    assert data.head(40).lengths == (40, 31)
    narrow = data.channels(u=["u2"], y=["c", "a"])
    assert narrow.u_units == ("V",) and narrow.y_names == ("c", "a")
    np.testing.assert_array_equal(narrow.records[1].y, data.records[1].y[:, [2, 0]])
    joined = cut.join(data, [data, cut])
    assert joined.lengths == (42, 23, 50, 31, 50, 31, 42, 23)


def test_join_lists_a_source_once():
    source = Source("a.csv", "0" * 64)
    data = make(sources=(source,))
    assert data.join(data).sources == (source,)


def test_bad_data_gets_one_sentence():
    u, y = np.random.default_rng(0).random((2, 20, 1))
    bad = y.copy()
    bad[5] = np.inf
    wide = Record(np.ones((20, 2)), y)
    cases = [
        (lambda: Record(u, y[:10], "a"), "a: u has 20 samples and y has 10"),
        (lambda: Record(u[:1], y[:1], "a"), "a has 1 samples"),
        (lambda: Record(u, bad, "a"), "a: y is inf at sample 5"),
        (lambda: Record(u[:, 0], y, "a"), r"u has shape \(20,\)"),
        (lambda: Record(np.ones((2, 20)), y, "a"), "transpose"),
        (lambda: Record(u * 1j, y, "a"), "not an array of real numbers"),
        (lambda: Record([["x"]], y, "a"), "not an array of real numbers"),
        (lambda: Data((), 1.0), "at least one Record"),
        (lambda: Data((Record(u, y), wide), 1.0), r"different numbers of channels in u: \[1, 2\]"),
        (lambda: Data((Record(u, y),), 0.0), "sample time is 0.0"),
        (lambda: Data((Record(u, y),), 1.0, ("a", "b")), "2 entries for 1 channels"),
        (lambda: Data((Record(u, y),), 1.0, ("a",), ("a",)), "'a' is named twice"),
        (lambda: Data((Record(u, y),), 1.0, ("",), ("a",)), "name is empty"),
        (lambda: Data((Record(u[:, :0], y),), 1.0), "no channel in u"),
        (lambda: make().split(0), "between 0 and 1"),
        (lambda: make((4,)).split(0.2), "too few"),
        (lambda: make().slice(0, 40), "run1 has 31 samples; it cannot be cut at 40"),
        (lambda: make().slice(5, 6), "leaves 1 samples"),
        (lambda: make().head(1), "keep at least two"),
        (lambda: make().channels(y=["z"]), "no output 'z'; there is y1, y2, y3"),
        (lambda: make().join(make(u_units=("N", "N"))), "u_units"),
        (lambda: make().join(dataclasses.replace(make(), dt=0.2)), "sample times 0.1 s and 0.2 s"),
    ]
    for build, message in cases:
        with pytest.raises(DataError, match=message):
            build()


# ---- the normaliser --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1.0, 1e150])
def test_normalised_training_data_has_mean_zero_and_deviation_one(scale):
    rng = np.random.default_rng(4)
    records = tuple(Record(scale * (3 + rng.random((n, 2))), scale * rng.random((n, 1))) for n in (50, 80))
    data = Data(records, 1.0, u_units=("N", "N"))
    normaliser = Normaliser.learn(data)
    normal = normaliser.normalise(data)
    pooled = np.concatenate([r.u for r in normal.records])
    np.testing.assert_allclose(pooled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(pooled.std(axis=0), 1, rtol=1e-12)
    assert normal.u_units == ("", "")
    np.testing.assert_allclose(normaliser.physical_y(normal.records[1].y), records[1].y, rtol=1e-12)


def test_the_normaliser_applies_what_it_learned_and_nothing_else():
    normaliser = Normaliser.learn(make(seed=1))
    other = make(seed=2)
    expected = (other.records[0].u - normaliser.u_offset) / normaliser.u_scale
    np.testing.assert_array_equal(normaliser.normalise(other).records[0].u, expected)
    with pytest.raises(DataError, match="learned on"):
        normaliser.normalise(make(nu=1))
    with pytest.raises(DataError, match="'y1' is constant"):
        Normaliser.learn(Data((Record(np.arange(9.0)[:, None], np.ones((9, 1))),), 1.0))
    with pytest.raises(DataError, match="scales positive"):
        Normaliser(np.zeros(1), np.zeros(1), np.zeros(1), np.ones(1))
