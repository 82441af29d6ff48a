"""The levels of torch.func: each transform wraps tensors once more, and what looks at values has to see through.

Inside of a Function's `backward` or `jvp`, `requires_grad` says nothing of the levels above or below: derivatives are
taken by `vjp`, whose primals are named, never by torch.autograd.grad.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch  # type: ignore[attr-defined]
from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter
from torch.autograd import forward_ad

from eqnets.errors import InputError

BATCHED = (
    "the backward pass of plain autograd cannot be batched (is_grads_batched, vectorize=True, vmap over "
    "autograd.grad): the values behind it are looked at; use torch.func.jacrev or torch.func.vjp, which can."
)


def transformed() -> bool:
    """Whether a transform of torch.func is active here."""
    return torch._C._are_functorch_transforms_active()


def forward_mode() -> bool:
    """Whether forward mode is on here, by torch.func or by torch.autograd.forward_ad."""
    return forward_ad._current_level >= 0


def refuse_batched(*gradients: Tensor | None) -> None:
    """Refuse gradients that torch.autograd has batched by its own older means, under which values cannot be read.

    Args:
        gradients: of a Function's `backward`.

    Raises:
        InputError: one of them is.
    """
    if any(g is not None and _functorch.is_legacy_batchedtensor(g) for g in gradients):
        raise InputError(BATCHED)


def vjp(function: Callable[..., Any], *primals: Tensor) -> tuple[Any, Callable[..., tuple[Tensor, ...]]]:
    """function(*primals) and its products with the transposed Jacobian, under every transform and to every order.

    Args:
        function: of the tensors, in operations that torch.func can differentiate.
        primals: tensors.

    Returns:
        The value, and cotangents ↦ one gradient for each primal.
    """
    out = torch.func.vjp(function, *primals)
    return out[0], out[1]


def push(function: Callable[..., tuple[Tensor, ...]], primals: list[Tensor], tangents: list[Tensor | None]) -> Any:
    """The tangent of function(*primals), as the derivative of its transposed products: forward mode is not needed.

    Args:
        function: tensors ↦ tuple of tensors.
        primals: where.
        tangents: one for each primal, None for zero; not all of them.

    Returns:
        One tangent for each output.
    """
    chosen = [i for i, t in enumerate(tangents) if t is not None]

    def of_chosen(*some: Tensor) -> tuple[Tensor, ...]:
        whole = list(primals)
        for i, t in zip(chosen, some, strict=True):
            whole[i] = t
        return function(*whole)

    value, pull = vjp(of_chosen, *(primals[i] for i in chosen))
    _, pushed = vjp(pull, tuple(torch.zeros_like(t) for t in value))  # type: ignore[arg-type]
    return pushed(tuple(tangents[i] for i in chosen))[0]


def alive(*tensors: Tensor) -> list[Tensor]:
    """What a Function saved, without the wrappers of transforms that have ended since: torch stumbles over these.

    Args:
        tensors: `ctx.saved_tensors`, or cotangents.

    Returns:
        The same tensors.
    """
    return [_functorch.unwrap_if_dead(t) for t in tensors]


def one_level_down(function: Callable[..., Any], *tensors: Tensor) -> Any:
    """function(*tensors), computed below the jvp transform that asks for it.

    torch switches forward mode off inside a Function's jvp, and what an outer jvp attached to these tensors would be
    lost silently; a tangent needs nothing of its own level, and one level down forward mode can be on.

    Args:
        function: of the tensors, to a tensor or a tuple of them.
        tensors: as they are at this level.

    Returns:
        Its value at this level.
    """
    if not transformed():
        return function(*tensors)
    interpreter = retrieve_current_functorch_interpreter()
    level = interpreter.level()
    bare = [_functorch._unwrap_for_grad(t, level) for t in tensors]
    with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True), interpreter.lower():
        out = function(*bare)
    if isinstance(out, Tensor):
        return _functorch._wrap_for_grad(out, level)
    return tuple(_functorch._wrap_for_grad(t, level) for t in out)


def plain(t: Tensor) -> Tensor:
    """The values of one element of whatever is mapped over, without any wrapper.

    Args:
        t: any tensor.

    Returns:
        A plain one of its shape.
    """
    return _bare(t, lambda inner, dim: inner.select(dim, 0))


def all_values(t: Tensor) -> Tensor:
    """The values of all elements of whatever is mapped over, without any wrapper.

    Args:
        t: any tensor.

    Returns:
        A plain one: its shape, behind one dimension for each vmap.
    """
    return _bare(t, lambda inner, dim: inner.movedim(dim, 0))


def _bare(t: Tensor, taken: Callable[[Tensor, int], Tensor]) -> Tensor:
    """A tensor without its wrappers; `taken` says what becomes of a dimension that is mapped over."""
    while _functorch.is_functorch_wrapped_tensor(t):
        inner = _functorch.get_unwrapped(t)
        t = taken(inner, _functorch.maybe_get_bdim(t)) if _functorch.is_batchedtensor(t) else inner
    return t.detach()


def differentiable(t: Tensor) -> bool:
    """Whether anything is differentiated with respect to, or mapped over, this tensor, at whatever level.

    Args:
        t: any tensor.

    Returns:
        Whether it is.
    """
    while True:
        if t.requires_grad and torch.is_grad_enabled():
            return True
        if _functorch.is_batchedtensor(t):  # torch does not ask one for its tangent
            return True
        if forward_mode() and forward_ad.unpack_dual(t).tangent is not None:
            return True
        if not _functorch.is_functorch_wrapped_tensor(t):
            return False
        t = _functorch.get_unwrapped(t)


def one_by_one(
    run: Callable[..., tuple[Tensor, ...]], size: int, dims: Sequence[int | None], tensors: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """A rule for vmap where nothing is gained by more at once: as many runs as there are elements.

    Args:
        run: of the tensors.
        size: how many elements.
        dims: the dimension mapped over, for each of the tensors, or None.
        tensors: its arguments.

    Returns:
        The outputs, each with the elements first.
    """
    each = [run(*(t if d is None else t.select(d, i) for t, d in zip(tensors, dims, strict=True))) for i in range(size)]
    return tuple(torch.stack(list(part)) for part in zip(*each, strict=True))
