"""Call the C map of the direct parametrisation and its adjoint: what torch does in sixty operations, in one call each.

`direct_adjoint` is the reference, and runs where this does not: on a GPU, without a C compiler.
"""

from __future__ import annotations

import array
import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eqnets.native import build

SOURCE = Path(__file__).with_name("direct.c")
_INCLUDED = (Path(__file__).parents[1] / "invert.h",)
_DTYPES = (torch.float32, torch.float64)
_PLAIN = (Tensor, nn.Parameter)


@functools.cache
def library(double: bool) -> tuple[Any, str]:
    """The compiled file for float32 or float64, built if it has to be; the map itself is in the latter, for both.

    Args:
        double: float64 instead of float32.

    Returns:
        The library, or None; and where it is, or why there is none, in words.
    """
    found, words = build(SOURCE, double, *_INCLUDED)
    if found is not None:
        found.product.argtypes = [*[ctypes.c_long] * 2, *[ctypes.c_void_p] * 3]
        for call in (found.explicit, found.adjoint) if double else ():
            call.argtypes = [ctypes.c_void_p, ctypes.c_double]
    return found, words


def explicit(rate: float, dtype: torch.dtype, *given: Tensor | None) -> tuple[Tensor, ...] | None:
    """The explicit system, as `direct_adjoint.explicit` gives it.

    Args:
        rate: ᾱ.
        dtype: of the six blocks.
        *given: S, Y1, cB2, cD12, full or None, and ε; float32 or float64.

    Returns:
        A, B1, B2, C1, D11, D12 in `dtype`; in float64 E, cP and Λ, and what `adjoint` needs: E⁻¹, [A, B1, B2],
        [C1, D11, D12] and the diagonal of H. None where this way is not open, or E has no inverse.
    """
    found = _library(dtype, *given)
    if found is None:
        return None
    S, Y1, cB2, cD12 = (t.contiguous() for t in given[:4])  # type: ignore[union-attr]
    n, q, nu = len(Y1), len(cD12), cB2.shape[1]
    shapes = ((n, n), (n, q), (n, nu), (q, n), (q, q), (q, nu))
    blocks = [torch.empty(shape, dtype=dtype, device="cpu") for shape in shapes]
    wide = n + q + nu
    shapes = ((n, n), (n, n), (q,), (n, n), (n, wide), (q, wide), (S.shape[1],))
    exact = [torch.empty(shape, dtype=torch.float64, device="cpu") for shape in shapes]
    numbers = _numbers((n, q, nu, len(S)), S, Y1, cB2, cD12, _whole(given[4]), given[5], *blocks, *exact)
    return (*blocks, *exact) if found.explicit(numbers.buffer_info()[0], rate) else None


def adjoint(
    rate: float, given: tuple[Tensor | None, ...], kept: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...],
    want_eps: bool,
) -> tuple[Tensor | None, ...] | None:  # fmt: skip
    """The gradients with respect to the parameters.

    Args:
        rate: ᾱ.
        given: S, Y1, cB2, cD12, full or None, and ε.
        kept: Λ, E⁻¹, [A, B1, B2], [C1, D11, D12] and the diagonal of H.
        gradients: with respect to A, B1, B2, C1, D11, D12, E, cP and Λ; None is zero.
        want_eps: whether the gradient with respect to ε is wanted.

    Returns:
        For each of `given`, in its dtype, None where there is none. None instead of all where this way is not open.
    """
    found = _library(torch.float64, *given, *gradients)
    last, _ = library(given[0].dtype == torch.float64)  # type: ignore[union-attr]
    if found is None or last is None:
        return None
    S, Y1, cB2, cD12, full, eps = given
    assert S is not None and Y1 is not None and cB2 is not None and cD12 is not None
    full = _whole(full)
    kept = tuple(t.contiguous() for t in kept)
    Lambda, inverse, AB, CD, diagonal = kept
    gradients = tuple(map(_whole, gradients))
    written = [
        torch.empty((S.shape[1], S.shape[1]), dtype=S.dtype, device="cpu"),
        *(None if t is None else torch.empty(t.shape, dtype=t.dtype, device="cpu") for t in (Y1, cB2, cD12, full)),
        torch.empty_like(eps) if want_eps and eps is not None else None,
    ]
    numbers = _numbers(
        (len(Y1), len(cD12), cB2.shape[1], len(S)), None, None, None, None, full, eps, *gradients,
        inverse, AB, CD, diagonal, Lambda, *written,
    )  # fmt: skip
    if not found.adjoint(numbers.buffer_info()[0], rate):
        return None
    both, *others = written
    S, gS = S.contiguous(), torch.empty(S.shape, dtype=S.dtype, device="cpu")
    assert both is not None
    return (gS, *others) if last.product(*S.shape, S.data_ptr(), both.data_ptr(), gS.data_ptr()) else None


def _library(dtype: torch.dtype, *tensors: Tensor | None) -> Any:
    """The library, if all are tensors that C can read."""
    if dtype not in _DTYPES:
        return None
    for t in tensors:
        if t is not None and not (type(t) in _PLAIN and t.is_cpu and t.dtype in _DTYPES and not t.is_neg()):
            return None
    return library(True)[0]


def _whole(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _numbers(sizes: tuple[int, ...], *tensors: Tensor | None) -> array.array[int]:
    """The struct `call`: sizes, then for each tensor its address and whether it is float32."""
    numbers = array.array("q", sizes)
    for t in tensors:
        numbers.extend((0, 0) if t is None else (t.data_ptr(), t.dtype is torch.float32))
    return numbers
