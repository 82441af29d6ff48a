"""The closed-loop example runs as a user runs it, shrunk, on the pendulum; what it says is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytest.importorskip("matplotlib", reason="the examples draw plots; install the extra 'examples'")


def test_the_loop_is_certified_checked_and_settles_before_its_bound(tmp_path: Path) -> None:
    environment = {**os.environ, "EQNETS_SMOKE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("EQNETS_DATA", None)
    command = [sys.executable, "-W", "error", str(EXAMPLES / "closed_loop.py"), "-o", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "closed_loop.json").read_text(encoding="utf-8"))
    assert (tmp_path / "closed_loop.png").stat().st_size > 1000
    assert found["data"] == "pendulum" and found["test_rmse"]["model"] < found["test_rmse"]["linear"]
    assert 0 < found["rate"] < 1 and found["eqnets_verify"]["exit_code"] == 0
    assert 0 < found["settled_simulated"] <= found["settled_proved"]
    assert found["wrong_starts_worst_share_of_envelope"] <= 1 + 1e-6
    assert found["steady_outputs"] == pytest.approx(found["set_points"], abs=1e-9)


def test_the_stored_result_is_of_the_tanks() -> None:
    found = json.loads((EXAMPLES / "results" / "closed_loop.json").read_text(encoding="utf-8"))
    assert found["data"] == "Cascaded Tanks" and not found["smoke"] and found["eqnets_verify"]["exit_code"] == 0
    assert found["settled_simulated"] <= found["settled_proved"] and found["time_constant_proved"] > 0
