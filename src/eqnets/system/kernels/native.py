"""Call the C kernel: the same rows and gradients as the torch loops, from one call per thread.

Lanes of the batch are independent and are shared out to threads; ctypes releases the GIL.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.kernels import build, codes
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Activation

# What one vector of neurons can do at once; anything else, and neurons that differ, go one by one (MIXED).
_TOGETHER = {
    torch.float32: {"relu", "leaky_relu", "identity", "tanh", "sigmoid"},
    torch.float64: {"relu", "leaky_relu", "identity"},
}
_MIXED = 7
_WORK = 200_000
"""The least multiply-adds times steps for which a thread is started."""


def available(activation: Activation, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the C kernel can run: it is built, the activations are known, float32 or float64 on the CPU."""
    return (
        device.type == "cpu"
        and dtype in (torch.float32, torch.float64)
        and codes.known(activation)
        and build.library(dtype == torch.float64)[0] is not None
    )


def forward(
    activation: Activation, blocks: Sequence[Tensor], coupled: bool, every: int, u: Tensor, x0: Tensor, Z: Tensor
) -> tuple[Tensor, Tensor]:
    """Roll out in time.

    Args:
        activation: φ.
        blocks: the LFR's blocks, in the order of `BLOCKS`.
        coupled: whether D11 has an entry.
        every: as for `adjoint.forward`.
        u: (batch, time, nu).
        x0: (batch, nx).
        Z: written: the rows [x; u; 1; w] (batch, time + 1, row), or the kept states (batch, segments, nx).

    Returns:
        y (batch, time, ny) and the state after the last sample (batch, nx).
    """
    u, x0, blocks = u.contiguous(), x0.contiguous(), [block.contiguous() for block in blocks]
    y, x_last = u.new_empty(*u.shape[:2], blocks[8].shape[0]), torch.empty_like(x0)
    code, slope, kind = _kinds(activation, blocks[4].shape[0], x0.dtype)
    pointers = _pointers(u, x0, y, x_last, Z, code, slope)
    run = _function("forward", u.dtype)
    _share(u, blocks, kind, coupled, every, lambda part, sizes: run(sizes, pointers, _pointers(*blocks)))
    return y, x_last


def backward(
    activation: Activation, blocks: Sequence[Tensor], coupled: bool, every: int, u: Tensor, Z: Tensor, gy: Tensor,
    gx_last: Tensor, want_u: bool,
) -> tuple[Tensor | None, Tensor, Tensor]:  # fmt: skip
    """The adjoint of `forward`.

    Args:
        activation: φ.
        blocks: the LFR's blocks, in the order of `BLOCKS`.
        coupled: whether D11 has an entry.
        every: as in `forward`.
        u: (batch, time, nu).
        Z: what `forward` wrote.
        gy: (batch, time, ny) the loss' gradient with respect to y.
        gx_last: (batch, nx) that with respect to the last state.
        want_u: whether the gradient with respect to u is wanted.

    Returns:
        The gradients with respect to u (or None) and x0, and dW (nx + ny + nv, row), Σ [λ; ∂y; μ] [x; u; 1; w]ᵀ.
    """
    u, gy, gx_last, blocks = u.contiguous(), gy.contiguous(), gx_last.contiguous(), [b.contiguous() for b in blocks]
    gu, gx0 = (torch.empty_like(u) if want_u else None), torch.empty_like(gx_last)
    code, slope, kind = _kinds(activation, blocks[4].shape[0], gy.dtype)
    nx, ny = gx_last.shape[1], gy.shape[2]
    run, row = _function("backward", u.dtype), codes.row(blocks)
    parts = [u.new_zeros(0)] * 64

    def one(part: int, sizes: Any) -> None:
        parts[part] = u.new_zeros(nx + ny + len(code), row)
        run(sizes, _pointers(u, gy, gx_last, Z, code, slope, gu, gx0, parts[part]), _pointers(*blocks))

    count = _share(u, blocks, kind, coupled, every, one)
    dW = parts[0]
    for part in parts[1:count]:
        dW += part
    dW[nx + ny :] = dW[nx + ny :].flip(0)  # the kernel's neurons run backwards
    return gu, gx0, dW


class Step:
    """One step at a time on fixed buffers x (nx,), u (nu,) and y (ny,): `step()` reads x and u, writes y and x."""

    def __init__(self, lfr: LFR, x: Tensor, u: Tensor, y: Tensor) -> None:
        blocks = [block.contiguous() for block in lfr.detach().blocks().values()]
        code, slope, kind = _kinds(lfr.activation, lfr.nv, x.dtype)
        sizes = _sizes(u[None, None], blocks, kind, bool(lfr.D11.any()), 0, 0, 1)
        library, _ = build.library(x.dtype == torch.float64)
        if library is None:
            raise InputError("there is no C kernel on this machine; see: eqnets doctor.")
        create, self._free, step = library.stepper_new, library.stepper_free, library.stepper_step
        create.restype, self._free.argtypes, step.argtypes = ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p]
        pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (code, slope, x, u, y))
        self._handle = ctypes.c_void_p(create(sizes, _pointers(*blocks), *pointers))
        self._alive = (code, slope, x, u, y)
        self._step = step

    def step(self) -> None:
        """Take one step on the buffers."""
        self._step(self._handle)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._free(self._handle)


@functools.lru_cache(64)
def _kinds(activation: Activation, nv: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """The code and slope of each neuron, and the code of all of them where they can go together."""
    names, numbers, slopes = codes.of(activation, nv)
    together = len(set(zip(numbers, slopes, strict=True))) == 1 and names[0] in _TOGETHER[dtype]
    code = torch.tensor(numbers, dtype=torch.int32)
    return code, torch.tensor(slopes, dtype=dtype), numbers[0] if together else _MIXED


def _sizes(u: Tensor, blocks: Sequence[Tensor], kind: int, coupled: bool, every: int, first: int, last: int) -> Any:
    nx, nv, nu, ny = codes.sizes(blocks)
    return (ctypes.c_long * 11)(nx, nv, nu, ny, u.shape[0], u.shape[1], kind, int(coupled), every, first, last)


def _pointers(*tensors: Tensor | None) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


def _function(name: str, dtype: torch.dtype) -> Any:
    library, _ = build.library(dtype == torch.float64)
    function = getattr(library, name)
    function.restype = None
    return function


def _share(
    u: Tensor, blocks: Sequence[Tensor], kind: int, coupled: bool, every: int, one: Callable[[int, Any], None]
) -> int:  # fmt: skip
    """Give each thread its lanes; returns how many parts there are."""
    lanes, work = u.shape[0], u.shape[1] * sum(block.numel() for block in blocks)
    count = max(1, min(torch.get_num_threads(), lanes, lanes * work // _WORK, 64))
    edges = [lanes * i // count for i in range(count + 1)]
    parts = [_sizes(u, blocks, kind, coupled, every, a, b) for a, b in zip(edges, edges[1:], strict=False)]
    if count == 1:
        one(0, parts[0])
        return 1
    with ThreadPoolExecutor(count - 1) as pool:
        others = [pool.submit(one, i, parts[i]) for i in range(1, count)]
        one(0, parts[0])
        for other in others:
            other.result()
    return count
