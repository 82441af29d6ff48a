"""The time loops compiled by numba, where it is installed (the extra `fast`): acyclic D11, on the CPU.

Substitution runs neuron by neuron, but every inner loop is an update of a contiguous row, so that it vectorises over
neurons at any batch size. Lanes of the batch are independent and are shared out to threads, which run without the GIL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from eqnets.system.kernels import codes
from eqnets.system.nonlinearity import Activation, Nonlinearity

try:
    import numba as _numba
except ImportError:  # the plain torch loops run instead
    _numba = None

numba: Any = _numba


def available(activation: Activation, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the compiled loops can run: numba is there, one known activation, float32 or float64 on the CPU."""
    return (
        numba is not None
        and isinstance(activation, Nonlinearity)
        and codes.known(activation)
        and device.type == "cpu"
        and dtype in (torch.float32, torch.float64)
    )


def forward(
    activation: Activation, blocks: Sequence[Tensor], to_v: Tensor, to_x: Tensor, x0: Tensor, Z: Tensor
) -> Tensor:
    """Fill x and w of the rows Z = [x; u; 1; w] over time.

    Args:
        activation: φ.
        blocks: the LFR's blocks, in the order of `BLOCKS`.
        to_v: (batch, time, nv) D12 u + bv.
        to_x: (batch, time, nx) B2 u + bx.
        x0: (batch, nx).
        Z: (batch, time + 1, row), written.

    Returns:
        The state after the last sample, (batch, nx).
    """
    weights = [blocks[i].detach().mT.contiguous().numpy() for i in (0, 1, 3, 4)]  # A, B1, C1, D11
    x = x0.detach().clone().contiguous()
    nx, nv, nu, _ = codes.sizes(blocks)
    _, numbers, slopes = codes.of(activation, max(nv, 1))
    arrays = [a.contiguous().numpy() for a in (to_v, to_x)]
    slope = x.numpy().dtype.type(slopes[0])
    _share(_forward, x.shape[0], *arrays, x.numpy(), *weights, numbers[0], slope, nx + nu + 1, Z.numpy())
    return x


def backward(blocks: Sequence[Tensor], gz: Tensor, slope: Tensor, gx_last: Tensor, G: Tensor) -> Tensor:
    """Fill the multipliers of G = [λ_{t+1}; ∂L/∂y_t; μ_t] over time, backwards.

    Args:
        blocks: the LFR's blocks, in the order of `BLOCKS`.
        gz: (batch, time, nx + nv) the loss' gradient with respect to [x; w] through y.
        slope: (batch, time, nv) φ'(v).
        gx_last: (batch, nx) its gradient with respect to the last state.
        G: (batch, time, nx + ny + nv), written.

    Returns:
        The gradient with respect to x0, (batch, nx).
    """
    weights = [blocks[i].detach().contiguous().numpy() for i in (0, 1, 3, 4)]
    x = gx_last.detach().clone().contiguous()
    arrays = [a.contiguous().numpy() for a in (gz, slope)]
    _share(_backward, x.shape[0], *arrays, x.numpy(), *weights, G.numpy())
    return x


def _share(kernel: Any, lanes: int, *arguments: Any) -> None:
    threads = max(1, min(torch.get_num_threads(), lanes // 8))
    if threads == 1:
        kernel(0, lanes, *arguments)
        return
    edges = [lanes * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, a, b, *arguments) for a, b in zip(edges, edges[1:], strict=False)]:
            done.result()


def _compile(function: Any) -> Any:
    # reassoc and contract let rows vectorise and fuse; nan and inf keep their meaning
    return numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"}, error_model="numpy")(function)


def _phi(v: Any, code: int, slope: Any) -> Any:
    if code == 0:
        return v if v > 0 or v != v else slope * 0
    if code == 1:
        return math.tanh(v)
    if code == 2:
        return v if v > 0 else slope * v
    if code == 3:
        return v + math.log1p(math.exp(-v)) if v > 0 else math.log1p(math.exp(v))
    if code == 4:
        return 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))
    if code == 6:
        return v - math.sin(v)
    return v


def _forward_loop(
    first: int, last: int, to_v: Any, to_x: Any, x: Any, AT: Any, B1T: Any, C1T: Any, D11T: Any, code: int, slope: Any,
    slot: int, Z: Any,
) -> None:  # fmt: skip
    nx, nv = C1T.shape
    for b in range(first, last):
        for t in range(to_v.shape[1]):
            row, state = Z[b, t], x[b]
            v, new = to_v[b, t].copy(), to_x[b, t].copy()
            for k in range(nx):
                s = state[k]
                row[k] = s
                c, a = C1T[k], AT[k]
                for i in range(nv):
                    v[i] += c[i] * s
                for i in range(nx):
                    new[i] += a[i] * s
            for k in range(nv):
                s = _phi_compiled(v[k], code, slope)
                row[slot + k] = s
                d, a = D11T[k], B1T[k]
                for i in range(k + 1, nv):
                    v[i] += d[i] * s
                for i in range(nx):
                    new[i] += a[i] * s
            state[:] = new


def _backward_loop(
    first: int, last: int, gz: Any, slope: Any, x: Any, A: Any, B1: Any, C1: Any, D11: Any, G: Any
) -> None:  # fmt: skip
    nv, nx = C1.shape
    slot = G.shape[2] - nv
    for b in range(first, last):
        for t in range(gz.shape[1] - 1, -1, -1):
            multiplier, row = x[b], G[b, t]
            g, r = gz[b, t, :nx].copy(), gz[b, t, nx:].copy()
            for k in range(nx):
                s = multiplier[k]
                row[k] = s
                a, c = A[k], B1[k]
                for i in range(nx):
                    g[i] += a[i] * s
                for i in range(nv):
                    r[i] += c[i] * s
            for k in range(nv - 1, -1, -1):
                s = slope[b, t, k] * r[k]
                row[slot + k] = s
                d, c = D11[k], C1[k]
                for i in range(k):
                    r[i] += d[i] * s
                for i in range(nx):
                    g[i] += c[i] * s
            multiplier[:] = g


if numba is not None:
    _phi_compiled = numba.njit(cache=True, inline="always", error_model="numpy")(_phi)
    _forward, _backward = _compile(_forward_loop), _compile(_backward_loop)
else:
    _phi_compiled, _forward, _backward = _phi, _forward_loop, _backward_loop
