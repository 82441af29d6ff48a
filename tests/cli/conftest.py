"""Runs a command line in this process; and one small model folder, fitted once, for the verbs that need one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from eqnets.cli import main
from eqnets.system.plants import Pendulum

DT = 0.05


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """Assert exit code 2 and one sentence on stderr that holds all the words."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if not line.endswith(" …")]  # those are progress
        assert len(lines) == 1 and lines[0].startswith("eqnets: "), self.err
        for word in words:
            assert word in lines[0], self.err


@pytest.fixture
def eqnets(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `eqnets WORDS…`."""

    def command(*words: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(int(exit_info.value.code or 0), captured.out, captured.err)

    return command


def write_csv(path: Path, u: np.ndarray, y: np.ndarray, names: str = "torque [Nm],angle [rad]") -> Path:
    """A CSV file of one input and one output."""
    rows = [f"{a:.8g},{b:.8g}" for a, b in zip(u[:, 0], y[:, 0], strict=True)]
    path.write_text("\n".join([names, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train1.csv, train2.csv and other.csv (other column names)."""
    folder = tmp_path_factory.mktemp("measured")
    plant = Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=4.0)
    pairs = plant.records(torch.Generator().manual_seed(5), n_records=3, duration=15.0, dt=DT)
    for name, pair in zip(("train1", "train2"), pairs, strict=False):
        write_csv(folder / f"{name}.csv", *pair)
    write_csv(folder / "other.csv", *pairs[2], names="in [Nm],out [rad]")
    return folder


@pytest.fixture(scope="session")
def fitted(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, written by `eqnets fit`."""
    folder = tmp_path_factory.mktemp("models") / "model"
    files = [measured / "train1.csv", measured / "train2.csv"]
    words = [
        "fit",
        *files,
        "--u",
        "torque",
        "--y",
        "angle",
        "--dt",
        DT,
        "--steps",
        4,
        "--nx",
        2,
        "--nv",
        4,
        "-o",
        folder,
    ]
    with pytest.raises(SystemExit) as exit_info:
        main([str(word) for word in words])
    assert exit_info.value.code == 0
    return folder
