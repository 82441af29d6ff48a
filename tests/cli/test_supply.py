"""Passive and dissipative models on the command line: fitted, certified in physical units, verified, loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest

import eqnets as eq
from eqnets.cli.common import claim

DT = 0.05


def test_fit_certify_verify(eqnets, measured: Path, tmp_path: Path) -> None:
    folder, promised = tmp_path / "model", eq.Passive(0.001, 0.002)
    data = [measured / "train1.csv", "--u", "torque", "--y", "angle", "--dt", DT]
    options = ["--steps", 1, "--nx", 1, "--nv", 2, "--guarantee", "passive:0.001,0.002"]
    outcome = eqnets("fit", *data, *options, "-o", folder)
    assert outcome.code == 0, outcome.err
    fit = eq.load(folder)
    assert fit.guarantee == promised and isinstance(fit.model, eq.DissipativeREN)
    assert fit.certificate.claim == promised and fit.model.explicit().digest() != fit.lfr.digest()
    assert eq.verify(folder / "certificate.json", fit.lfr) == promised
    assert eqnets("certify", folder).code == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "A passive model" in page


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("passive", eq.Passive()),
        ("passive:-0.5", eq.Passive(-0.5)),
        ("dissipative:-0.5,1,0.1", eq.Dissipative([[-0.5]], [[1.0]], [[0.1]])),
        ("dissipative:[[-1,0],[0,-2]],[[3,4]],5", eq.Dissipative([[-1, 0], [0, -2]], [[3, 4]], [[5]])),
    ],
)
def test_words_for_supplies(words: str, expected) -> None:
    assert claim(words) == expected
