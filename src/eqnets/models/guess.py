"""Where a solve starts: from zeros of a given shape, or from a guess."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from eqnets.errors import InputError


def check_init(init: Any) -> None:
    """Refuse what is neither a shape (or a container of shapes) nor a callable.

    Args:
        init: what the caller gave.

    Raises:
        InputError: it cannot be a start.
    """
    if callable(init) or _is_shape(init):
        return
    parts = init.values() if isinstance(init, dict) else init if isinstance(init, (tuple, list)) else ()
    if not parts:
        raise InputError(
            f"init must be a number of features, a shape without the batch, a tuple, list or dict of these, or a "
            f"callable x -> z0; got {init!r}."
        )
    for part in parts:
        if callable(part):
            raise InputError("init must not mix shapes and callables; give one callable x -> z0 for the whole state.")
        check_init(part)


def start(init: Any, x: Any, cell: Any, batch_dims: int) -> Any:
    """The start for an input.

    Args:
        init: a checked init.
        x: the input; the first dimension of its first tensor is the batch.
        cell: zeros have the dtype and device of its first floating-point parameter, else of x, else torch's default.
        batch_dims: 1, zeros get the batch in front; 0, they do not.

    Returns:
        The state.

    Raises:
        InputError: x holds no tensor to take the batch from.
    """
    if callable(init):
        return init(x)
    leaves = [leaf for leaf in tree_leaves(x) if isinstance(leaf, Tensor)]
    if batch_dims and (not leaves or leaves[0].ndim == 0):
        raise InputError("x has no batch dimension, so that zeros cannot be made for it; pass z0, or a callable init.")
    batch = (leaves[0].shape[0],) if batch_dims else ()
    parameters = list(cell.parameters()) if isinstance(cell, nn.Module) else []
    like = next((t for t in [*parameters, *leaves] if t.is_floating_point()), None)
    device = like.device if like is not None else leaves[0].device if leaves else None
    return _zeros(init, batch, None if like is None else like.dtype, device)


def _is_shape(init: Any) -> bool:
    sizes = init if isinstance(init, tuple) else (init,)
    return len(sizes) > 0 and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes)


def _zeros(init: Any, batch: tuple[int, ...], dtype: torch.dtype | None, device: torch.device | None) -> Any:
    if _is_shape(init):
        shape = init if isinstance(init, tuple) else (init,)
        return torch.zeros(batch + tuple(shape), dtype=dtype, device=device)
    if isinstance(init, dict):
        return {name: _zeros(part, batch, dtype, device) for name, part in init.items()}
    return type(init)(_zeros(part, batch, dtype, device) for part in init)
