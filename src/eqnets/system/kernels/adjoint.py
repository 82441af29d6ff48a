"""The fast rollout: one pass without autograd, one hand-written adjoint, every parameter's gradient from one product.

With the rows z_t = [x_t; u_t; 1; w_t], J_t = diag φ'(v_t) and λ_{t+1} the multiplier of x_{t+1}, the adjoint is

    r_t   = B1ᵀ λ_{t+1} + D21ᵀ ∂L/∂y_t
    μ_t   = J_t (I − D11ᵀ J_t)⁻¹ r_t                      (multiplier of v_t)
    λ_t   = Aᵀ λ_{t+1} + C2ᵀ ∂L/∂y_t + C1ᵀ μ_t

and dW = Σ_t [λ_{t+1}; ∂L/∂y_t; μ_t] z_tᵀ holds the gradients of all twelve blocks. Three kernels fill the same rows: C,
numba (acyclic D11 only), and the torch loops of this file, which also take over where C's Newton iterations do not find
the equilibrium of a full D11. `derivatives` makes them known to torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eqnets.equilibrium import levels
from eqnets.system.kernels import codes, fused, native, reference
from eqnets.system.kernels.equilibrium import full, substitute
from eqnets.system.lfr import BLOCKS, LFR
from eqnets.system.nonlinearity import Activation

KEEP = 1 << 26
"""The most bytes of rows that are kept for the backward pass; beyond, they are computed again from kept states."""
_EVERY = 64


class Settings(NamedTuple):
    """What a rollout is besides its tensors.

    Args:
        activation: φ.
        dt: the sample time.
        tolerance: the residual of the equilibrium, where it has to be solved for.
        every: 0 keeps all rows for the backward pass, −1 none, k the states of every k-th step.
        kernel: `"c"`, `"numba"`, `"torch"`, or `"auto"` for the fastest that can run.
    """

    activation: Activation
    dt: float | None
    tolerance: float
    every: int
    kernel: str


Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def choose(activation: Activation, dtype: torch.dtype, device: torch.device) -> str:
    """The fastest kernel that can run here."""
    if native.available(activation, dtype, device):
        return "c"
    return "numba" if fused.available(activation, dtype, device) else "torch"


def fitting(kernel: str, acyclic: bool) -> str:
    """The kernel itself, or the torch loops where it is numba's, whose substitution needs an acyclic D11."""
    return "torch" if kernel == "numba" and not acyclic else kernel


def memory(lfr: LFR, u: Tensor, x0: Tensor, kernel: str) -> int:
    """What to keep for the backward pass: see `Settings.every`."""
    tensors = (u, x0, *lfr.blocks().values())
    # a transform hides what requires a gradient
    wanted = torch.is_grad_enabled() and (levels.transformed() or any(t.requires_grad for t in tensors))
    if kernel not in ("c", "auto"):
        return 0
    if not wanted:
        return -1
    size = u.shape[0] * (u.shape[1] + 1) * codes.row(list(lfr.blocks().values())) * u.element_size()
    return _EVERY if size > KEEP or codes.needs_argument(lfr.activation) else 0


def kept_shape(every: int, u: Tensor, blocks: Sequence[Tensor]) -> tuple[int, ...]:
    """The shape of what a forward pass keeps."""
    batch, time = u.shape[:2]
    if every < 0:
        return (0,)
    return (batch, -(-time // every), blocks[0].shape[0]) if every else (batch, time + 1, codes.row(blocks))


def forward(settings: Settings, u: Tensor, x0: Tensor, blocks: Sequence[Tensor]) -> Outputs:
    """The rollout without gradients; arguments and outputs as for `derivatives.rollout`."""
    u, x0, *blocks = _resolved(u, x0, *blocks)
    coupled, acyclic = _structure(u, blocks)
    if settings.kernel == "auto":
        settings = settings._replace(kernel=choose(settings.activation, u.dtype, u.device))
    every = settings.every
    residual, steps = u.new_zeros(u.shape[0]), torch.zeros((), dtype=torch.int64, device=u.device)
    if settings.kernel == "c":
        Z = u.new_empty(kept_shape(every, u, blocks))
        found = native.forward(settings.activation, blocks, (coupled, acyclic), every, u, x0, Z, settings.tolerance)
        if found is not None:
            y, x_last, residual, steps = found
            return y, x_last, Z, residual, steps
    b = dict(zip(BLOCKS, blocks, strict=True))
    Z = u.new_zeros(kept_shape(0, u, blocks))
    nx, nv, nu, _ = codes.sizes(blocks)
    slot = nx + nu + 1
    Z[:, :-1, nx : nx + nu], Z[:, :, nx + nu] = u, 1
    if fitting(settings.kernel, acyclic) == "numba":
        to_v, to_x = u @ b["D12"].mT + b["bv"], u @ b["B2"].mT + b["bx"]
        x_last = fused.forward(settings.activation, blocks, to_v, to_x, x0, Z)
    else:
        x_last, residual, most = _forward_loop(settings, b, coupled, acyclic, x0, Z)
        steps.fill_(most)
    y = Z[:, :-1, : slot + nv] @ torch.cat([b["C2"], b["D22"], b["by"][:, None], b["D21"]], 1).mT
    kept = Z if every == 0 else Z[:, :-1:every, :nx].clone() if every > 0 else Z.new_empty(0)
    return y, x_last, kept, residual, steps


def backward(
    settings: Settings, u: Tensor, x0: Tensor, blocks: Sequence[Tensor], kept: Tensor, gy: Tensor, gx_last: Tensor,
    want_u: bool,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The gradients with respect to u (or None), x0 and the blocks, in the order of `BLOCKS`.

    That of an acyclic D11 is with respect to its strictly lower triangle.
    """  # noqa: DOC201
    u, x0, gy, gx_last, *blocks = _resolved(u, x0, gy, gx_last, *blocks)
    coupled, acyclic = _structure(u, blocks)
    if settings.kernel == "auto":
        settings = settings._replace(kernel=choose(settings.activation, u.dtype, u.device))
    if settings.every < 0:  # nothing was kept
        settings = settings._replace(every=0)
        kept = forward(settings, u, x0, blocks)[2]
    if settings.kernel == "c":
        found = native.backward(
            settings.activation, blocks, (coupled, acyclic), settings.every, u, kept, gy, gx_last, want_u,
            settings.tolerance,
        )  # fmt: skip
        if found is not None:
            gu, gx0, dW = found
            return gu, gx0, *_unpack(dW, blocks, acyclic)
        settings = settings._replace(kernel="torch")
    Z = kept if settings.every == 0 else forward(settings._replace(every=0), u, x0, blocks)[2]
    b = dict(zip(BLOCKS, blocks, strict=True))
    nx, nv, nu, ny = codes.sizes(blocks)
    rows = Z[:, :-1, : nx + nu + 1 + nv]
    v = rows @ torch.cat([b["C1"], b["D12"], b["bv"][:, None], b["D11"]], 1).mT
    slope, gz = settings.activation.derivative(v), gy @ torch.cat([b["C2"], b["D21"]], 1)
    G = u.new_empty(*u.shape[:2], nx + ny + nv)
    G[:, :, nx : nx + ny] = gy
    if fitting(settings.kernel, acyclic) == "numba":
        gx0 = fused.backward(blocks, gz, slope, gx_last, G)
    else:
        gx0 = _backward_loop(b, coupled, acyclic, gz, slope, gx_last, G)
    gu = G @ torch.cat([b["B2"], b["D22"], b["D12"]], 0) if want_u else None
    return gu, gx0, *_unpack(G.flatten(0, 1).mT @ rows.flatten(0, 1), blocks, acyclic)


def _resolved(*tensors: Tensor) -> Sequence[Tensor]:
    """Tensors whose memory holds their numbers: that of a conjugate's torch.imag holds the other sign."""
    return [t.resolve_neg() for t in tensors] if any(t.is_neg() for t in tensors) else tensors


def _structure(u: Tensor, blocks: Sequence[Tensor]) -> tuple[bool, bool]:
    """Whether there is something to substitute in D11, and whether none of it lies on or above the diagonal."""
    D11 = blocks[4].detach()
    if not u.shape[0]:  # no lanes: nothing to solve for
        return False, True
    if D11.device.type != "cpu":
        return bool(D11.any()), not bool(torch.triu(D11).any())
    found = native.structure(D11)
    if found is not None:
        return found
    array = D11.numpy()  # numpy wakes no threads for a small matrix
    coupled = bool(array.any())
    return coupled, not coupled or not bool(np.triu(array).any())


def _unpack(dW: Tensor, blocks: Sequence[Tensor], acyclic: bool) -> list[Tensor]:
    """The blocks' gradients, cut out of Σ [λ; ∂y; μ] [x; u; 1; w]ᵀ."""
    nx, nv, nu, ny = codes.sizes(blocks)
    x, u, one, w = slice(nx), slice(nx, nx + nu), nx + nu, slice(nx + nu + 1, nx + nu + 1 + nv)
    state, out, neurons = dW[:nx], dW[nx : nx + ny], dW[nx + ny :]
    D11 = torch.tril(neurons[:, w], -1) if acyclic else neurons[:, w]
    return [
        state[:, x], state[:, w], state[:, u], neurons[:, x], D11, neurons[:, u], out[:, x], out[:, w], out[:, u],
        state[:, one], neurons[:, one], out[:, one],
    ]  # fmt: skip


def _forward_loop(
    settings: Settings, b: dict[str, Tensor], coupled: bool, acyclic: bool, x0: Tensor, Z: Tensor
) -> tuple[Tensor, Tensor, int]:
    """The time loop in torch; fills x and w of the rows. Returns the last state, the residual and the most steps."""
    nx, nv = b["C1"].mT.shape
    to_v = torch.cat([b["C1"], b["D12"], b["bv"][:, None]], 1).mT.contiguous()
    to_x = torch.cat([b["A"], b["B2"], b["bx"][:, None], b["B1"]], 1).mT.contiguous()
    slot, D11T = to_v.shape[0], b["D11"].mT.contiguous()
    sweeps, most = 2, 0
    residual, w = Z.new_zeros(Z.shape[0]), Z.new_zeros(Z.shape[0], nv)
    Z[:, 0, :nx] = x0
    rows = Z.unbind(1)
    for row, after in zip(rows, rows[1:], strict=False):
        v = row[:, :slot] @ to_v
        if not coupled:
            w = settings.activation.value(v)
        elif acyclic:
            _, w, sweeps = substitute(settings.activation, D11T, v, sweeps)
            most = max(most, sweeps)
        else:
            _, w, size, steps = full(settings.activation, b["D11"], v, w, settings.tolerance)
            reference.require_converged(size, w, settings.tolerance)
            residual, most = torch.maximum(residual, size), max(most, steps)
        row[:, slot : slot + nv] = w
        after[:, :nx] = row[:, : slot + nv] @ to_x
    return Z[:, -1, :nx].clone(), residual, most


def _backward_loop(
    b: dict[str, Tensor], coupled: bool, acyclic: bool, gz: Tensor, slope: Tensor, lx: Tensor, G: Tensor
) -> Tensor:
    """The adjoint's time loop in torch; fills λ and μ of G, and returns the gradient with respect to x0."""
    nx, nv = b["C1"].mT.shape
    AB = torch.cat([b["A"], b["B1"]], 1)
    D11, C1 = b["D11"].contiguous(), b["C1"].contiguous()
    identity = torch.eye(nv, dtype=gz.dtype, device=gz.device)
    sweeps = 2
    for row, gz_t, J in zip(*(t.unbind(1)[::-1] for t in (G, gz, slope)), strict=True):
        row[:, :nx] = lx
        g = torch.addmm(gz_t, lx, AB)
        r = g[:, nx:]
        if not coupled:
            m = J * r
        elif acyclic:
            m, sweeps = _substitute_adjoint(D11, J, r, sweeps)
        else:
            system = identity - J[:, :, None] * D11
            m = J * torch.linalg.solve(system.mT, r[:, :, None])[:, :, 0]
        row[:, G.shape[2] - nv :] = m
        lx = torch.addmm(g[:, :nx], m, C1)
    return lx.clone()


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
