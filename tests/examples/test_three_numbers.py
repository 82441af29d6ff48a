"""The example of the three numbers runs as a user runs it, shrunk; its numbers stand in the order they must."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "three_numbers.py"

pytest.importorskip("matplotlib", reason="the examples draw plots; install the extra 'examples'")


def result(folder: Path, **variables: str) -> dict:
    environment = {**os.environ, "EQNETS_SMOKE": "1", "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-W", "error", str(EXAMPLE), "-o", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (folder / "three_numbers.png").stat().st_size > 1000
    return json.loads((folder / "three_numbers.json").read_text(encoding="utf-8"))


def in_order(row: dict) -> bool:
    return 0 < row["attained"] <= row["certified"] and row["pattern"] <= row["certified"] * (1 + 1e-9)


def test_it_runs_without_data(tmp_path: Path) -> None:
    found = result(tmp_path, EQNETS_DATA="")
    assert "mnist" not in found and "f16" not in found
    assert all(in_order(row) for row in found["lecture, default"] + found["random"])
    assert all("not certified" in row["refused"] for row in found["lecture, normal"])


@pytest.mark.skipif(not os.environ.get("EQNETS_DATA"), reason="needs the public data files; set EQNETS_DATA")
@pytest.mark.data
def test_digits_keep_their_class_as_far_as_is_certified(tmp_path: Path) -> None:
    found = result(tmp_path)
    assert in_order(found["mnist"]) and all(in_order(row) for row in found["f16"])
    assert all(row["certified"] <= row["prescribed"] for row in found["f16"])
    accuracy = found["mnist"]["certified_accuracy"]
    for values in accuracy.values():
        assert all(later <= earlier for earlier, later in zip(values, values[1:], strict=False))
        assert values[0] <= found["mnist"]["test_accuracy"]
    margins, bars, root = accuracy.values()
    assert all(a >= b for a, b in zip(margins, root, strict=True))
    assert all(a >= b for a, b in zip(margins, bars, strict=True))
