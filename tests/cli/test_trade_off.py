"""`eqnets trade-off`: a curve in one call, with its table, its page and its models; interrupted, it goes on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.cli.conftest import DT

import eqnets as eq
from eqnets.cli import progress

OPTIONS = ["--u", "torque", "--y", "angle", "--dt", DT, "--gamma", "2,0.5", "--gamma", "inf", "--nx", 2, "--nv", 3]
OPTIONS += ["--steps", 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("curve") / "c"


def test_the_curve_is_a_table_a_page_and_certified_models(eqnets, measured: Path, folder: Path) -> None:
    outcome = eqnets("trade-off", measured / "train1.csv", *OPTIONS, "--test", measured / "train2.csv", "-o", folder)
    assert outcome.code == 0, outcome.err
    assert "gain 0.5, REN: training …" in outcome.err and "gain inf, linear, trained: certificate …" in outcome.err
    assert "errors on test records" in outcome.out and "RMSE angle [rad]" in outcome.out
    table = json.loads((folder / "trade_off.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader((folder / "trade_off.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["gamma"] for row in table["rows"]] == [None] * 3 + [2.0] * 3 + [0.5] * 3 and len(rows) == 9
    for bound, claim in (("inf", eq.Contracting()), ("2", eq.Lipschitz(2.0)), ("0.5", eq.Lipschitz(0.5))):
        home = folder / f"gamma={bound}"
        assert eq.verify(home / "certificate.json", eq.load(home).lfr) == claim
    page = (folder / "trade_off.html").read_text(encoding="utf-8")
    assert "Accuracy against robustness" in page and "train1.csv" in page and "train2.csv" in page
    for row in table["rows"]:
        assert row["model"] in page
    assert not list(folder.glob("checkpoint*"))


def test_an_interrupted_curve_goes_on_to_the_same_models(
    eqnets, measured: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the second bound; what was trained before is not trained again."""
    trained: list[tuple[float, int]] = []

    class Interrupting(progress.Bar):
        def __call__(self, event: dict) -> None:
            if event["phase"] == "train":
                trained.append((event["gamma"], event["step"]))
                if event["gamma"] == 2.0 and event["step"] == 2:
                    raise KeyboardInterrupt

    class Counting(progress.Bar):
        def __call__(self, event: dict) -> None:
            if event["phase"] == "train":
                trained.append((event["gamma"], event["step"]))

    words = ["trade-off", measured / "train1.csv", *OPTIONS, "-o", tmp_path / "c"]
    with monkeypatch.context() as patch:
        patch.setattr(progress, "Bar", Interrupting)
        outcome = eqnets(*words)
    assert outcome.code == 130 and "--resume" in outcome.err
    trained.clear()
    eqnets(*words, "--seed", 1, "--resume").refused("seed")
    with monkeypatch.context() as patch:
        patch.setattr(progress, "Bar", Counting)
        assert eqnets(*words, "--resume").code == 0
    assert trained and all(gamma <= 2.0 for gamma, _ in trained)
    for bound in ("inf", "2", "0.5"):
        ours, theirs = (eq.load(home / f"gamma={bound}").lfr.digest() for home in (tmp_path / "c", folder))
        assert ours == theirs


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gamma", "big"], "positive numbers and inf"), (["--gamma", "2"], "different positive numbers"),
        (["--nv", "few"], "--nv takes a whole number"), (["--minutes", "1"], "give one"),
        (["--u-scale", "0"], "--u-scale A,B"), (["--resume"], "no interrupted curve"),
    ],
)  # fmt: skip
def test_bad_words_are_refused_before_anything_starts(
    words: list[str], said: str, eqnets, measured: Path, tmp_path: Path
) -> None:
    eqnets("trade-off", measured / "train1.csv", *OPTIONS, *words, "-o", tmp_path / "n").refused(said)
    assert not (tmp_path / "n").exists()
