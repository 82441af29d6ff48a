"""The rollout to torch: its derivatives of every order, under plain autograd and every transform of torch.func.

Two Functions, the rollout and its adjoint. Their `forward` sees plain tensors, and runs the kernels of `adjoint`; what
goes beyond (the derivative of the adjoint, forward mode) goes through the reference, in operations that torch can
differentiate again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from eqnets.equilibrium import levels
from eqnets.system.kernels import adjoint, reference
from eqnets.system.kernels.adjoint import Outputs, Settings
from eqnets.system.lfr import BLOCKS, LFR


def rollout(lfr: LFR, u: Tensor, x0: Tensor, settings: Settings) -> Outputs:
    """Roll the LFR out in time; gradients reach u, x0 and every block.

    Args:
        lfr: a discrete LFR in the dtype of u.
        u: (batch, time, nu).
        x0: (batch, nx).
        settings: see `Settings`.

    Returns:
        y (batch, time, ny), the state after the last sample (batch, nx), what is kept for the backward pass, the
        residual (batch,) and the most solver steps of a full D11, ().
    """
    return _Rollout.apply(settings, u, x0, *lfr.blocks().values())  # type: ignore[return-value]


class _Rollout(torch.autograd.Function):
    @staticmethod
    def forward(settings: Settings, u: Tensor, x0: Tensor, *blocks: Tensor) -> Outputs:
        return adjoint.forward(settings, u, x0, blocks)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
        settings, *tensors = inputs
        ctx.settings = settings
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)  # what is kept is large: no zeros of its size
        ctx.save_for_backward(*tensors, output[2])
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None, gx_last: Tensor | None, *unused: None) -> tuple[Tensor | None, ...]:
        del unused
        levels.refuse_batched(gy, gx_last)
        u, x0, *blocks, kept = levels.alive(*ctx.saved_tensors)
        some = u.new_zeros(*u.shape[:2], len(blocks[8])) if gy is None else gy
        last = torch.zeros_like(x0) if gx_last is None else gx_last
        if torch.is_grad_enabled() or levels.transformed():  # a graph of the gradient is wanted, or values are hidden
            return None, *gradients(ctx.settings, u, x0, blocks, kept, some, last)
        return None, *adjoint.backward(ctx.settings, u, x0, blocks, kept, some, last, ctx.needs_input_grad[1])

    @staticmethod
    def jvp(ctx: Any, _settings: None, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return *_pushed(_outputs(ctx.settings), levels.alive(*ctx.saved_tensors), tangents), None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], settings: Settings, *tensors: Tensor
    ) -> tuple[Outputs, tuple[Any, ...]]:
        def run(*given: Tensor) -> Outputs:
            return _Rollout.apply(settings, *given)  # type: ignore[return-value]

        return over_batches(run, info.batch_size, in_dims[1:], tensors)


def gradients(
    settings: Settings, u: Tensor, x0: Tensor, blocks: Sequence[Tensor], kept: Tensor, gy: Tensor, gx_last: Tensor
) -> tuple[Tensor, ...]:
    """The gradients of `adjoint.backward`, all of them, themselves differentiable.

    Args:
        settings: see `Settings`.
        u: (batch, time, nu).
        x0: (batch, nx).
        blocks: in the order of `BLOCKS`.
        kept: what the forward pass kept.
        gy: (batch, time, ny).
        gx_last: (batch, nx).

    Returns:
        With respect to u, x0 and the blocks.
    """
    return _Gradients.apply(settings, kept, gy, gx_last, u, x0, *blocks)  # type: ignore[return-value]


class _Gradients(torch.autograd.Function):
    @staticmethod
    def forward(
        settings: Settings, kept: Tensor, gy: Tensor, gx_last: Tensor, u: Tensor, x0: Tensor, *blocks: Tensor
    ) -> tuple[Tensor, ...]:
        found = adjoint.backward(settings, u, x0, blocks, kept, gy, gx_last, True)
        return tuple(g.clone(memory_format=torch.contiguous_format) for g in found if g is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.settings, _, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        _, pull = levels.vjp(_pulled(ctx.settings), *levels.alive(*ctx.saved_tensors))
        return None, None, *pull(cotangents)

    @staticmethod
    def jvp(ctx: Any, _settings: None, _kept: Any, *tangents: Tensor | None) -> Any:  # type: ignore[override]
        return _pushed(_pulled(ctx.settings), levels.alive(*ctx.saved_tensors), tangents)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], settings: Settings, *tensors: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        def run(*given: Tensor) -> tuple[Tensor, ...]:
            return _Gradients.apply(settings, *given)  # type: ignore[return-value]

        found = levels.one_by_one(run, info.batch_size, in_dims[1:], tensors)
        return found, (0,) * len(found)


# torch asks for the signature at every call, and inspecting it takes longer than a short rollout
for _function in (_Rollout, _Gradients):
    _function.forward.__signature__ = inspect.signature(_function.forward)  # type: ignore[attr-defined]


def _outputs(settings: Settings) -> Callable[..., tuple[Tensor, ...]]:
    """(u, x0, *blocks) ↦ y and the last state, by the reference."""

    def function(u: Tensor, x0: Tensor, *blocks: Tensor) -> tuple[Tensor, ...]:
        fields: dict[str, Any] = dict(zip(BLOCKS, blocks, strict=True))
        lfr = LFR(**fields, activation=settings.activation, dt=settings.dt)
        return reference.rollout(lfr, u, x0, lfr.is_acyclic, settings.tolerance)

    return function


def _pulled(settings: Settings) -> Callable[..., tuple[Tensor, ...]]:
    """(gy, gx_last, u, x0, *blocks) ↦ the gradients with respect to u, x0 and the blocks, by the reference."""

    def function(gy: Tensor, gx_last: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        _, pull = levels.vjp(_outputs(settings), *tensors)
        return pull((gy, gx_last))

    return function


def _pushed(
    function: Callable[..., tuple[Tensor, ...]], primals: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """The tangents of function(*primals), for the jvp of a Function."""
    chosen = [i for i, t in enumerate(tangents) if t is not None]

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(chosen, tensors[len(primals) :], strict=True))
        here = list(tensors[: len(primals)])
        return levels.push(function, here, [given.get(i) for i in range(len(here))])

    return levels.one_level_down(run, *primals, *(tangents[i] for i in chosen))  # type: ignore[arg-type]


def over_batches(
    run: Any, size: int, dims: Sequence[int | None], tensors: Sequence[Tensor]
) -> tuple[Outputs, tuple[int, ...]]:
    """vmap: more inputs and initial states are more lanes of the batch; more systems are rolled out one by one.

    Args:
        run: (u, x0, *blocks) → the rollout's outputs.
        size: how many.
        dims: the dimension mapped over, for each of the tensors.
        tensors: u, x0 and the blocks.

    Returns:
        The outputs, and the dimension that is mapped over in each.
    """
    if any(dim is not None for dim in dims[2:]):
        return levels.one_by_one(run, size, dims, tensors), (0,) * 5  # type: ignore[return-value]
    u, x0 = (
        t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(tensors[:2], dims[:2], strict=True)
    )
    outputs = run(u.flatten(0, 1), x0.flatten(0, 1), *tensors[2:])
    lanes = u.shape[1]
    split = [
        t.unflatten(0, (size, lanes)) if t.ndim and len(t) == size * lanes else t.expand(size, *t.shape)
        for t in outputs
    ]
    return tuple(split), (0,) * 5  # type: ignore[return-value]
