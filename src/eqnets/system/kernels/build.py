"""The C rollout, built where a compiler is found (`eqnets.native`).

Why C beside numba: a rollout and its gradients take 5.6 times less at 75 states, 150 neurons, batch 4; 10 times less at
20, 40, 32; 2.3 times less at 10, 20, 4 (`benchmarks/rollout.py`). It compiles in two seconds per dtype. Without it the
next kernel runs: numba's, which needs the extra `fast` and no compiler, or torch's.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from eqnets.native import SWITCH, build

__all__ = ["SOURCE", "SWITCH", "library"]

SOURCE = Path(__file__).with_name("rollout.c")
_INCLUDED = (Path(__file__).with_name("coupling.h"),)


@functools.cache
def library(double: bool) -> tuple[ctypes.CDLL | None, str]:
    """The compiled kernel for float32 or float64, built if it has to be.

    Args:
        double: float64 instead of float32.

    Returns:
        The library, or None; and where it is, or why there is none, in words.
    """
    return build(SOURCE, double, *_INCLUDED)
