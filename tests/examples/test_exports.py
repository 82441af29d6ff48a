"""The example of the exports: what it shows is as equal as the number format allows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

for module in ("matplotlib", "onnxruntime", "control"):
    pytest.importorskip(module, reason="the example writes every format; install the extras")


@pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="needs a C compiler")
def test_every_export_is_as_equal_as_its_format_allows(tmp_path: Path) -> None:
    environment = {**os.environ, "EQNETS_SMOKE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / "exports.py"), "-o", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "exports.json").read_text(encoding="utf-8"))
    assert set(found["acyclic"]) == set(found["full"]) and len(found["full"]) == 8
    for name, error in [*found["acyclic"].items(), *found["full"].items()]:
        assert 0 < error < (1e-13 if name.endswith("float64") else 1e-5), name
