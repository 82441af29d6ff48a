"""One network trained by two processes, started as torchrun starts them, ends where one process ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "ren_torchrun.py"


def started(folder: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "EQNETS_SMOKE": "1", "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, str(EXAMPLE), "-o", str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [started(tmp_path / "two", RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in (0, 1)]
    jobs = [started(tmp_path / "one"), *ranks]
    said = [job.communicate(timeout=300) for job in jobs]
    for out, errors in said[:2]:  # one process, and the first of two
        assert "proved: Contracting" in out, errors
    one, two = (json.loads((tmp_path / name / "ren_torchrun.json").read_text()) for name in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["rmse"] == pytest.approx(one["rmse"], rel=1e-4)
