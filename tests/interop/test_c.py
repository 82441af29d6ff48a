"""C99: compiled without a warning, called from outside, and equal to the model; or refused in words."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.interop.systems import ACTIVATIONS, SIZES, certified, inputs, random_lfr, start

from eqnets.errors import EqnetsError, InputError
from eqnets.interop import c_text, to_c
from eqnets.system.elementwise import Nonlinearity
from eqnets.system.simulate import simulate

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine")


@pytest.fixture(autouse=True)
def no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every warning of the compiler is an error."""
    if COMPILER is not None:
        monkeypatch.setenv("CC", f"{COMPILER} -Werror -Wconversion")


@needs_compiler
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("acyclic", [True, False])
def test_every_size_is_equal_to_the_model(acyclic, dtype, tmp_path):
    for i, sizes in enumerate(SIZES):
        lfr = random_lfr(sizes, acyclic)
        export = to_c(lfr, tmp_path / str(i), x0=start(lfr), dtype=dtype)
        assert export.agreement.error <= (1e-12 if dtype == "float64" else 1e-5)
        assert [path.name for path in export.files] == ["model.h", "model.c", "model_check.c"]
        assert all(path.is_file() for path in export.files)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("acyclic", [True, False])
def test_every_activation_is_equal_to_the_model(acyclic, dtype, tmp_path):
    """Two neurons of each kind, seen far from zero on both sides."""
    kinds = [name for name in ACTIVATIONS if "," not in name]
    lfr = random_lfr((2, 2 * len(kinds), 1, 1), acyclic, ",".join(kinds + kinds))
    agreement = to_c(lfr, tmp_path, u=8 * inputs(lfr, 4, 50), dtype=dtype).agreement
    assert agreement.samples == 200 and agreement.error <= (1e-12 if dtype == "float64" else 1e-5)


@needs_compiler
@pytest.mark.parametrize("activation", ["relu", "gelu", "leaky_relu(0.1)", "softshrink(0.25)"])
def test_one_activation_for_all_neurons(activation, tmp_path):
    assert to_c(random_lfr(activation=activation), tmp_path).agreement.error <= 1e-12


@needs_compiler
@pytest.mark.parametrize("acyclic", [True, False])
def test_a_program_that_calls_the_step_gets_what_simulate_gives(acyclic, tmp_path):
    """As a caller would: without the exported check, two states at once, each of its own."""
    lfr, certificate = certified(acyclic)
    x0, u = start(lfr), inputs(lfr, 2, 60)
    to_c(lfr, tmp_path, certificate=certificate, x0=x0, name="tank")
    shared = tmp_path / "tank.so"
    subprocess.run(
        [COMPILER, "-std=c99", "-O2", "-shared", "-fPIC", tmp_path / "tank.c", "-o", shared, "-lm"], check=True
    )
    library = ctypes.CDLL(str(shared))
    vector = ctypes.POINTER(ctypes.c_double)
    states = np.zeros((2, lfr.nx))
    for state in states:
        library.tank_init(state.ctypes.data_as(vector))
    found = np.zeros((2, 60, lfr.ny))
    rows = u.numpy().copy()
    for t in range(60):
        for b in range(2):
            pointers = [part.ctypes.data_as(vector) for part in (states[b], rows[b, t], found[b, t])]
            library.tank_step(*pointers)
    y, last = simulate(lfr, u, x0, method="reference")
    np.testing.assert_allclose(found, y.numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(states, last.numpy(), rtol=0, atol=1e-12)


@needs_compiler
def test_the_text_says_what_it_is_and_holds_every_bit(tmp_path):
    lfr, certificate = certified(acyclic=False)
    to_c(lfr, tmp_path, certificate=certificate, x0=start(lfr))
    header, source = (tmp_path / "model.h").read_text(), (tmp_path / "model.c").read_text()
    for words in (
        certificate.sentence,
        lfr.digest(),
        "u[0] force [N]",
        "y[0] level * / [m]",
        "0.05 s",
        "Peaceman-Rachford",
    ):
        assert words in header, words
    assert header.count("*/") == header.count("/*")
    numbers = re.search(r"double A\[9\] = \{([^}]*)\}", source)[1]
    assert [float(number) for number in numbers.split(",")] == lfr.A.flatten().tolist()
    assert re.findall(r"^static (?!const)(?!void add|double phi).*", source, re.MULTILINE) == []  # no state of its own
    assert set(re.findall(r"#include (\S+)", source)) == {'"model.h"', "<math.h>"}


@needs_compiler
def test_a_wrong_export_is_not_handed_out(tmp_path, monkeypatch):
    lfr = random_lfr()
    monkeypatch.setattr(c_text, "in_c", lambda name, dtype: "v")
    with pytest.raises(EqnetsError, match="differs from the model"):
        to_c(lfr, tmp_path / "c")
    assert not (tmp_path / "c").exists()


@needs_compiler
def test_the_check_on_the_target_fails_where_the_code_is_changed(tmp_path):
    to_c(random_lfr(), tmp_path)
    source = tmp_path / "model.c"
    build = [COMPILER, "-std=c99", source, tmp_path / "model_check.c", "-o", tmp_path / "check", "-lm"]
    codes = []
    for text in (source.read_text(), source.read_text().replace("tanh(v)", "v")):
        source.write_text(text)
        subprocess.run(build, check=True)
        codes.append(subprocess.run([tmp_path / "check"], capture_output=True, check=False).returncode)
    assert codes == [0, 1]


@needs_compiler
def test_nothing_is_overwritten_without_force(tmp_path):
    to_c(random_lfr(), tmp_path)
    before = (tmp_path / "model.c").read_text()
    with pytest.raises(InputError, match=r"model\.h, model\.c.*--force"):
        to_c(random_lfr(seed=1), tmp_path)
    assert (tmp_path / "model.c").read_text() == before
    to_c(random_lfr(seed=1), tmp_path, name="other")
    to_c(random_lfr(seed=1), tmp_path, force=True)
    assert (tmp_path / "model.c").read_text() != before
    assert not list(tmp_path.glob("*.part"))


def test_without_a_compiler_it_is_refused_or_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InputError, match="--unchecked"):
        to_c(random_lfr(), tmp_path / "c")
    export = to_c(random_lfr(), tmp_path / "c", unchecked=True)
    assert export.agreement.error is None and "not compared" in export.agreement.sentence
    assert (tmp_path / "c" / "model_check.c").is_file()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(EqnetsError, match="no-such-compiler"):
        to_c(random_lfr(), tmp_path / "d")


SQUARE = Nonlinearity("my_own", torch.tanh, lambda v: 1 - torch.tanh(v) ** 2, (0.0, 1.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lfr": random_lfr().A}, "model.explicit"),
        ({"lfr": random_lfr(dt=None)}, "discretise"),
        ({"lfr": random_lfr(activation=SQUARE)}, "my_own"),
        ({"lfr": random_lfr().replace(bx=torch.full((2,), float("nan"), dtype=torch.float64))}, "not finite"),
        ({"certificate": certified(True)[1]}, "another LFR"),
        ({"name": "2fast"}, "short name"),
        ({"name": "while"}, "short name"),
        ({"dtype": "float16"}, "float64, float32"),
        ({"x0": torch.zeros(3)}, r"x0 must be \(2,\)"),
        ({"u": torch.zeros(5, 2)}, r"\(time, 3\)"),
        ({"u": torch.zeros(0, 3)}, "check inputs"),
        ({"lfr": random_lfr().replace(A=1e9 * torch.eye(2, dtype=torch.float64))}, "not finite"),
    ],
)
def test_bad_input_is_one_worded_error(change, words, tmp_path: Path):
    with pytest.raises(InputError, match=words):
        to_c(**{"lfr": random_lfr(), "folder": tmp_path / "c", **change})
    assert not (tmp_path / "c").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "c").write_text("")
    with pytest.raises(InputError, match="is a file"):
        to_c(random_lfr(), tmp_path / "c")
