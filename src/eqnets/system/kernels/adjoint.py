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

from eqnets.system.kernels import fused, reference
from eqnets.system.kernels.equilibrium import newton, substitute
from eqnets.system.lfr import BLOCKS, LFR
from eqnets.system.nonlinearity import Activation


def rollout(
    lfr: LFR, u: Tensor, x0: Tensor, acyclic: bool, tolerance: float, compiled: bool = True
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Roll the LFR out in time; arguments as for the reference.

    Args:
        lfr: a discrete LFR in the dtype of u.
        u: (batch, time, nu).
        x0: (batch, nx).
        acyclic: whether D11 is strictly lower triangular.
        tolerance: the residual of the equilibrium, where it has to be solved for.
        compiled: whether the numba loops may run, where they can.

    Returns:
        y (batch, time, ny), the state after the last sample (batch, nx), and statistics (`steps`, `residual`,
        `compiled`).
    """
    compiled = compiled and acyclic and fused.available(lfr.activation, u)
    statistics: dict[str, Any] = {"compiled": compiled}
    settings = (lfr.activation, lfr.dt, acyclic, bool(lfr.D11.detach().any()), compiled, tolerance, statistics)
    y, x_last, *_ = _Rollout.apply(settings, u, x0, *lfr.blocks().values())  # type: ignore[misc]
    return y, x_last, statistics


class _Rollout(torch.autograd.Function):
    @staticmethod
    def forward(settings: tuple[Any, ...], u: Tensor, x0: Tensor, *blocks: Tensor) -> tuple[Tensor, ...]:
        activation, dt, acyclic, coupled, compiled, tolerance, statistics = settings
        b = dict(zip(BLOCKS, blocks, strict=True))
        nx = x0.shape[-1]
        ut = u.transpose(0, 1)  # (time, batch, nu)
        nv = b["D11"].shape[0]
        z = u.new_empty(*ut.shape[:2], nx + nv)
        v_all = u.new_empty(*ut.shape[:2], nv)
        to_v, to_x = ut @ b["D12"].mT + b["bv"], ut @ b["B2"].mT + b["bx"]
        if compiled:
            x = fused.forward(activation, b, to_v, to_x, x0, z, v_all)
        else:
            x = _forward_loop(activation, b, acyclic, coupled, tolerance, to_v, to_x, x0, z, v_all, statistics)
        y = ut @ b["D22"].mT + b["by"] + z @ torch.cat([b["C2"], b["D21"]], 1).mT
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
    def backward(ctx: Any, gy: Tensor, gx_last: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        del unused
        *tensors, z, v_all = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradient is wanted: exact through the reference
            return None, *_second_order(ctx.settings, tensors, gy, gx_last)
        activation, _, acyclic, coupled, compiled, *_ = ctx.settings
        u, x0, *blocks = tensors
        b = dict(zip(BLOCKS, blocks, strict=True))
        nx, nv = x0.shape[-1], v_all.shape[-1]
        ut, gyt = u.transpose(0, 1), gy.transpose(0, 1)
        gz = gyt @ torch.cat([b["C2"], b["D21"]], 1)
        slope = activation.derivative(v_all)
        lam = u.new_empty(*ut.shape[:2], nx)  # λ_{t+1}
        mu = u.new_empty(*ut.shape[:2], nv)
        if compiled:
            lx = fused.backward(b, gz, slope, gx_last, lam, mu)
        else:
            lx = _backward_loop(b, acyclic, coupled, gz, slope, gx_last, lam, mu)
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


def _forward_loop(
    activation: Activation, b: dict[str, Tensor], acyclic: bool, coupled: bool, tolerance: float, to_v: Tensor,
    to_x: Tensor, x: Tensor, z: Tensor, v_all: Tensor, statistics: dict[str, Any],
) -> Tensor:  # fmt: skip
    """The time loop in torch; fills z and v_all, and returns the last state."""
    nx = x.shape[-1]
    C1T, D11T = b["C1"].mT.contiguous(), b["D11"].mT.contiguous()
    ABT = torch.cat([b["A"], b["B1"]], 1).mT.contiguous()
    sweeps, most = 2, 0
    residual = z.new_zeros(z.shape[1])
    w = z.new_zeros(z.shape[1], D11T.shape[0])
    for z_t, v_out, v_t, x_t in zip(z.unbind(0), v_all.unbind(0), to_v.unbind(0), to_x.unbind(0), strict=True):
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
    statistics.update(steps=most, residual=residual)
    return x


def _backward_loop(
    b: dict[str, Tensor], acyclic: bool, coupled: bool, gz: Tensor, slope: Tensor, lx: Tensor, lam: Tensor, mu: Tensor
) -> Tensor:
    """The adjoint's time loop in torch; fills lam and mu, and returns the gradient with respect to x0."""
    nx = lx.shape[-1]
    AB = torch.cat([b["A"], b["B1"]], 1)
    D11, C1 = b["D11"].contiguous(), b["C1"].contiguous()
    identity = torch.eye(D11.shape[0], dtype=gz.dtype, device=gz.device)
    sweeps = 2
    for t in range(gz.shape[0] - 1, -1, -1):
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
    return lx


def _substitute_adjoint(D11: Tensor, J: Tensor, r: Tensor, sweeps: int) -> tuple[Tensor, int]:
    """μ = J (r + D11ᵀ μ) by sweeps, exact after nv of them; the same stopping rule as the forward substitution."""
    previous = m = J * r
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
    activation, dt, acyclic, _, _, tolerance, _ = settings
    u, x0, *blocks = tensors
    fields: dict[str, Any] = {**dict(zip(BLOCKS, blocks, strict=True)), "activation": activation, "dt": dt}
    lfr = LFR(**fields)
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    outputs = reference.rollout(lfr, u, x0, acyclic, tolerance)
    found = iter(torch.autograd.grad(outputs, wanted, (gy, gx_last), create_graph=True, allow_unused=True))
    return tuple(next(found) if tensor.requires_grad else None for tensor in tensors)
