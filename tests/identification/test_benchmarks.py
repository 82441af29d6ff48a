"""The benchmark files, where they are: the official splits, and digests that refuse anything else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from eqnets.errors import DataError
from eqnets.identification.benchmarks import benchmark, info, names
from eqnets.identification.describe import describe

needs_data = pytest.mark.skipif(
    not os.environ.get("EQNETS_DATA"), reason="EQNETS_DATA is not set: the measured benchmark files are needed"
)
SPLITS = {
    "f16": ((73728,) * 4 + (108477,) * 4, (73728, 73728, 73728, 108477, 116736, 108477), 1 / 400, ("N",), ("m/s²",)),
    "wh2009": ((100_000,), (78_800,), 1 / 51200, ("V",), ("V",)),
    "silverbox": ((65_062,), (21_688, 40_475, 32_000), 2**14 / 1e7, ("V",), ("V",)),
    "cascaded_tanks": ((1024,), (1024,), 4.0, ("V",), ("V",)),
    "emps": ((24_841,), (24_841,), 1e-3, ("V",), ("m",)),
}


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("name", names())
def test_the_official_split(name):
    train, test = benchmark(name)
    lengths, tests, dt, u_units, y_units = SPLITS[name]
    assert train.lengths == lengths and tuple(d.lengths[0] for d in test) == tests
    assert train.dt == dt and (train.u_units, train.y_units) == (u_units, y_units)
    assert all(len(d.records) == 1 and d.u_names == train.u_names and d.y_names == train.y_names for d in test)
    known = info(name)
    assert len(test) == len(known.tests) and all(len(row.values) == len(test) for row in known.rows)
    assert any(row.linear for row in known.rows)
    pinned = set(known.sha256.values())
    assert {s.sha256 for d in (train, *test) for s in d.sources} == pinned
    assert all(np.isfinite(c.std) and c.std > 0 for c in describe(test[0]).channels)


@pytest.mark.data
@needs_data
def test_the_tank_that_overflows_is_seen_to_saturate():
    train, _ = benchmark("cascaded_tanks")
    level = describe(train).channels[1]
    assert level.saturated and level.maximum == 10.0


@pytest.mark.data
@needs_data
def test_another_file_is_refused(tmp_path):
    shutil.copytree(Path(os.environ["EQNETS_DATA"]) / "cascaded_tanks", tmp_path / "cascaded_tanks")
    path = tmp_path / "cascaded_tanks" / "dataBenchmark.mat"
    benchmark("cascaded_tanks", tmp_path)
    path.chmod(0o644)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="is not the benchmark's file: its sha256 differs"):
        benchmark("cascaded_tanks", tmp_path)


def test_a_missing_folder_or_name_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("EQNETS_DATA", raising=False)
    with pytest.raises(DataError, match="set the environment variable EQNETS_DATA"):
        benchmark("emps")
    with pytest.raises(DataError, match="there is no file .*DATA_EMPS.mat"):
        benchmark("emps", tmp_path)
    with pytest.raises(DataError, match="there is no benchmark 'tanks'; there is f16"):
        benchmark("tanks")
    monkeypatch.setenv("EQNETS_DATA", str(tmp_path))
    with pytest.raises(DataError, match="there is no file"):
        benchmark("wh2009")


def test_every_benchmark_pins_its_files_and_says_whom_to_cite():
    for name in names():
        known = info(name)
        assert known.sha256 and all(len(d) == 64 and set(d) <= set("0123456789abcdef") for d in known.sha256.values())
        assert known.citation and known.n_init in (20, 50)
