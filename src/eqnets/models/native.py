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
        *given: X, terms or None, Y1, cB2, cD12, full or None, and ε; float32 or float64, the terms float64.

    Returns:
        A, B1, B2, C1, D11, D12 in `dtype`; in float64 E, cP and Λ, and what `adjoint` needs: E⁻¹, [A, B1, B2],
        [C1, D11, D12] and the diagonal of H. None where this way is not open, or E has no inverse.
    """
    found = _library(dtype, *given)
    if found is None:
        return None
    X, terms, Y1, cB2, cD12, full, eps = map(_whole, given)
    assert X is not None and Y1 is not None and cB2 is not None and cD12 is not None
    n, q, nu = len(Y1), len(cD12), cB2.shape[1]
    shapes = ((n, n), (n, q), (n, nu), (q, n), (q, q), (q, nu))
    blocks = [torch.empty(shape, dtype=dtype, device="cpu") for shape in shapes]
    wide = n + q + nu
    shapes = ((n, n), (n, n), (q,), (n, n), (n, wide), (q, wide), (X.shape[1],))
    exact = [torch.empty(shape, dtype=torch.float64, device="cpu") for shape in shapes]
    sizes = (n, q, nu, len(X), 0 if terms is None else len(terms))
    numbers = _numbers(sizes, X, terms, Y1, cB2, cD12, full, eps, *blocks, *exact)
    return (*blocks, *exact) if found.explicit(numbers.buffer_info()[0], rate) else None


def adjoint(
    rate: float, given: tuple[Tensor | None, ...], kept: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...],
    want_eps: bool,
) -> tuple[Tensor | None, ...] | None:  # fmt: skip
    """The gradients with respect to the parameters.

    Args:
        rate: ᾱ.
        given: X, terms or None, Y1, cB2, cD12, full or None, and ε.
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
    X, terms, Y1, cB2, cD12, full, eps = map(_whole, given)
    assert X is not None and Y1 is not None and cB2 is not None and cD12 is not None and eps is not None
    Lambda, *arrays = [_whole(t) for t in (*kept, *gradients)]  # held until C has read them
    both = torch.empty((X.shape[1], X.shape[1]), dtype=X.dtype, device="cpu")
    others = [None if t is None else torch.empty_like(t) for t in (terms, Y1, cB2, cD12, full)]
    others.append(torch.empty_like(eps) if want_eps else None)
    numbers = _numbers(
        (len(Y1), len(cD12), cB2.shape[1], len(X), 0 if terms is None else len(terms)),
        None, terms, None, None, None, full, eps, *arrays[4:], *arrays[:4], Lambda, both, *others,
    )  # fmt: skip
    if not found.adjoint(numbers.buffer_info()[0], rate):
        return None
    gX = torch.empty_like(X)
    return (gX, *others) if last.product(*X.shape, X.data_ptr(), both.data_ptr(), gX.data_ptr()) else None


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
