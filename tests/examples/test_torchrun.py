"""One network trained by two processes ends where one process ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "ren_torchrun.py"


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    environment = {**os.environ, "EQNETS_SMOKE": "1", "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, prefix in (("one", []), ("two", launcher)):
        command = [sys.executable, *prefix, str(EXAMPLE), "-o", str(tmp_path / name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert "proved: Contracting" in done.stdout, done.stderr
    one, two = (json.loads((tmp_path / name / "ren_torchrun.json").read_text()) for name in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["rmse"] == pytest.approx(one["rmse"], rel=1e-4)
