"""eqnets bench, on the measured files and quick fits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import eqnets as eq
from eqnets.identification.benchmarks import benchmark

needs_data = pytest.mark.skipif(
    not os.environ.get("EQNETS_DATA"), reason="EQNETS_DATA is not set: the measured benchmark files are needed"
)


@pytest.mark.data
@needs_data
def test_the_table_is_the_score_of_the_stored_models(eqnets, tmp_path: Path) -> None:
    outcome = eqnets("bench", "cascaded_tanks", "--steps", 3, "--seeds", 2, "-o", tmp_path / "b")
    assert outcome.code == 0, outcome.err
    assert "protocol not re-checked" in outcome.out and "range of 2 seeds" in outcome.out
    result = json.loads((tmp_path / "b" / "cascaded_tanks.json").read_text(encoding="utf-8"))
    _, (test,) = benchmark("cascaded_tanks")
    for seed, run in enumerate(result["models"][0]["runs"]):
        fit = eq.load(tmp_path / "b" / f"cascaded_tanks-ren-seed{seed}")  # verifies the certificate
        assert run["values"] == pytest.approx([fit.score(test, n_init=50).rmse[0]], rel=1e-6)
        assert run["linear"] == pytest.approx([fit.linear.score(test, n_init=50).rmse[0]], rel=1e-6)
    eqnets("bench", "cascaded_tanks", "-o", tmp_path / "b").refused("--force")


@pytest.mark.data
@needs_data
def test_an_integrator_is_modelled_by_its_rate_and_says_so(eqnets, tmp_path: Path) -> None:
    outcome = eqnets("bench", "emps", "--steps", 1, "-o", tmp_path / "b")
    assert outcome.code == 0, outcome.err
    assert "summed without a certificate" in outcome.out and "mm" in outcome.out


@pytest.mark.data
@needs_data
def test_what_the_promise_costs_stands_in_one_table(eqnets, tmp_path: Path) -> None:
    models = ["--model", "ren,gru", "--guarantee", "contracting,none"]
    outcome = eqnets("bench", "cascaded_tanks", *models, "--steps", 1, "-o", tmp_path / "b")
    assert outcome.code == 0, outcome.err
    rows = ["REN, Contracting", "REN, no guarantee", "GRU, no guarantee", "the linear start"]
    places = [outcome.out.index(row) for row in rows]
    assert places == sorted(places) and "nothing is certified of these models" in outcome.out
    result = json.loads((tmp_path / "b" / "cascaded_tanks.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in result["models"]] == ["ren", "ren", "gru"]
    assert [row["runs"][0]["certificate"] is None for row in result["models"]] == [False, True, True]
    assert eq.load(tmp_path / "b" / "cascaded_tanks-ren-none-seed0").certificate is None


def test_what_is_no_benchmark_is_refused(eqnets, tmp_path: Path) -> None:
    eqnets("bench", "f15", "-o", tmp_path / "b").refused("f15", "f16")
    eqnets("bench", "emps", "--guarantee", "well-posed", "-o", tmp_path / "b").refused("none")
    eqnets("bench", "emps", "--model", "svm", "-o", tmp_path / "b").refused("svm", "gru")
    eqnets("bench", "emps", "--data", tmp_path, "-o", tmp_path / "b").refused("DATA_EMPS.mat")
