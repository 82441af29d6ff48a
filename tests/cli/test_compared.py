"""Models without a guarantee on the command line: fitted, tested and reported like the others, and loud about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import eqnets as eq
from eqnets.cli import main

DT = 0.05
LOUD = "No guarantee was asked for; nothing is certified of this model, not even stability."


def words(measured: Path, folder: Path, *more: object) -> list[str]:
    data = ["fit", measured / "train1.csv", "--u", "torque", "--y", "angle", "--dt", DT, "--steps", 2, "-o", folder]
    return [str(word) for word in (*data, *more)]


@pytest.fixture(scope="module")
def uncertified(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders by name, written by `eqnets fit`."""
    root = tmp_path_factory.mktemp("uncertified")
    options = {"gru": ["--nv", 2], "ren": ["--guarantee", "none", "--nx", 1, "--nv", 2]}
    for model, more in options.items():
        with pytest.raises(SystemExit) as exit_info:
            main(words(measured, root / model, "--model", model, *more))
        assert exit_info.value.code == 0
    return {model: root / model for model in options}


@pytest.mark.parametrize("model", ["gru", "ren"])
def test_fit_says_that_nothing_is_certified(eqnets, uncertified: dict[str, Path], model: str, measured: Path) -> None:
    folder = uncertified[model]
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "model.json", "report.html", "history.csv"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert LOUD in page and "No certificate" in page and "No proved rate" in page
    again = eqnets(*words(measured, folder, "--model", model, "--guarantee", "none", "--nv", 2, "--force"))
    assert again.code == 0 and again.out.count(LOUD) == 1 and "certificate.json" not in again.out


@pytest.mark.parametrize("model", ["gru", "ren"])
def test_test_and_report_work_on_it(eqnets, uncertified: dict[str, Path], model: str, measured: Path) -> None:
    outcome = eqnets("test", uncertified[model], measured / "train2.csv", "--n-init", 20)
    assert outcome.code == 0 and "linear model" in outcome.out, outcome.err
    outcome = eqnets("report", uncertified[model], measured / "train2.csv", "--force")
    assert outcome.code == 0, outcome.err
    page = (uncertified[model] / "report.html").read_text(encoding="utf-8")
    assert LOUD in page and "An unconstrained" in page and "Frequency response" in page


def test_certify_and_verify_answer_in_one_sentence(eqnets, uncertified: dict[str, Path], tmp_path: Path) -> None:
    for model in ("gru", "ren"):
        folder = uncertified[model]
        eqnets("verify", folder / "certificate.json", folder).refused("nothing is certified")
    eqnets("certify", uncertified["ren"]).refused("nothing to certify", "--guarantee contracting")
    eqnets("certify", uncertified["gru"]).refused("no LFR")
    eqnets("certify", uncertified["gru"], "--guarantee", "contracting").refused("no LFR")
    outcome = eqnets("certify", uncertified["ren"], "--guarantee", "well-posed", "-o", tmp_path / "c.json")
    assert outcome.code == 0, outcome.err  # its matrices alone prove that
    assert eqnets("verify", tmp_path / "c.json", uncertified["ren"]).code == 0


def test_a_model_takes_its_own_options(eqnets, measured: Path, tmp_path: Path) -> None:
    new = tmp_path / "m"
    eqnets(*words(measured, new, "--model", "gru", "--guarantee", "contracting")).refused("none")
    eqnets(*words(measured, new, "--model", "lstm", "--nx", 2)).refused("hidden units")
    eqnets(*words(measured, new, "--model", "linear", "--nv", 2)).refused("no neurons")
    eqnets(*words(measured, new, "--model", "mamba")).refused("neural_ode")
    eqnets(*words(measured, new, "--guarantee", "none", "--u-scale", "1")).refused("lipschitz:GAMMA")
    assert not new.exists()


def test_the_linear_start_is_certified(eqnets, measured: Path, tmp_path: Path) -> None:
    outcome = eqnets(*words(measured, tmp_path / "m", "--model", "linear", "--nx", 2))
    assert outcome.code == 0 and LOUD not in outcome.out, outcome.err
    fit = eq.load(tmp_path / "m")
    assert fit.lfr.nv == 0 and fit.certificate is not None
    meta = json.loads((tmp_path / "m" / "model.json").read_text(encoding="utf-8"))
    assert meta["settings"]["model"] == "linear" and meta["guarantee"]["kind"] == "contracting"
