"""The console script: an interrupt before eqnets is imported is a sentence, too."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
INTERRUPTED = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
import {module} as script
script.{function}()
"""


def test_an_interrupt_while_eqnets_is_imported_is_no_traceback() -> None:
    script = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["eqnets"]
    module, function = script.split(":")
    code = INTERRUPTED.format(module=module, function=function)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "eqnets: interrupted. Nothing was written.\n"), done.stderr


def test_the_script_is_the_command_line() -> None:
    code = "import sys; sys.argv = ['eqnets', '--version']\nimport eqnets_command as c\nc.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("eqnets "), done.stderr
