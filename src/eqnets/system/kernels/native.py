"""Call the C kernel: the same rows and gradients as the torch loops.

Lanes of the batch are independent and are shared out to the threads of torch's OpenMP runtime, or to threads of our own
where torch has none; ctypes releases the GIL.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from eqnets import native
from eqnets.errors import InputError
from eqnets.system.kernels import build, codes
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Activation

# What one vector of neurons can do at once; anything else, and neurons that differ, go one by one (MIXED).
_TOGETHER = {
    torch.float32: {"relu", "leaky_relu", "identity", "tanh", "sigmoid"},
    torch.float64: {"relu", "leaky_relu", "identity"},
}
_MIXED = 14
_NONE, _ACYCLIC, _FULL = range(3)  # what D11 is
_Sizes = ctypes.c_long * 11
_WORK = 2_000_000
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
    activation: Activation, blocks: Sequence[Tensor], structure: tuple[bool, bool], every: int, u: Tensor, x0: Tensor,
    Z: Tensor, tolerance: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:  # fmt: skip
    """Roll out in time.

    Args:
        activation: φ.
        blocks: the LFR's blocks, in the order of `BLOCKS`.
        structure: whether D11 has an entry, and whether it is acyclic.
        every: as for `adjoint.forward`.
        u: (batch, time, nu).
        x0: (batch, nx).
        Z: written: the rows [x; u; 1; w] (batch, time + 1, row), or the kept states (batch, segments, nx).
        tolerance: of the equilibrium of a full D11.

    Returns:
        y (batch, time, ny), the state after the last sample (batch, nx), the residual (batch,) and the most Newton
        steps, (); None where Newton's method did not find the equilibrium of a full D11.
    """
    u, x0, blocks = u.contiguous(), x0.contiguous(), [block.contiguous() for block in blocks]
    y, x_last = u.new_empty(*u.shape[:2], blocks[8].shape[0]), torch.empty_like(x0)
    code, slope, kind = _kinds(activation, blocks[4].shape[0], x0.dtype)
    residual, most = u.new_zeros(len(u)), u.new_zeros(max(len(u), 1), dtype=torch.int64)
    limit = u.new_full((1,), tolerance)
    parts = _lanes(u, blocks, kind, structure, every)
    arguments = [_pointers(u, x0, y, x_last, Z, code, slope, limit, residual, most)] * len(parts)
    found = _share("forward", u.dtype, parts, arguments, blocks)
    return (y, x_last, residual, most.max()) if found else None


def backward(
    activation: Activation, blocks: Sequence[Tensor], structure: tuple[bool, bool], every: int, u: Tensor, Z: Tensor,
    gy: Tensor, gx_last: Tensor, want_u: bool, tolerance: float,
) -> tuple[Tensor | None, Tensor, Tensor] | None:  # fmt: skip
    """The adjoint of `forward`.

    Args:
        activation: φ.
        blocks: the LFR's blocks, in the order of `BLOCKS`.
        structure: whether D11 has an entry, and whether it is acyclic.
        every: as in `forward`.
        u: (batch, time, nu).
        Z: what `forward` wrote.
        gy: (batch, time, ny) the loss' gradient with respect to y.
        gx_last: (batch, nx) that with respect to the last state.
        want_u: whether the gradient with respect to u is wanted.
        tolerance: as in `forward`.

    Returns:
        The gradients with respect to u (or None) and x0, and dW (nx + ny + nv, row), Σ [λ; ∂y; μ] [x; u; 1; w]ᵀ; None
        where an equilibrium was not found again, or has no derivative.
    """
    u, gy, gx_last, blocks = u.contiguous(), gy.contiguous(), gx_last.contiguous(), [b.contiguous() for b in blocks]
    gu, gx0 = (torch.empty_like(u) if want_u else None), torch.empty_like(gx_last)
    code, slope, kind = _kinds(activation, blocks[4].shape[0], gy.dtype)
    nx, ny = gx_last.shape[1], gy.shape[2]
    row, limit = codes.row(blocks), u.new_full((1,), tolerance)
    parts = _lanes(u, blocks, kind, structure, every)
    dW = u.new_zeros(len(parts), nx + ny + len(code), row)
    arguments = [_pointers(u, gy, gx_last, Z, code, slope, gu, gx0, part, limit) for part in dW]
    if not _share("backward", u.dtype, parts, arguments, blocks):
        return None
    return gu, gx0, dW[0] if len(parts) == 1 else dW.sum(0)


def structure(D11: Tensor) -> tuple[bool, bool] | None:
    """Whether D11 (nv, nv) has an entry, and whether none lies on or above its diagonal; None without the C kernel."""
    if D11.dtype not in (torch.float32, torch.float64) or not D11.is_contiguous():
        return None
    library, _ = build.library(D11.dtype == torch.float64)
    if library is None:
        return None
    found = library.structure(ctypes.c_void_p(D11.data_ptr()), ctypes.c_long(len(D11)))
    return found != _NONE, found != _FULL


class Step:
    """One step at a time on fixed buffers x (nx,), u (nu,) and y (ny,): `step()` reads x and u, writes y and x.

    It answers whether it did: False where Newton's method did not find the equilibrium of a full D11; x then stays.
    """

    def __init__(self, lfr: LFR, x: Tensor, u: Tensor, y: Tensor, tolerance: float) -> None:
        blocks = [block.resolve_neg().contiguous() for block in lfr.detach().blocks().values()]
        code, slope, kind = _kinds(lfr.activation, lfr.nv, x.dtype)
        sizes = _sizes(u[None, None], blocks, kind, (bool(lfr.D11.any()), lfr.is_acyclic), 0, 0, 1)
        library, _ = build.library(x.dtype == torch.float64)
        if library is None:
            raise InputError("there is no C kernel on this machine; see: eqnets doctor.")
        create, self._free, step = library.stepper_new, library.stepper_free, library.stepper_step
        create.restype, self._free.argtypes, step.argtypes = ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p]
        limit = x.new_full((1,), tolerance)
        pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (code, slope, x, u, y, limit))
        self._handle = ctypes.c_void_p(create(sizes, _pointers(*blocks), *pointers))
        self._alive = (code, slope, x, u, y, limit)
        self._step = step

    def step(self) -> bool:
        """Take one step on the buffers."""
        return bool(self._step(self._handle))

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._free(self._handle)


@functools.lru_cache(64)
def _kinds(activation: Activation, nv: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """The code and number of each neuron, and the code of all of them where they can go together."""
    names, numbers, slopes = codes.of(activation, nv)
    together = len(set(zip(numbers, slopes, strict=True))) == 1 and names[0] in _TOGETHER[dtype]
    code = torch.tensor(numbers, dtype=torch.int32, device="cpu")
    return code, torch.tensor(slopes, dtype=dtype, device="cpu"), numbers[0] if together else _MIXED


def _sizes(
    u: Tensor, blocks: Sequence[Tensor], kind: int, structure: tuple[bool, bool], every: int, first: int, last: int
) -> Any:
    nx, nv, nu, ny = codes.sizes(blocks)
    coupled = _FULL if not structure[1] else _ACYCLIC if structure[0] else _NONE
    return _Sizes(nx, nv, nu, ny, u.shape[0], u.shape[1], kind, coupled, every, first, last)


def _pointers(*tensors: Tensor | None) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


def _lanes(
    u: Tensor, blocks: Sequence[Tensor], kind: int, structure: tuple[bool, bool], every: int
) -> list[Any]:  # fmt: skip
    """The sizes of each part of a call: its lanes, and what all parts have alike."""
    lanes, work = u.shape[0], u.shape[1] * sum(block.numel() for block in blocks)
    if not structure[1]:
        work += u.shape[1] * blocks[4].numel() * len(blocks[4]) // 3  # an elimination a step
    count = max(1, min(torch.get_num_threads(), lanes, lanes * work // _WORK, 64))
    edges = [lanes * i // count for i in range(count + 1)]
    return [_sizes(u, blocks, kind, structure, every, a, b) for a, b in zip(edges, edges[1:], strict=False)]


def _share(name: str, dtype: torch.dtype, parts: list[Any], arguments: list[Any], blocks: Sequence[Tensor]) -> bool:
    """Run each part, in a thread of its own; returns whether each succeeded."""
    library: Any = build.library(dtype == torch.float64)[0]
    run, p, count = getattr(library, name), _pointers(*blocks), len(parts)
    if count == 1:
        return bool(run(parts[0], arguments[0], p))
    if team := native.team():
        sizes = (_Sizes * count)(*parts)
        each = (ctypes.c_void_p * count)(*(ctypes.addressof(a) for a in arguments))
        return bool(library.share(run, ctypes.c_long(count), sizes, each, p, *team))
    with ThreadPoolExecutor(count) as pool:
        return all(pool.map(lambda part, a: run(part, a, p), parts, arguments))
