"""Call the C steps: what torch does to a state in a dozen operations is done in one pass over it.

Torch's operations stay the reference, and run where these do not: on a GPU, with gradients recorded, for large states
where torch has several threads, without a C compiler.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eqnets.native import build

SOURCE = Path(__file__).with_name("steps.c")
LARGE = 2**17
"""Numbers of a state (batch · n) from which torch's operations, in several threads, are left to it."""

_NUMBER, _COUNT, _POINTER = ctypes.c_double, ctypes.c_long, ctypes.c_void_p


@functools.cache
def library(double: bool) -> tuple[Any, str]:
    """The compiled steps for float32 or float64, built if they have to be.

    Args:
        double: float64 instead of float32.

    Returns:
        The library, or None; and where it is, or why there is none, in words.
    """
    found, words = build(SOURCE, double)
    if found is not None:
        found.judge.argtypes = [*[_COUNT] * 2, *[_NUMBER] * 2, *[_POINTER] * 3]
        found.mix.argtypes = [*[_COUNT] * 5, ctypes.c_int, *[_NUMBER] * 2, *[_POINTER] * 8]
    return found, words


def steps(z: Tensor, fz: Tensor) -> Any:
    """The library for an evaluated iterate: float32 or float64, on the CPU, its numbers in memory, and not large.

    Args:
        z: (batch, n).
        fz: (batch, n), f(z).

    Returns:
        The library, to be given contiguous tensors; None where torch has to do it.
    """
    dtype = z.dtype
    if not (z.is_cpu and fz.is_cpu and fz.dtype == dtype) or torch.is_grad_enabled():
        return None
    if dtype not in (torch.float32, torch.float64) or z.is_neg() or fz.is_neg() or not (z.data_ptr() and fz.data_ptr()):
        return None
    if z.numel() >= LARGE and torch.get_num_threads() > 1:
        return None
    return library(dtype == torch.float64)[0]


def residual(steps: Any, z: Tensor, fz: Tensor, rtol: float, atol: float) -> np.ndarray:
    """The residual per sample, as `Tolerance.judge` gives it.

    Args:
        steps: the library.
        z: (batch, n).
        fz: (batch, n), f(z).
        rtol: relative tolerance.
        atol: absolute tolerance.

    Returns:
        (batch,), in the dtype of the state.
    """
    found = z.new_empty(len(z))
    steps.judge(*z.shape, rtol, atol, z.data_ptr(), fz.data_ptr(), found.data_ptr())
    return found.numpy()


def mix(
    steps: Any, broyden: bool, ridge: float, damping: float, used: int, slot: int, read: Sequence[Tensor],
    written: Sequence[Tensor],
) -> Tensor:  # fmt: skip
    """Write the newest differences into the memory of a secant method, and mix the next iterate.

    Args:
        steps: the library.
        broyden: Broyden's method; else Anderson's.
        ridge: of Anderson's Gram matrix, relative to its diagonal.
        damping: of Anderson's step.
        used: how many rows of the memory count, with the newest one.
        slot: the row of the newest one.
        read: z and f(z), now and at the good iterate before, (batch, n).
        written: left and right (batch, memory, n), small (batch, memory, memory).

    Returns:
        (batch, n), the next iterate.
    """
    z = torch.empty_like(read[0])
    pointers = [part.data_ptr() for part in (*read, *written, z)]
    steps.mix(*z.shape, written[0].shape[1], used, slot, broyden, ridge, damping, *pointers)
    return z
