"""The monotone examples run as a user runs them, and what they say is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytest.importorskip("matplotlib", reason="the examples draw plots; install the extra 'examples'")


def result(name: str, folder: Path, *arguments: str) -> dict:
    environment = {**os.environ, "EQNETS_SMOKE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments, "-o", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (folder / f"{name}.png").stat().st_size > 1000
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(not os.environ.get("EQNETS_DATA"), reason="needs the public data files; set EQNETS_DATA")
@pytest.mark.data
def test_mnist(tmp_path: Path) -> None:
    pytest.importorskip("torchdiffeq")
    names = ("monotone", "conv", "tiers", "node", "anode", "dense_node", "dense_anode")
    found = result("monotone_mnist", tmp_path, "--models", *names)
    assert set(found["networks"]) == set(names)
    for runs in found["networks"].values():
        assert runs[0][-1]["forward"] > 1 and runs[0][-1]["backward"] > 1
    for name in ("monotone", "dense_node", "dense_anode"):  # not shrunk: of equal size
        assert abs(found["networks"][name][0][-1]["parameters"] / 84313 - 1) < 0.01


def test_the_two_tables(tmp_path: Path) -> None:
    found = result("monotone_tables", tmp_path)
    assert [len(found[name]) for name in ("default", "normal", "monotone")] == [10, 10, 10]
    assert all(row["margin"] > 0 and row["distance"] < 1e-6 for row in found["default"])
    assert all(row["margin"] < 0 and (row["distance"] or 9) > 1 for row in found["normal"])
    for row in found["monotone"]:
        assert row["margin"] > 1 - 1e-9 and row["radius"] > 10
        assert row["distance"] > 1 and row["converged"] and row["residual"] < 1e-10
        assert row["residual"] < row["bound"] < 1e-8


def test_steps_against_alpha(tmp_path: Path) -> None:
    found = result("monotone_alpha", tmp_path)
    for rows in (found["start"], found["grown"]):
        counts = [point["forward"] for point in rows["Peaceman–Rachford"]["curve"] if point["forward"]]
        chosen = rows["Peaceman–Rachford"]["chosen"]
        assert chosen["forward"] <= 1.5 * min(counts)
        both = [sum(row[way] for way in ("forward", "backward")) for row in (rows["tuned"], chosen)]
        assert both[0] <= 1.1 * both[1]  # tuned for the steps of all samples, shown by their largest
        diverged = [p["alpha"] for p in rows["forward–backward"]["curve"] if p["forward"] is None]
        assert any(alpha > rows["limit"] for alpha in diverged)
