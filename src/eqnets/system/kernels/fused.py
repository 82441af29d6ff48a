"""The time loops compiled by numba, where it is installed (the extra `fast`): acyclic D11, on the CPU.

Substitution runs neuron by neuron, but every inner loop is an update of a contiguous row, so that it vectorises over
neurons at any batch size. Lanes of the batch are independent and are shared out to threads, which run without the GIL.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from eqnets.system.kernels import codes
from eqnets.system.nonlinearity import Activation, Nonlinearity


@functools.cache
def loops() -> Any:
    """The module with the compiled loops, or None where numba is missing: the plain torch loops run instead."""
    try:
        from eqnets.system.kernels import loops
    except ImportError:
        return None
    return loops


def available(activation: Activation, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the compiled loops can run: numba is there, one known activation, float32 or float64 on the CPU."""
    return (
        isinstance(activation, Nonlinearity)
        and codes.known(activation)
        and device.type == "cpu"
        and dtype in (torch.float32, torch.float64)
        and loops() is not None
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
    _share(loops().forward, x.shape[0], *arrays, x.numpy(), *weights, numbers[0], slope, nx + nu + 1, Z.numpy())
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
    _share(loops().backward, x.shape[0], *arrays, x.numpy(), *weights, G.numpy())
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
