"""`eqnets export`: every target of a fitted model, its figure of equality, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import eqnets as eq
from eqnets import interop

FILES = {
    "c": {"model.h", "model.c", "model_check.c"},
    "mat": {"model.mat", "model_step.m"},
    "control": {"model.py"},
    "onnx": {"model_step.onnx", "model_rollout.onnx"},
}


def needs(target: str) -> None:
    if target == "c" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler on this machine")
    if target in ("control", "onnx"):
        pytest.importorskip(target)


@pytest.mark.parametrize("target", FILES)
def test_a_fitted_model_is_exported_and_said_to_be_equal(eqnets, fitted: Path, tmp_path: Path, target) -> None:
    needs(target)
    words = ["export", fitted, "--to", target, "-o", tmp_path / "out"]
    outcome = eqnets(*words)
    assert outcome.code == 0, outcome.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES[target]
    shown = re.search(r"equal to the model to ([\d.e+-]+) of full scale on 100 stored samples", outcome.out)
    assert shown and float(shown[1]) <= 1e-12
    assert eq.load(fitted).certificate.sentence in outcome.out
    eqnets(*words).refused("already holds", "--force")
    assert eqnets(*words, "--force").code == 0


def test_the_default_folder_is_in_the_model_and_the_start_is_the_fits(eqnets, fitted: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "model"
    shutil.copytree(fitted, folder)
    assert eqnets("export", folder, "--to", "onnx", "--name", "pendulum", "--dtype", "float32").code == 0
    model = onnx.load(folder / "onnx" / "pendulum_step.onnx")
    facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    np.testing.assert_array_equal(facts["x0"], eq.load(fitted).prior.mean.numpy())
    assert facts["u_names"] == ["torque"] and facts["y_units"] == ["rad"]
    assert eqnets("test", folder, "--help").code == 0 and eq.load(folder).lfr.digest() == eq.load(fitted).lfr.digest()


def test_what_is_refused(eqnets, fitted: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "out"]
    eqnets("export", fitted, "--to", "fortran", *out).refused("fortran", "onnx, c, mat, control")
    eqnets("export", fitted, *out).refused("--to")
    eqnets("export", fitted, "--to", "mat", "--dtype", "float32", *out).refused("--dtype", "float64")
    eqnets("export", fitted, "--to", "c", "--dtype", "float16", *out).refused("float16")
    eqnets("export", fitted, "--to", "c", "--name", "a b", *out).refused("a b")
    eqnets("export", fitted, "--to", "mat", "--unchecked", *out).refused("--unchecked")
    eqnets("export", tmp_path / "none", "--to", "mat", *out).refused("not a model folder")
    assert not (tmp_path / "out").exists()


def test_no_compiler_is_said(eqnets, fitted: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    eqnets("export", fitted, "--to", "c", "-o", tmp_path / "out").refused("no C compiler", "--unchecked")
    outcome = eqnets("export", fitted, "--to", "c", "-o", tmp_path / "out", "--unchecked")
    assert outcome.code == 0 and "not compared with the model" in outcome.out


def test_a_missing_extra_is_one_sentence(eqnets, fitted: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "eqnets.interop.onnx", raising=False)
    monkeypatch.delitem(vars(interop), "to_onnx", raising=False)
    eqnets("export", fitted, "--to", "onnx", "-o", tmp_path / "out").refused("pip install 'eqnets[export]'")
