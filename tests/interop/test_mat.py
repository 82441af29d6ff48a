"""MATLAB: the file read back is the model, and its step, run by Octave where there is one, is simulate."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from tests.interop.systems import ACTIVATIONS, SIZES, certified, random_lfr, start

from eqnets.errors import EqnetsError, InputError
from eqnets.interop import mat, to_mat
from eqnets.system.lfr import BLOCKS, LFR

OCTAVE = shutil.which("octave")


@pytest.mark.parametrize("acyclic", [True, False])
def test_every_size_and_activation_is_equal_to_the_model(acyclic, tmp_path):
    for i, (sizes, activation) in enumerate(
        [*((sizes, "tanh") for sizes in SIZES), *(((2, 5, 1, 1), each) for each in ACTIVATIONS)]
    ):
        lfr = random_lfr(sizes, acyclic, activation)
        assert to_mat(lfr, tmp_path / str(i), x0=start(lfr)).agreement.error <= 1e-12


@pytest.mark.parametrize("acyclic", [True, False])
def test_the_file_read_back_is_the_model(acyclic, tmp_path):
    lfr, certificate = certified(acyclic)
    to_mat(lfr, tmp_path, certificate=certificate, x0=start(lfr))
    m = loadmat(tmp_path / "model.mat")
    blocks = {name: m[name].ravel() if name[0] == "b" else m[name] for name in BLOCKS}
    back = LFR(**blocks, activation=str(m["activation"][0]), dt=m["dt"][0, 0])
    assert back.digest() == lfr.digest() == m["sha256"][0]
    assert [str(cell[0]) for cell in m["u_names"][:, 0]] == list(lfr.u_names)
    assert [str(cell[0]) for cell in m["u_units"][:, 0]] == ["N", "m³/s"]
    assert [str(cell[0]) for cell in m["y_units"][:, 0]] == ["m"]
    np.testing.assert_array_equal(m["P"], certificate.witness.P.numpy())
    np.testing.assert_array_equal(m["Lambda"].ravel(), certificate.witness.Lambda.numpy())
    assert m["claim"][0] == certificate.sentence
    np.testing.assert_array_equal(m["x0"].ravel(), start(lfr).numpy())


@pytest.mark.skipif(OCTAVE is None, reason="no Octave on this machine")
@pytest.mark.parametrize("acyclic", [True, False])
def test_the_step_run_by_octave_is_the_model(acyclic, tmp_path):
    kinds = [name for name in ACTIVATIONS if "," not in name]
    lfr = random_lfr((2, len(kinds), 3, 4), acyclic, ",".join(kinds))
    to_mat(lfr, tmp_path, x0=start(lfr), u=3 * torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0)))
    (tmp_path / "run.m").write_text(
        "m = load('model.mat'); worst = 0;\n"
        "for b = 1:size(m.check_u, 3)\n"
        "  x = m.x0;\n"
        "  for k = 1:size(m.check_u, 1)\n"
        "    [y, x] = model_step(m, x, m.check_u(k, :, b)');\n"
        "    worst = max([worst; abs(y - m.check_y(k, :, b)')]);\n"
        "  end\n"
        "  worst = max([worst; abs(x - m.check_x_last(:, b))]);\n"
        "end\n"
        "printf('%.17g', worst);\n"
    )
    words = [OCTAVE, "--no-gui", "--norc", "--quiet", "run.m"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert float(result.stdout) <= 1e-12 * 30


def test_a_wrong_file_is_not_handed_out(tmp_path, monkeypatch):
    content = mat._content
    monkeypatch.setattr(mat, "_content", lambda subject: {**content(subject), "B2": 1.001 * content(subject)["B2"]})
    with pytest.raises(EqnetsError, match="differs from the model"):
        to_mat(random_lfr(), tmp_path / "mat")
    assert not (tmp_path / "mat").exists()


def test_nothing_is_overwritten_without_force(tmp_path):
    to_mat(random_lfr(), tmp_path)
    with pytest.raises(InputError, match=r"model\.mat, model_step\.m.*--force"):
        to_mat(random_lfr(), tmp_path)
    to_mat(random_lfr(), tmp_path, force=True)
