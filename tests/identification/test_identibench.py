"""identibench's own runner, on local files of its format."""

from __future__ import annotations

import numpy as np
import pytest

import eqnets as eq
from eqnets.errors import InputError
from eqnets.identification.identibench import build_model

idb = pytest.importorskip("identibench", reason="identibench is not installed (pip install identibench)")
h5py = pytest.importorskip("h5py")


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """A first order lag with a soft saturation, two estimation records and two tests, in identibench's layout."""
    monkeypatch.setenv("IDENTIBENCH_DATA_ROOT", str(tmp_path))
    generator = np.random.default_rng(0)
    for part, count in (("train_valid", 2), ("train", 1), ("test", 2)):
        (tmp_path / "lag" / part).mkdir(parents=True)
        for k in range(count):
            u = np.repeat(generator.normal(size=60), 10)
            x, y = 0.0, np.empty_like(u)
            for t in range(len(u)):
                y[t] = np.tanh(x)
                x = 0.9 * x + 0.2 * u[t]
            with h5py.File(tmp_path / "lag" / part / f"{k}.hdf5", "w") as file:
                file["u0"], file["y0"] = u.astype("f4"), y.astype("f4")
                file.attrs["fs"] = 50.0
    data = idb.Dataset("lag", prepare=None)
    return idb.BenchmarkSpec(
        name="lag", u_cols=["u0"], y_cols=["y0"], train=[(data, "train/*.hdf5")], valid=[],
        train_valid=[(data, "train_valid/*.hdf5")], test_sets={"test": [(data, "test/*.hdf5")]},
        task=idb.Simulation(metric=idb.metrics.rmse, init_window=20),
    )  # fmt: skip


def test_its_runner_scores_a_certified_model(spec):
    kept = []

    def build(context):
        kept.append(build_model(context))
        return kept[0]

    options = {"guarantee": eq.Contracting(), "nx": 1, "nv": 6, "steps": 500, "restarts": 1}
    result = idb.run_benchmark(spec, build, options, seed=3)
    fit = kept[0].fit
    assert fit.settings["seed"] == 3 and len(fit.data_info["sources"]) == 2 and fit.lfr.dt == pytest.approx(0.02)
    assert fit.certificate is not None and fit.certificate.claim == eq.Contracting(fit.certificate.claim.rate)
    assert result["metric_score"] < 0.1  # the output's spread is 0.5
    linear = idb.run_benchmark(spec, build_model, options | {"model": "linear", "nv": None}, seed=3)
    assert result["metric_score"] < linear["metric_score"]


def test_what_the_benchmark_sets_is_not_a_hyperparameter(spec):
    with pytest.raises(InputError, match="seed cannot be a hyperparameter"):
        idb.run_benchmark(spec, build_model, {"seed": 1}, seed=0)
