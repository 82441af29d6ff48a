"""The F16 figures run as a user runs them, shrunk: the benchmark trains, certifies and attacks, the example draws."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "f16_robustness.py"

pytest.importorskip("matplotlib", reason="the examples draw plots; install the extra 'examples'")


@pytest.mark.skipif(not os.environ.get("EQNETS_DATA"), reason="needs the public data files; set EQNETS_DATA")
@pytest.mark.data
def test_the_two_figures(tmp_path: Path) -> None:
    environment = {**os.environ, "EQNETS_SMOKE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(EXAMPLE), "-o", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "f16_robustness.png").stat().st_size > 1000
    found = json.loads((tmp_path / "f16_robustness.json").read_text(encoding="utf-8"))
    assert set(found["accuracy"]) == {"REN", "linear", "FIR", "LSTM", "RNN"}
    for rows in found["accuracy"].values():
        for row in rows:
            assert row["gain"] > 0 and row["nrmse"] > 0
            assert row["gamma"] in (None, "inf") or row["gain"] <= row["gamma"] * (1 + 1e-9)
    assert list(found["deviation"]) == ["RNN", "LSTM", "REN, γ = 10"]
    for values in found["deviation"].values():
        assert len(values) == 1500 and max(map(abs, values)) > 0
    assert max(map(abs, found["deviation"]["REN, γ = 10"])) <= 10 * 0.05  # what the certificate says
