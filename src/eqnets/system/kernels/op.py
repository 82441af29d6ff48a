"""The rollout as an operator of torch, so that `torch.compile(fullgraph=True)` takes it whole.

Eager code does not go through it: the dispatcher of a custom operator costs more than a small rollout. An activation
crosses as its name; one that no name stands for cannot be compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system import nonlinearity
from eqnets.system.kernels import adjoint, codes, derivatives
from eqnets.system.kernels.adjoint import Outputs, Settings
from eqnets.system.lfr import LFR


def rollout(lfr: LFR, u: Tensor, x0: Tensor, settings: Settings) -> Outputs:
    """As `derivatives.rollout`, through the operator.

    Args:
        lfr: a discrete LFR in the dtype of u.
        u: (batch, time, nu).
        x0: (batch, nx).
        settings: see `Settings`; the activation must be one that a name stands for.

    Returns:
        As `derivatives.rollout`.

    Raises:
        InputError: the activation has no name that `eqnets.system.nonlinearity.get` knows.
    """
    name = settings.activation.name
    try:
        nonlinearity.get(name)
    except InputError as error:
        raise InputError(f"torch.compile needs an activation with a known name; '{name[:60]}' is none.") from error
    _, dt, tolerance, every, kernel = settings
    return _rollout(u, x0, list(lfr.blocks().values()), name, dt or 1.0, tolerance, every, kernel)


def _settings(activation: str, dt: float, tolerance: float, every: int, kernel: str) -> Settings:
    return Settings(nonlinearity.get(activation), dt, tolerance, every, kernel)


_SETTINGS = "str activation, float dt, float tolerance, SymInt every, str kernel"
"""The schemas are written out: torch 2.6 cannot infer them from `list[Tensor]`."""


@torch.library.custom_op(
    "eqnets::rollout", mutates_args=(),
    schema=f"(Tensor u, Tensor x0, Tensor[] blocks, {_SETTINGS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)  # fmt: skip
def _rollout(
    u: Tensor, x0: Tensor, blocks: list[Tensor], activation: str, dt: float, tolerance: float, every: int, kernel: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    outputs = adjoint.forward(_settings(activation, dt, tolerance, every, kernel), u, x0, blocks)
    if every == 0:  # an operator's outputs are all defined, also where no kernel writes or reads
        nx, nv, nu, _ = codes.sizes(blocks)
        outputs[2][:, :, nx + nu + 1 + nv :] = 0
        outputs[2][:, -1, nx:] = 0
    return outputs


@_rollout.register_fake
def _(
    u: Tensor, x0: Tensor, blocks: list[Tensor], activation: str, dt: float, tolerance: float, every: int, kernel: str
) -> Outputs:
    kept = u.new_empty(adjoint.kept_shape(every, u, blocks))
    y = u.new_empty(*u.shape[:2], blocks[8].shape[0])
    return y, torch.empty_like(x0), kept, u.new_empty(u.shape[0]), u.new_empty((), dtype=torch.int64)


@torch.library.custom_op(
    "eqnets::rollout_backward", mutates_args=(),
    schema=f"(Tensor u, Tensor x0, Tensor[] blocks, Tensor kept, Tensor gy, Tensor gx_last, {_SETTINGS}) -> Tensor[]",
)  # fmt: skip
def _backward(
    u: Tensor, x0: Tensor, blocks: list[Tensor], kept: Tensor, gy: Tensor, gx_last: Tensor, activation: str, dt: float,
    tolerance: float, every: int, kernel: str,
) -> list[Tensor]:  # fmt: skip
    settings = _settings(activation, dt, tolerance, every, kernel)
    gradients = adjoint.backward(settings, u, x0, blocks, kept, gy, gx_last, True)
    return [g.contiguous().clone() for g in gradients if g is not None]


@_backward.register_fake
def _(u: Tensor, x0: Tensor, blocks: list[Tensor], *rest: Any) -> list[Tensor]:
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in (u, x0, *blocks)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    u, x0, blocks, *ctx.settings = inputs
    ctx.save_for_backward(u, x0, *blocks, output[2])


def _gradients(ctx: Any, gy: Tensor, gx_last: Tensor, *unused: Tensor) -> tuple[Any, ...]:
    u, x0, *blocks, kept = ctx.saved_tensors
    if torch.is_grad_enabled():
        found = list(derivatives.gradients(_settings(*ctx.settings), u, x0, blocks, kept, gy, gx_last))
    else:
        found = _backward(u, x0, blocks, kept, gy, gx_last, *ctx.settings)
    return found[0], found[1], list(found[2:]), None, None, None, None, None


_rollout.register_autograd(_gradients, setup_context=_setup)


@_rollout.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], u: Tensor, x0: Tensor, blocks: list[Tensor], *settings: Any) -> Any:
    def run(u: Tensor, x0: Tensor, *given: Tensor) -> Outputs:
        return _rollout(u, x0, list(given), *settings)

    dims = [in_dims[0], in_dims[1], *(in_dims[2] or [None] * len(blocks))]
    return derivatives.over_batches(run, info.batch_size, dims, [u, x0, *blocks])
