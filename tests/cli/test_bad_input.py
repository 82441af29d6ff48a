"""Bad input: exit code 2, one sentence with the file, row or column, no traceback, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

N = 400
T = np.arange(N)
U, Y = np.sin(0.3 * T) + 0.1 * np.cos(1.7 * T), np.cos(0.2 * T)


def table(columns: dict[str, np.ndarray]) -> list[list[str]]:
    rows = [list(columns)]
    return rows + [[f"{value:.6g}" for value in row] for row in zip(*columns.values(), strict=True)]


def write(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8")
    return path


def good(path: Path) -> Path:
    return write(path, table({"force": U, "acc": Y}))


def no_such_column(folder: Path) -> Path:
    return write(folder / "a.csv", table({"force": U, "other": Y}))


def nan(folder: Path) -> Path:
    rows = table({"force": U, "acc": Y})
    rows[17][1] = "nan"
    return write(folder / "a.csv", rows)


def constant(folder: Path) -> Path:
    return write(folder / "a.csv", table({"force": 0 * U + 3.25, "acc": Y}))


def ragged(folder: Path) -> Path:
    rows = table({"force": U, "acc": Y})
    rows[40] = rows[40][:1]
    return write(folder / "a.csv", rows)


def empty(folder: Path) -> Path:
    (folder / "a.csv").write_bytes(b"")
    return folder / "a.csv"


def header_only(folder: Path) -> Path:
    return write(folder / "a.csv", [["force", "acc"]])


def text(folder: Path) -> Path:
    rows = table({"force": U, "acc": Y})
    rows[23][0] = "broken"
    return write(folder / "a.csv", rows)


def truncated(folder: Path) -> Path:
    scipy.io.savemat(folder / "a.mat", {"force": U, "acc": Y})
    content = (folder / "a.mat").read_bytes()
    (folder / "a.mat").write_bytes(content[: len(content) // 2])
    return folder / "a.mat"


def a_folder(folder: Path) -> Path:
    (folder / "a.csv").mkdir()
    return folder / "a.csv"


def missing(folder: Path) -> Path:
    return folder / "a.csv"


def binary(folder: Path) -> Path:
    (folder / "a.csv").write_bytes(bytes(range(256)) * 20)
    return folder / "a.csv"


BAD: list[tuple[Callable[[Path], Path], tuple[str, ...]]] = [
    (no_such_column, ("a.csv", "acc")),
    (nan, ("a.csv", "acc")),
    (constant, ("force", "constant")),
    (ragged, ("a.csv", "41")),
    (empty, ("a.csv", "empty")),
    (header_only, ("a.csv",)),
    (text, ("a.csv", "force", "broken")),
    (truncated, ("a.mat",)),
    (a_folder, ("a.csv",)),
    (missing, ("a.csv",)),
    (binary, ("a.csv",)),
]


@pytest.mark.parametrize("verb", ["check", "fit"])
@pytest.mark.parametrize(("make", "words"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_a_bad_file_is_one_sentence(eqnets, tmp_path: Path, verb: str, make, words: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    end = ["--steps", 1, "-o", out] if verb == "fit" else []
    eqnets(verb, make(tmp_path), "--u", "force", "--y", "acc", "--dt", 0.01, *end).refused(*words)
    assert not out.exists()


def test_two_sample_rates(eqnets, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{r}.csv", table({"t": r * T / 100, "force": U, "acc": Y})) for r in (1, 2)]
    eqnets("check", *files, "--u", "force", "--y", "acc", "--time", "t").refused("1.csv", "2.csv", "sample")


def test_no_sample_time(eqnets, tmp_path: Path) -> None:
    eqnets("check", good(tmp_path / "a.csv"), "--u", "force", "--y", "acc").refused("--dt")


def test_a_zero_length_record(eqnets, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", force=np.zeros(0), acc=np.zeros(0))
    eqnets("check", tmp_path / "a.npz", "--u", "force", "--y", "acc", "--dt", 0.01).refused("a.npz")


def test_a_record_too_short_to_fit(eqnets, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", table({"force": U[:5], "acc": Y[:5]}))
    out = tmp_path / "out"
    eqnets("fit", file, "--u", "force", "--y", "acc", "--dt", 0.01, "--steps", 1, "-o", out).refused("5 samples")
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--guarantee", "passive:abc"], "passive:INPUT,OUTPUT"),
        (["--guarantee", "passive:1,0.25"], "1/4"),
        (["--guarantee", "passive:0,-1"], "output_strict"),
        (["--guarantee", "dissipative"], "dissipative:Q,S,R"),
        (["--guarantee", "dissipative:1,0,1"], "negative semidefinite"),
        (["--guarantee", "dissipative:[[-1,0],[0,-1]],[[0,0]],1"], "other sizes"),
        (["--guarantee", "well-posed"], "lipschitz:GAMMA"),
        (["--model", "gru", "--guarantee", "contracting"], "none"),
        (["--model", "gru", "--nx", "2"], "nv"),
        (["--model", "transformer"], "neural_ode"),
        (["--delay", "soon"], "--delay takes auto"),
        (["--delay", "1,2"], "each of the 1 inputs"),
        (["--delay", "3", "--guarantee", "passive"], "does not keep Passive"),
        (["--guarantee", "lipschitz"], "GAMMA"),
        (["--guarantee", "lipschitz:-1"], "positive"),
        (["--guarantee", "lipschitz:abc"], "abc"),
        (["--guarantee", "stable"], "stable"),
        (["--guarantee", "contracting:1.5"], "rate"),
        (["--minutes", "1"], "--steps"),
        (["--u-scale", "1"], "lipschitz"),
        (["--nx", "0"], "--nx"),
        (["--steps", "many"], "--steps"),
        (["--val", "1.5"], "val"),
        (["--gaps", "fill"], "gaps"),
        (["--frobnicate"], "--frobnicate"),
        (["--resume"], "no interrupted run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_option_is_one_sentence(eqnets, tmp_path: Path, options: list[str], word: str) -> None:
    file, out = good(tmp_path / "a.csv"), tmp_path / "out"
    words = ["fit", file, "--u", "force", "--y", "acc", "--dt", 0.01, "-o", out, "--steps", 1, *options]
    eqnets(*words).refused(word)
    assert not out.exists()


def test_no_output_folder_named(eqnets, tmp_path: Path) -> None:
    eqnets("fit", good(tmp_path / "a.csv"), "--u", "force", "--y", "acc", "--dt", 0.01).refused("-o")


def test_an_unknown_verb(eqnets) -> None:
    eqnets("fti").refused("fti")


@pytest.mark.parametrize("verb", ["fit", "demo"])
def test_existing_output_is_refused_before_anything_starts(eqnets, tmp_path: Path, monkeypatch, verb: str) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("work started although the output exists")

    monkeypatch.setattr(f"eqnets.cli.{verb}.identify", never)
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("mine")
    data = [good(tmp_path / "a.csv"), "--u", "force", "--y", "acc", "--dt", 0.01] if verb == "fit" else []
    eqnets(verb, *data, "-o", out).refused("out", "--force")
    assert (out / "report.html").read_text() == "mine" and len(list(out.iterdir())) == 1


def test_output_that_is_a_file(eqnets, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    eqnets("demo", "-o", tmp_path / "out", "--force").refused("is a file")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_place_where_nothing_can_be_written_is_refused_before_anything_starts(eqnets, tmp_path: Path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("work started although nothing can be written")

    monkeypatch.setattr("eqnets.cli.fit.identify", never)
    file = good(tmp_path / "a.csv")
    words = ["fit", file, "--u", "force", "--y", "acc", "--dt", 0.01]
    eqnets(*words, "-o", file / "model").refused("nothing can be written", "a.csv", "-o")
    if Path("/proc/self").exists():
        eqnets(*words, "-o", "/proc/model").refused("nothing can be written", "/proc", "-o")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("verb", ["test", "certify", "verify", "report"])
def test_a_folder_that_holds_no_model(eqnets, tmp_path: Path, verb: str) -> None:
    file = good(tmp_path / "a.csv")
    words = {"test": [tmp_path, file], "certify": [tmp_path], "verify": [file, tmp_path], "report": [tmp_path]}[verb]
    eqnets(verb, *words).refused("model.safetensors")
