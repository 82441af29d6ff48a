"""Build the C kernel where a compiler is found, once per machine and version, into the user's cache folder.

The library is plain C behind ctypes: it knows nothing of torch's or Python's binary interface. Where there is no
compiler, or it fails, the next kernel runs instead: that costs time, never correctness, and `eqnets doctor` says so.

Why C beside numba: a training step takes 2.8 times less at 75 states, 150 neurons, batch 4; 5 times less at 20, 40, 32;
1.7 times less at 10, 20, 4 (`benchmarks/rollout.py`). It compiles in two seconds per dtype.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("rollout.c")
_INCLUDED = tuple(Path(__file__).with_name(name) for name in ("coupling.h", "team.h"))
SWITCH = "EQNETS_NO_COMPILER"
"""An environment variable: set to anything but an empty word, it keeps the C kernel out."""

# -O2: a third of -O3's time to compile, and faster here. No fast-math: nan and inf keep their meaning.
_FLAGS = (
    "-O2", "-ftree-vectorize", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno",
    "-fno-trapping-math", "-fno-tree-loop-distribute-patterns", "-Wno-psabi",
)  # fmt: skip
_SECONDS = 120


@functools.cache
def library(double: bool) -> tuple[ctypes.CDLL | None, str]:
    """The compiled kernel for float32 or float64, built if it has to be.

    Args:
        double: float64 instead of float32.

    Returns:
        The library, or None; and where it is, or why there is none, in words.
    """
    if os.environ.get(SWITCH):
        return None, f"switched off by {SWITCH}; unset it"
    if os.name != "posix":
        return (
            None,
            "it is built on Linux and macOS only; the numba kernel (pip install 'eqnets[fast]') runs everywhere",
        )
    command = (
        shlex.split(os.environ.get("CC", "")) or [found for found in map(shutil.which, ("gcc", "cc")) if found][:1]
    )
    if not command:
        return None, "no C compiler was found; install gcc, or name one in the environment variable CC"
    try:
        path = _cached([*command, *_FLAGS, *(["-DDOUBLE"] if double else [])])
        return ctypes.CDLL(str(path)), str(path)
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error)
        logger.info("the C kernel was not built: %s", words)
        return None, f"the C compiler {command[0]} failed ({' '.join(words.split())[:200]}); install gcc, or set CC"


def _cached(command: list[str]) -> Path:
    """The path of the library that a command builds from the source, on this kind of processor."""
    sources = b"".join(path.read_bytes() for path in (SOURCE, *_INCLUDED))
    key = hashlib.sha256("\0".join([*command, _processor()]).encode() + sources).hexdigest()[:20]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eqnets"
    path = folder / f"rollout-{key}.so"
    if path.is_file() and path.stat().st_uid == os.getuid():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(suffix=".so", dir=folder)
    except OSError:  # a home that cannot be written: build for this process alone
        path = Path(tempfile.mkdtemp(prefix="eqnets-")) / path.name
        handle, name = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        done = [*command, str(SOURCE), "-o", name, "-lm"]
        subprocess.run(done, check=True, capture_output=True, text=True, timeout=_SECONDS)
        os.replace(name, path)  # whole or not at all, also when two processes build at once
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def _processor() -> str:
    """What -march=native depends on: a cache folder may be shared by machines of different kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        words = [line for line in lines if line.startswith(("model name", "flags", "Features"))][:2]
    except OSError:
        words = [platform.processor()]
    return "\n".join([platform.system(), platform.machine(), *words])
