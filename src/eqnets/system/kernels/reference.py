"""The reference rollout: plain torch, differentiable by autograd to every order. Every kernel must equal it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eqnets.equilibrium import levels
from eqnets.errors import NotConverged
from eqnets.system.kernels.equilibrium import full
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Activation, PerNeuron

_BLOCK = 8


def rollout(lfr: LFR, u: Tensor, x0: Tensor, acyclic: bool, tolerance: float) -> tuple[Tensor, Tensor]:
    """Roll the LFR out in time.

    Args:
        lfr: a discrete LFR in the dtype of u.
        u: (batch, time, nu).
        x0: (batch, nx).
        acyclic: whether D11 is strictly lower triangular.
        tolerance: the residual of the equilibrium, where it has to be solved for.

    Returns:
        y (batch, time, ny) and the state after the last sample (batch, nx).
    """
    D11 = torch.tril(lfr.D11, -1) if acyclic else lfr.D11  # what is zero in an acyclic D11 is no variable
    to_v = u @ lfr.D12.mT + lfr.bv
    to_x = u @ lfr.B2.mT + lfr.bx
    x, states, neurons = x0, [], []
    w = torch.zeros_like(to_v[:, 0]) if u.shape[1] else None
    for v_t, x_t in zip(to_v.unbind(1), to_x.unbind(1), strict=True):
        b = v_t + x @ lfr.C1.mT
        w = _acyclic(lfr.activation, D11, b) if acyclic else _full(lfr.activation, D11, b, w, tolerance)
        states.append(x)
        neurons.append(w)
        x = x_t + x @ lfr.A.mT + w @ lfr.B1.mT
    y = u @ lfr.D22.mT + lfr.by
    if states:
        y = y + torch.stack(states, 1) @ lfr.C2.mT + torch.stack(neurons, 1) @ lfr.D21.mT
    return y, x


def _acyclic(activation: Activation, D11: Tensor, b: Tensor) -> Tensor:
    """Block substitution; inside a block of k neurons the k sweeps are exact, since the block is nilpotent."""
    pieces: list[Tensor] = []
    for start in range(0, b.shape[-1], _BLOCK):
        block = slice(start, min(start + _BLOCK, b.shape[-1]))
        phi = PerNeuron(activation.parts[block]) if isinstance(activation, PerNeuron) else activation
        c = b[:, block]
        if pieces:
            c = c + torch.cat(pieces, -1) @ D11[block, :start].mT
        w = phi.value(c)
        for _ in range(c.shape[-1] - 1):
            w = phi.value(c + w @ D11[block, block].mT)
        pieces.append(w)
    return torch.cat(pieces, -1) if pieces else b


def _full(activation: Activation, D11: Tensor, b: Tensor, start: Tensor | None, tolerance: float) -> Tensor:
    """Solve without gradients, then attach them by two differentiable Newton steps.

    One Newton step from the solution has the exact first derivative, and each further step doubles the order that is
    exact: two of them suffice for gradients of gradients.
    """  # noqa: DOC201
    w = _Equilibrium.apply(activation, tolerance, D11, b, torch.zeros_like(b) if start is None else start)
    identity = torch.eye(D11.shape[0], dtype=D11.dtype, device=D11.device)
    for _ in range(2):
        v = b + w @ D11.mT
        jacobian = identity - activation.derivative(v)[:, :, None] * D11
        # an inverse: vmap over the forward mode of torch.linalg.solve reads memory that nobody wrote (torch 2.13)
        w = w - (torch.linalg.inv(jacobian) @ (w - activation.value(v))[:, :, None])[:, :, 0]
    return w


class _Equilibrium(torch.autograd.Function):
    """(activation, tolerance, D11, b, start) → w, without derivatives: the solve looks at values."""

    @staticmethod
    def forward(activation: Activation, tolerance: float, D11: Tensor, b: Tensor, start: Tensor) -> Tensor:
        _, w, residual, _ = full(activation, D11, b, start, tolerance)
        require_converged(residual, w, tolerance)
        return w

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del inputs
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *unused: Any) -> tuple[None, ...]:
        del ctx, unused
        return (None,) * 5

    @staticmethod
    def jvp(ctx: Any, *unused: Any) -> None:
        del ctx, unused

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], activation: Activation, tolerance: float, *tensors: Tensor
    ) -> tuple[Tensor, int]:
        def run(*given: Tensor) -> tuple[Tensor, ...]:
            return (_Equilibrium.apply(activation, tolerance, *given),)  # type: ignore[return-value]

        return levels.one_by_one(run, info.batch_size, in_dims[2:], tensors)[0], 0


def require_converged(residual: Tensor, w: Tensor, tolerance: float) -> None:
    """Raise where the equilibrium was not found.

    Args:
        residual: (batch,) max |w − φ(v)|.
        w: (batch, nv).
        tolerance: the tolerance, relative to 1 + max |w|.

    Raises:
        NotConverged: a finite sample's residual is above the tolerance; the message says which.
    """
    failed = residual > 10 * tolerance * (1 + w.abs().amax(-1))
    if bool(failed.any()):
        which = torch.nonzero(failed).flatten().tolist()
        raise NotConverged(
            f"the equilibrium w = φ(D11 w + b) was not found for samples {which[:8]}{'…' if len(which) > 8 else ''} of "
            f"the batch: the largest residual is {float(residual.max()):.3g}. Check that the model is well posed "
            "(eqnets.certify(WellPosed(), lfr)), or use an acyclic D11.",
            status=residual.detach(),
        )
