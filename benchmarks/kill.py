"""Kill `eqnets fit` at random moments, resume it, and compare the model with that of an undisturbed run, to the bit.

    python benchmarks/kill.py [--kills 20] [--steps 2000] [--seed 0] [-o FILE.json]

Every kill is SIGKILL, at a moment drawn uniformly over the run. After it, every file in the folder must be whole.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from eqnets import load
from eqnets.system.plants import Pendulum

DT = 0.05


def record(path: Path) -> Path:
    """A measured file of the pendulum."""
    plant = Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=4.0)
    ((u, y),) = plant.records(torch.Generator().manual_seed(5), n_records=1, duration=40.0, dt=DT)
    np.savetxt(path, np.concatenate([u, y], 1), delimiter=",", header="torque,angle", comments="", fmt="%.9g")
    return path


def command(data: Path, folder: Path, steps: int, *more: str) -> list[str]:
    words = ["fit", data, "--u", "torque", "--y", "angle", "--dt", DT, "--steps", steps, "--nx", 2, "--nv", 8]
    return [sys.executable, "-m", "eqnets.cli", *map(str, words), "-o", str(folder), *more]


def run(words: list[str], kill_after: float | None = None) -> tuple[int, float]:
    """Start a command; kill it after so many seconds; its exit code and how long it ran."""
    began = time.perf_counter()
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode, time.perf_counter() - began


def whole_files(folder: Path) -> int:
    """How many checkpoints there are; each must be readable."""
    kept = list(folder.glob("*.safetensors")) if folder.is_dir() else []
    for path in kept:
        load_file(path)
    for path in folder.glob("*.json") if folder.is_dir() else []:
        json.loads(path.read_text(encoding="utf-8"))
    return len(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        data = record(Path(place) / "run.csv")
        code, seconds = run(command(data, Path(place) / "whole", options.steps))
        assert code == 0, code
        expected = load(Path(place) / "whole").lfr.digest()
        rows = []
        for k in range(options.kills):
            folder, moment = Path(place) / f"killed{k}", draw.uniform(0.0, seconds)
            code, _ = run(command(data, folder, options.steps), moment)
            kept = whole_files(folder)
            resumable = any(folder.glob("checkpoint*")) if folder.is_dir() else False
            more = ["--resume"] if resumable else ["--force"]
            again, _ = run(command(data, folder, options.steps, *more))
            same = again == 0 and load(folder).lfr.digest() == expected
            rows.append({"killed_after_s": round(moment, 2), "exit": code, "checkpoints": kept, "same": same})
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "steps": options.steps, "undisturbed_s": round(seconds, 2), "kills": rows,
        "all_same": all(row["same"] for row in rows), "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print("all the same" if result["all_same"] else "DIFFERENT")
    sys.exit(0 if result["all_same"] else 1)


if __name__ == "__main__":
    main()
