"""Build a C file where a compiler is found, once per machine and version, into the user's cache folder.

The library is plain C behind ctypes: it knows nothing of torch's or Python's binary interface. Where there is no
compiler, or it fails, Python runs instead: that costs time, never correctness, and `eqnets doctor` says so.
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
from typing import Any

import torch

logger = logging.getLogger(__name__)

SWITCH = "EQNETS_NO_COMPILER"
"""An environment variable: set to anything but an empty word, it keeps every C kernel out."""

# -O2: a third of -O3's time to compile, and faster here. No fast-math: nan and inf keep their meaning.
_FLAGS = (
    "-O2", "-ftree-vectorize", "-fopenmp-simd", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno",
    "-fno-trapping-math", "-fno-tree-loop-distribute-patterns", "-Wno-psabi",
)  # fmt: skip
_HEADER = Path(__file__).with_name("native.h")
_SECONDS = 120
_PROCESS = os.getpid()


def build(source: Path, double: bool, *included: Path) -> tuple[ctypes.CDLL | None, str]:
    """Load a C file, compiled for float32 or, with -DDOUBLE, for float64; built if it has to be.

    Args:
        source: the C file.
        double: float64 instead of float32.
        included: what the file includes, beside `native.h`.

    Returns:
        The library, or None; and where it is, or why there is none, in words.
    """
    if os.environ.get(SWITCH):
        return None, f"switched off by {SWITCH}; unset it"
    if os.name != "posix":
        return None, "it is built on Linux and macOS only; Python runs everywhere"
    command = (
        shlex.split(os.environ.get("CC", "")) or [found for found in map(shutil.which, ("gcc", "cc")) if found][:1]
    )
    if not command:
        return None, "no C compiler was found; install gcc, or name one in the environment variable CC"
    try:
        path = _cached([*command, *_FLAGS, *(["-DDOUBLE"] if double else [])], source, included)
        return ctypes.CDLL(str(path)), str(path)
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error)
        logger.info("the C kernel was not built: %s", words)
        return None, f"the C compiler {command[0]} failed ({' '.join(words.split())[:200]}); install gcc, or set CC"


def team() -> tuple[Any, ...]:
    """What a C kernel needs to run its parts in the threads of torch's own OpenMP runtime, which are awake already.

    Returns:
        The functions GOMP_parallel, omp_get_thread_num and omp_get_num_threads; empty where torch has none.
    """
    return () if os.getpid() != _PROCESS else _openmp()  # in a fork the runtime's threads have stayed behind


@functools.cache
def _openmp() -> tuple[Any, ...]:
    try:
        torch_cpu = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return tuple(
            ctypes.cast(getattr(torch_cpu, name), ctypes.c_void_p)
            for name in ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        )
    except (OSError, AttributeError):
        return ()


def _cached(command: list[str], source: Path, included: tuple[Path, ...]) -> Path:
    """The path of the library that a command builds from a source, on this kind of processor."""
    sources = b"".join(path.read_bytes() for path in (source, _HEADER, *included))
    key = hashlib.sha256("\0".join([*command, _processor()]).encode() + sources).hexdigest()[:20]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eqnets"
    path = folder / f"{source.stem}-{key}.so"
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
        done = [*command, f"-I{_HEADER.parent}", str(source), "-o", name, "-lm"]
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
