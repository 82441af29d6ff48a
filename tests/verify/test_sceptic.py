"""Tricks that a sceptic tries on the checker: to be told what is false, to see it fall over, or to see it hang."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tests.verify.changed import change

import eqnets as eq
import eqnets_verify
from eqnets_verify.__main__ import main
from eqnets_verify.files import SHAPES, Block, digest


def _small(**labels) -> eq.LFR:
    blocks = {"A": [[0.5]], "B1": [[0.1]], "B2": [[1.0]], "C1": [[0.2]], "D11": [[0.1]], "D12": [[0.1]]}
    return eq.LFR(**blocks, C2=[[1.0]], D21=[[0.1]], D22=[[0.0]], **{"dt": 0.1, **labels})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    eq.certify(eq.Lipschitz(9.0), _small()).save(tmp_path / "a.cert.json")
    return tmp_path / "a.cert.json"


@pytest.mark.parametrize("words", [
    "u\nholds: the plant is safe", "\x1b[2K\x1b[1Aholds: ", "N), s_y = (y: 1). It is safe too (", "\u202esafe", "\0",
])  # fmt: skip
def test_what_the_author_of_a_model_calls_things_is_quoted(words: str, tmp_path: Path, capsys) -> None:
    for name in ("u_names", "y_names", "u_units", "y_units"):
        eq.certify(eq.Lipschitz(9.0), _small(**{name: (words,)})).save(tmp_path / "a.cert.json")
        assert main([str(tmp_path / "a.cert.json")]) == 0
        said = capsys.readouterr().out
        assert said.count("\n") == 2 and repr(words) in said and all(map(str.isprintable, said.splitlines()))


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("keys", [
    ("claim", "gamma"), ("claim", "u_scale"), ("rate",), ("dt",), ("P", 0, 0), ("Lambda", 0), ("proof", "P", "shift"),
    ("proof", "P", "bits"), ("proof", "P", "scale", 0), ("proof", "P", "L", 0, 0),
])  # fmt: skip
def test_what_is_no_number_is_rejected(saved: Path, keys, number: float) -> None:
    change(saved, *keys, to=[number] if keys[-1] == "u_scale" else number)
    with pytest.raises(eqnets_verify.Rejected, match="expected kind"):
        eqnets_verify.verify(saved)


@pytest.mark.parametrize("claim", [eq.WellPosed(), eq.Contracting(), eq.Lipschitz(9.0)])
@pytest.mark.parametrize("other", [{"activation": "gelu"}, {"dt": 0.2}, {"dt": None}])
def test_a_certificate_of_another_activation_or_sample_time_is_not_one_of_this_model(claim, other, tmp_path) -> None:
    """Both have the same blocks, and only what stands beside the weights tells them apart."""
    eq.certify(claim, _small()).save(tmp_path / "certificate.json")
    model = tmp_path / "model.safetensors"
    eq.certify(eq.WellPosed(), _small(**other)).save(tmp_path / "model.cert.json")
    with pytest.raises(eqnets_verify.Rejected, match="activation or dt"):
        eqnets_verify.verify(tmp_path / "certificate.json")
    save_file(load_file(model), model)  # now without a word about them: the sentence says what was taken
    assert "its activation being relu" in eqnets_verify.verify(tmp_path / "certificate.json").sentence
    said = {"activation": "relu", "dt": 0.1, **other}
    (tmp_path / "model.json").write_text(json.dumps({"lfr": said}), encoding="utf-8")
    with pytest.raises(eqnets_verify.Rejected, match="activation or dt"):
        eqnets_verify.verify(tmp_path / "certificate.json")


@pytest.mark.parametrize("keys, to", [
    (("weights", "file"), "a\0b"), (("weights", "file"), "\ud800"), (("weights", "file"), "a" * 5000),
    (("weights", "file"), "x\nholds: y"), (("activation",), "\ud800"), (("digest",), "x\nholds: y"),
    (("labels", "u_names"), ["\ud800"]), (("claim", "kind"), "a\nholds: x"), (("a\nholds: x",), 1), (("dt",), 1e308),
])  # fmt: skip
def test_a_name_that_nothing_takes_is_one_line_of_refusal(saved: Path, keys, to, capsys) -> None:
    change(saved, *keys, to=to)
    assert main([str(saved)]) in (1, 2)
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "Traceback" not in said.err


def test_lists_in_lists_are_no_traceback(saved: Path, capsys) -> None:
    text = saved.read_text(encoding="utf-8").replace('"u_names": null', '"u_names": @')
    assert "@" in text
    for depth in (*range(850, 1000), 5000):
        saved.write_text(text.replace("@", "[" * depth + "]" * depth), encoding="utf-8")
        assert main([str(saved)]) in (1, 2) and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("inputs", [3000, 10**9])
@pytest.mark.parametrize("claim", [{"kind": "lipschitz", "gamma": 9.0, "u_scale": None, "y_scale": None},
                                   {"kind": "contracting", "rate": 1.0}])  # fmt: skip
def test_many_inputs_that_hold_no_number_cost_no_time(saved: Path, inputs: int, claim) -> None:
    """0 × 10⁹ zeros are stored in no byte, and R of so many inputs would fill any memory."""
    shapes = {name: [inputs if letter == "u" else 0 for letter in letters] for name, letters in SHAPES.items()}
    document = json.loads(saved.read_text(encoding="utf-8"))
    sha = digest({name: Block(tuple(shape), []) for name, shape in shapes.items()}, "relu", 0.1)
    document |= {"claim": claim, "digest": sha, "P": [], "Lambda": [], "rate": None, "weights": None}
    saved.write_text(json.dumps(document), encoding="utf-8")
    header = json.dumps({k: {"dtype": "F64", "shape": s, "data_offsets": [0, 0]} for k, s in shapes.items()}).encode()
    (saved.parent / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4000))
    began = time.process_time()
    with pytest.raises(eqnets_verify.Rejected):
        eqnets_verify.verify(saved)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("damage", ["before", "beyond", "three dimensions", "huge", "negative"])
def test_a_block_lies_within_its_file(saved: Path, damage: str) -> None:
    weights = saved.parent / "a.safetensors"
    change(saved, "weights", to=None)
    data = weights.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    first, last = header["A"]["data_offsets"]
    header["A"] |= {
        "before": {"data_offsets": [first - len(data), last - len(data)]}, "beyond": {"data_offsets": [first, 2**60]},
        "three dimensions": {"shape": [1, 1, 1]}, "huge": {"shape": [2**399] * 999}, "negative": {"shape": [-1, -1]},
    }[damage]  # fmt: skip
    text = json.dumps(header).encode()
    weights.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(eqnets_verify.Rejected, match="block A"):
        eqnets_verify.verify(saved, weights)


def test_a_terminal_without_greek_letters_is_no_traceback(saved: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "eqnets_verify", str(saved)], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert run.returncode == 0 and run.stdout.startswith("holds: ") and run.stdout.isascii(), run.stderr
