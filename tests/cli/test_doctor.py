"""`eqnets doctor` names versions, what runs, and what to do about what does not; nothing missing is an error."""

from __future__ import annotations

import tomllib
from pathlib import Path

import eqnets as eq
from eqnets.cli import doctor
from eqnets.system.kernels import build, fused


def test_it_names_versions_and_kernels(eqnets) -> None:
    outcome = eqnets("doctor")
    assert outcome.code == 0, outcome.err
    for words in (
        f"eqnets {eq.__version__}",
        "torch 2",
        "rollout in C, float32: ",
        "solver steps in C, float64: ",
        "dense splitting in C, float32: ",
        "parameters to system in C, float32: ",
        "rollout in numba: ",
        "GPU: ",
    ):
        assert words in outcome.out


def test_what_is_missing_comes_with_its_remedy(monkeypatch) -> None:
    monkeypatch.setattr(build, "library", lambda double: (None, "no C compiler was found; install gcc"))
    monkeypatch.setattr(fused, "loops", lambda: None)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("numba", "h5py") else "1.0")
    report = "\n".join(doctor.lines())
    assert "rollout in C, float64: no: no C compiler was found; install gcc." in report
    assert "extra fast: numba missing; run: pip install 'eqnets[fast]'" in report
    assert "h5py missing; run: pip install 'eqnets[identify]'" in report
    assert "rollout in numba: no; run: pip install 'eqnets[fast]'." in report
    assert "rollout in torch: yes" in report


def test_every_extra_that_a_user_may_lack_is_listed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    report = "\n".join(doctor.lines())
    for extra in set(project["optional-dependencies"]) - {"all", "test", "docs", "examples"}:
        assert f"extra {extra}: " in report, extra
