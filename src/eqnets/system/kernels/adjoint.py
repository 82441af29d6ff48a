"""The fast rollout in plain torch: one loop without autograd, one hand-written adjoint loop, gradients as GEMMs.

With z_t = [x_t; w_t], J_t = diag φ'(v_t) and λ_{t+1} the multiplier of x_{t+1}, the adjoint recursion is

    r_t   = ∂L/∂w_t + B1ᵀ λ_{t+1} + D21ᵀ ∂L/∂y_t
    μ_t   = J_t (I − D11ᵀ J_t)⁻¹ r_t                      (multiplier of v_t)
    λ_t   = Aᵀ λ_{t+1} + C2ᵀ ∂L/∂y_t + C1ᵀ μ_t

and every parameter's gradient is one product over (time × batch) after the loop. Second derivatives go through the
reference rollout, exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eqnets.system.kernels import reference
from eqnets.system.kernels.equilibrium import newton, substitute
from eqnets.system.lfr import BLOCKS, LFR


def rollout(lfr: LFR, u: Tensor, x0: Tensor, acyclic: bool, tolerance: float) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Roll the LFR out in time; arguments as for the reference.

    Args:
        lfr: a discrete LFR in the dtype of u.
        u: (batch, time, nu).
        x0: (batch, nx).
        acyclic: whether D11 is strictly lower triangular.
        tolerance: the residual of the equilibrium, where it has to be solved for.

    Returns:
        y (batch, time, ny), the state after the last sample (batch, nx), and statistics (`steps`, `residual`).
    """
    statistics: dict[str, Any] = {}
    settings = (lfr.activation, lfr.dt, acyclic, bool(lfr.D11.detach().any()), tolerance, statistics)
    y, x_last, *_ = _Rollout.apply(settings, u, x0, *lfr.blocks().values())  # type: ignore[misc]
    return y, x_last, statistics


class _Rollout(torch.autograd.Function):
    @staticmethod
    def forward(settings: tuple[Any, ...], u: Tensor, x0: Tensor, *blocks: Tensor) -> tuple[Tensor, ...]:
        activation, dt, acyclic, coupled, tolerance, statistics = settings
        b = dict(zip(BLOCKS, blocks, strict=True))
        nx = x0.shape[-1]
        ut = u.transpose(0, 1)  # (time, batch, nu)
        to_v = (ut @ b["D12"].mT + b["bv"]).unbind(0)
        to_x = (ut @ b["B2"].mT + b["bx"]).unbind(0)
        C1T, D11T = b["C1"].mT.contiguous(), b["D11"].mT.contiguous()
        ABT = torch.cat([b["A"], b["B1"]], 1).mT.contiguous()
        z = u.new_empty(ut.shape[0], ut.shape[1], nx + D11T.shape[0])
        v_all = u.new_empty(ut.shape[0], ut.shape[1], D11T.shape[0])
        x, sweeps, most = x0, 2, 0
        residual = u.new_zeros(u.shape[0])
        w = u.new_zeros(u.shape[0], D11T.shape[0])
        for z_t, v_out, v_t, x_t in zip(z.unbind(0), v_all.unbind(0), to_v, to_x, strict=True):
            v = torch.addmm(v_t, x, C1T)
            if not coupled:
                w = activation.value(v)
            elif acyclic:
                v, w, sweeps = substitute(activation, D11T, v, sweeps)
                most = max(most, sweeps)
            else:
                v, w, size, steps = newton(activation, b["D11"], v, w, tolerance)
                reference.require_converged(size, w, tolerance)
                residual, most = torch.maximum(residual, size), max(most, steps)
            z_t[:, :nx] = x
            z_t[:, nx:] = w
            v_out.copy_(v)
            x = torch.addmm(x_t, z_t, ABT)
        y = ut @ b["D22"].mT + b["by"] + z @ torch.cat([b["C2"], b["D21"]], 1).mT
        statistics.update(steps=most, residual=residual)
        return y.transpose(0, 1), x.clone() if x is x0 else x, z, v_all

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        settings, *tensors = inputs
        _, _, z, v_all = output
        ctx.settings = settings
        ctx.mark_non_differentiable(z, v_all)
        ctx.set_materialize_grads(True)
        ctx.save_for_backward(*tensors, z, v_all)

    @staticmethod
    def backward(ctx: Any, gy: Tensor, gx_last: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, z, v_all = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradient is wanted: exact through the reference
            return None, *_second_order(ctx.settings, tensors, gy, gx_last)
        activation, _, acyclic, coupled, _, _ = ctx.settings
        u, x0, *blocks = tensors
        b = dict(zip(BLOCKS, blocks, strict=True))
        nx, nv = x0.shape[-1], v_all.shape[-1]
        ut, gyt = u.transpose(0, 1), gy.transpose(0, 1)
        AB = torch.cat([b["A"], b["B1"]], 1)
        gz = (gyt @ torch.cat([b["C2"], b["D21"]], 1)).unbind(0)
        slope = activation.derivative(v_all)
        lam = u.new_empty(ut.shape[0], ut.shape[1], nx)  # λ_{t+1}
        mu = u.new_empty(ut.shape[0], ut.shape[1], nv)
        sweeps = 2
        lx = gx_last
        D11, C1 = b["D11"].contiguous(), b["C1"].contiguous()
        identity = torch.eye(nv, dtype=u.dtype, device=u.device)
        for t in range(ut.shape[0] - 1, -1, -1):
            lam[t] = lx
            g = torch.addmm(gz[t], lx, AB)
            r, J = g[:, nx:], slope[t]
            if not coupled:
                m = J * r
            elif acyclic:
                m, sweeps = _substitute_adjoint(D11, J, r, sweeps)
            else:
                system = identity - J[:, :, None] * D11
                m = J * torch.linalg.solve(system.mT, r[:, :, None])[:, :, 0]
            mu[t] = m
            lx = torch.addmm(g[:, :nx], m, C1)
        lam2, mu2, gy2 = lam.flatten(0, 1), mu.flatten(0, 1), gyt.flatten(0, 1)
        z2, u2 = z.flatten(0, 1), ut.flatten(0, 1)
        dAB, dCD, dE = lam2.mT @ z2, mu2.mT @ z2, gy2.mT @ z2
        gradients = {
            "A": dAB[:, :nx], "B1": dAB[:, nx:], "B2": lam2.mT @ u2, "bx": lam2.sum(0),
            "C1": dCD[:, :nx], "D11": dCD[:, nx:], "D12": mu2.mT @ u2, "bv": mu2.sum(0),
            "C2": dE[:, :nx], "D21": dE[:, nx:], "D22": gy2.mT @ u2, "by": gy2.sum(0),
        }  # fmt: skip
        gu = None
        if ctx.needs_input_grad[1]:
            gu = (lam @ b["B2"] + mu @ b["D12"] + gyt @ b["D22"]).transpose(0, 1)
        return None, gu, lx, *(gradients[name] for name in BLOCKS)


def _substitute_adjoint(D11: Tensor, J: Tensor, r: Tensor, sweeps: int) -> tuple[Tensor, int]:
    """μ = J (r + D11ᵀ μ) by sweeps, exact after nv of them; the same stopping rule as the forward substitution."""
    m = J * r
    nv, eps, done = r.shape[-1], 4 * torch.finfo(r.dtype).eps, 0
    while done < nv:
        for _ in range(min(max(sweeps - done, 1), nv - done)):
            previous, m = m, J * torch.addmm(r, m, D11)
            done += 1
        change = (m - previous).abs_().max()
        if change <= eps * m.abs().max():
            return m, done - 1 if change == 0 else done
    return m, done


def _second_order(
    settings: tuple[Any, ...], tensors: list[Tensor], gy: Tensor, gx_last: Tensor
) -> tuple[Tensor | None, ...]:
    activation, dt, acyclic, _, tolerance, _ = settings
    u, x0, *blocks = tensors
    lfr = LFR(**dict(zip(BLOCKS, blocks, strict=True)), activation=activation, dt=dt)
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    outputs = reference.rollout(lfr, u, x0, acyclic, tolerance)
    found = iter(torch.autograd.grad(outputs, wanted, (gy, gx_last), create_graph=True, allow_unused=True))
    return tuple(next(found) if tensor.requires_grad else None for tensor in tensors)
