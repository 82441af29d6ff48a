"""What C does for a dense W of moderate size on the CPU: its resolvent, and whole solves by it in one call.

The steps, the residuals and the answers are those of `splitting` and `loop`, to rounding; only the time differs: a step
with so small a matrix takes less time than Python needs to ask for it. Where a sample does not converge, nothing is
answered here: the loop solves again, and says why.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eqnets import native
from eqnets.equilibrium.inclusion import Cotangent, Inclusion
from eqnets.equilibrium.loop import Result
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.problem import How
from eqnets.equilibrium.splitting import PeacemanRachford

SOURCE = Path(__file__).with_name("dense.c")
_INCLUDED = Path(__file__).parents[1] / "invert.h"
LARGEST = 2**19
"""Bytes of V up to which this is the faster way: beyond, V leaves the nearest caches."""


SHARE = 200_000
"""The least multiply-adds in a step for which a thread is started."""


class _Call(ctypes.Structure):
    """As in the C file."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("n", "count", "most", "adjoint", "averaged", "along", "across")),
        *((name, ctypes.c_double) for name in ("alpha", "rtol", "atol", "kink")),
        *((name, ctypes.c_void_p) for name in ("matrix", "bias", "J", "start", "argument")),
        *((name, ctypes.c_void_p) for name in ("value", "residual", "steps")),
    ]


@functools.cache
def library(double: bool) -> tuple[ctypes.CDLL | None, str]:
    """The compiled solve for float32 or float64, built if it has to be.

    Args:
        double: float64 instead of float32.

    Returns:
        The library, or None; and where it is, or why there is none, in words.
    """
    found, words = native.build(SOURCE, double, _INCLUDED)
    if found is not None:
        whole, number, pointer = ctypes.c_long, ctypes.c_double, ctypes.c_void_p
        found.resolvent.argtypes = [whole, number, pointer, whole, whole, pointer]
        found.settle.argtypes = [ctypes.POINTER(_Call)]
        found.share.argtypes = [ctypes.POINTER(_Call), whole, *[pointer] * 3]
    return found, words


def resolvent(W: Tensor, alpha: float) -> Tensor | None:
    """V = ((1 + α)I − αW)⁻¹, without a graph, in a fifth of the time that torch.linalg.inv takes.

    Args:
        W: (n, n).
        alpha: α > 0.

    Returns:
        V, (n, n); None where this way is not open, or the matrix is singular.
    """
    found = _library(W)
    if found is None:
        return None
    V = W.new_empty(W.shape)
    return V if found.resolvent(len(W), alpha, W.data_ptr(), *W.stride(), V.data_ptr()) else None


def settle(map: Map, start: Tensor, how: How) -> Result | None:
    """Solve an inclusion for every sample, without a graph.

    Args:
        map: the equilibrium of a σ with a `kink` (a slope below zero, and slope 1 above), or the adjoint of any σ.
        start: (batch, n).
        how: the solver, the tolerance and the steps.

    Returns:
        What the loop would find; None where this way is not open, or a sample did not converge.
    """
    solver, adjoint = how.solver, type(map) is Cotangent
    if not isinstance(solver, PeacemanRachford) or not (adjoint or type(map) is Inclusion):
        return None
    assert isinstance(map, Inclusion)
    kink, W = 0.0 if adjoint else getattr(map.sigma, "kink", None), getattr(map.factored.operator, "matrix", None)
    found = None if kink is None or W is None else _library(W, map.bias, start)
    if found is None or W is None:
        return None
    alpha, start = solver.size(map.factored, start), start.contiguous()
    V: Any = map.factored.resolvent(alpha)
    along, across = V.matrix.stride() if adjoint else V.matrix.stride()[::-1]
    bias, argument = map.bias.contiguous(), map.argument(map.enter(start)).contiguous()
    J = map.sigma.J.contiguous() if isinstance(map, Cotangent) else None
    value, residual = torch.empty_like(bias), bias.new_empty(len(bias))
    steps = bias.new_empty(len(bias), dtype=torch.int64)
    call = _Call(
        start.shape[1], len(start), how.max_steps, adjoint, solver.averaged, along, across,
        alpha, how.tol.rtol, how.tol.atol, kink,
        *(None if t is None else t.data_ptr() for t in (V.matrix, bias, J, start, argument, value, residual, steps)),
    )  # fmt: skip
    parts = min(torch.get_num_threads(), len(start) * W.numel() // SHARE)
    team = native.team() if parts > 1 else ()
    done = found.share(ctypes.byref(call), parts, *team) if team else found.settle(ctypes.byref(call))
    if not done:
        return None
    return Result(value, torch.zeros_like(steps), residual, steps)


def _library(W: Tensor, *rows: Tensor) -> Any:
    """The library, if all are plain tensors of one dtype that C can read, without a graph, and W is small enough."""
    double, size = W.dtype == torch.float64, W.numel() * W.element_size()
    if not (double or W.dtype == torch.float32) or not 0 < size <= LARGEST or torch.is_grad_enabled():
        return None
    for t in (W, *rows):
        if type(t) is not Tensor or t.dtype != W.dtype or t.device.type != "cpu" or t.is_neg():
            return None
    return library(double)[0]
