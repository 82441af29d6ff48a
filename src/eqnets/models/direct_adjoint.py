"""The heart of the direct parametrisation, H → the explicit system, with its adjoint written by hand.

With R = [F, cB1, cB2] and [A, B1, B2] = E⁻¹R the adjoint of the solve is R̄ = E⁻ᵀ[Ā, B̄1, B̄2], Ē = −R̄[A, B1, B2]ᵀ;
division by Λ gives Λ̄ = −Σ_j (C̄1∘C1 + D̄11∘D11 + D̄12∘D12)/Λ; and H = T + ε(I + diag T), T = XᵀX give X̄ = X(T̄ + T̄ᵀ).
One inverse of E and two products of the size of X, where autograd needs about sixty operations. Everything is
float64; only the last product of the adjoint, whose result is rounded to X's dtype anyway, runs in that dtype. Second
derivatives, and transforms of torch.func, go through `plain`, which is the same map for autograd. On the CPU, where a
C compiler is found, `native` does the same in one call each way.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor

from eqnets.equilibrium import levels
from eqnets.models import native

Explicit = tuple[Tensor, ...]
"""A, B1, B2, C1, D11, D12 in the asked dtype; then E, cP and Λ in float64."""


def explicit(
    X: Tensor, terms: Tensor | None, Y1: Tensor, cB2: Tensor, cD12: Tensor, full: Tensor | None, eps: Tensor,
    rate: float, dtype: torch.dtype,
) -> Explicit:  # fmt: skip
    """The explicit system's dynamic blocks.

    Args:
        X: (·, 2nx + nv), float32 or float64.
        terms: (·, 2nx + nv), float64: what a supply adds, T = XᵀX + termsᵀ terms; None without one.
        Y1: (nx, nx).
        cB2: (nx, nu).
        cD12: (nv, nu).
        full: for a full D11 the (nv, nv + 1) matrix [lam, Y2]; None for a strictly lower triangular one.
        eps: ε, a scalar.
        rate: ᾱ.
        dtype: of the six blocks.

    Returns:
        A, B1, B2, C1, D11, D12 in `dtype`; E, cP and Λ in float64.
    """
    # a compiler fuses on its own, and takes no `out=`; under a transform torch differentiates
    if torch.compiler.is_compiling() or levels.transformed() or levels.forward_mode():
        return _rounded(plain(X, terms, Y1, cB2, cD12, full, eps, rate), dtype)
    return _Explicit.apply(rate, dtype, X, terms, Y1, cB2, cD12, full, eps)[:9]  # type: ignore[index]


def plain(
    X: Tensor, terms: Tensor | None, Y1: Tensor, cB2: Tensor, cD12: Tensor, full: Tensor | None, eps: Tensor,
    rate: float,
) -> Explicit:  # fmt: skip
    """The same map in float64 throughout, for autograd to differentiate; arguments and results as for `explicit`."""
    S, Y1, cB2, cD12, eps = (value.to(torch.float64) for value in (_stacked(X, terms), Y1, cB2, cD12, eps))
    nx, nv, nu = Y1.shape[0], cD12.shape[0], cB2.shape[1]
    H = S.mT @ S
    H = H + eps * torch.diag(1 + torch.diagonal(H))
    H11, H22, cP = H[:nx, :nx], H[nx : nx + nv, nx : nx + nv], H[nx + nv :, nx + nv :]
    E = (H11 + cP / rate**2 + Y1 - Y1.mT) / 2
    if full is None:
        Lambda, cD11 = torch.diagonal(H22) / 2, -torch.tril(H22, -1)
    else:
        lam, Y2 = full.to(torch.float64).split([1, nv], dim=1)
        Lambda = torch.exp(lam[:, 0])
        cD11 = torch.diag(Lambda) - (H22 + Y2 - Y2.mT) / 2
    A, B1, B2 = torch.linalg.solve(E, torch.cat([H[nx + nv :, : nx + nv], cB2], dim=1)).split([nx, nv, nu], dim=1)
    C1, D11, D12 = (block / Lambda[:, None] for block in (-H[nx : nx + nv, :nx], cD11, cD12))
    return A, B1, B2, C1, D11, D12, E, cP, Lambda


class _Explicit(torch.autograd.Function):
    @staticmethod
    def forward(rate: float, dtype: torch.dtype, *given: Tensor) -> Explicit:
        if (found := native.explicit(rate, dtype, *given)) is not None:
            return found
        X, terms, Y1, cB2, cD12, full, eps = cast("tuple[Tensor, ...]", [v if v is None else v.double() for v in given])
        S = _stacked(X, terms)
        n, m = Y1.shape[0], Y1.shape[0] + cD12.shape[0]  # the neurons are rows n to m of H
        H = S.new_empty(S.shape[1], S.shape[1])  # its upper right blocks are not needed, and not computed
        torch.mm(S.mT, S[:, :n], out=H[:, :n])
        torch.mm(S[:, n:].mT, S[:, n:m], out=H[n:, n:m])
        torch.mm(S[:, m:].mT, S[:, m:], out=H[m:, m:])
        H.diagonal().mul_(1 + eps).add_(eps)
        H22, cP = H[n:m, n:m], H[m:, m:].clone()
        E = torch.add(H[:n, :n], cP, alpha=rate**-2).add_(Y1).sub_(Y1.mT).mul_(0.5)
        inverse = torch.linalg.inv(E)
        AB = inverse @ torch.cat([H[m:, :m], cB2], dim=1)
        if full is None:
            Lambda, cD11 = H22.diagonal() / 2, -torch.tril(H22, -1)
        else:
            Lambda, Y2 = torch.exp(full[:, 0]), full[:, 1:]
            upper = H[n:m, n:m]
            cD11 = torch.diag(Lambda) - (upper + Y2 - Y2.mT) / 2
        CD = torch.cat([-H[n:m, :n], cD11, cD12], dim=1).div_(Lambda[:, None])
        sizes = [n, m - n, cB2.shape[1]]
        blocks = [*AB.split(sizes, dim=1), *CD.split(sizes, dim=1)]
        rounded = [block.to(dtype, memory_format=torch.contiguous_format, copy=True) for block in blocks]
        return *rounded, E, cP, Lambda, inverse, AB, CD, H.diagonal().clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Explicit) -> None:
        ctx.rate, _, *given = inputs
        ctx.acyclic = given[5] is None
        ctx.mark_non_differentiable(*output[9:])
        ctx.save_for_backward(*given, *output[8:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        levels.refuse_batched(*gradients)
        X, terms, Y1, cB2, cD12, full, eps, Lambda, inverse, AB, CD, diagonal = ctx.saved_tensors
        given, kept = (X, terms, Y1, cB2, cD12, full, eps), (Lambda, inverse, AB, CD, diagonal)
        if torch.is_grad_enabled() or levels.transformed():  # a graph of the gradient is wanted, or values are hidden
            return None, None, *_differentiable(ctx.rate, given, gradients)
        if (found := native.adjoint(ctx.rate, given, kept, gradients[:9], ctx.needs_input_grad[8])) is not None:
            return None, None, *found
        n, q, nu = Y1.shape[0], cD12.shape[0], cB2.shape[1]
        m = n + q
        gAB, gCD = _joined(gradients[:3], AB, [n, q, nu]), _joined(gradients[3:6], CD, [n, q, nu])
        gE, gcP, gLambda = gradients[6:9]
        gR = inverse.mT @ gAB
        gE = -gR @ AB.mT if gE is None else gE - gR @ AB.mT
        gCD = gCD / Lambda[:, None]
        through = -(gCD * CD).sum(1)
        gLambda = through if gLambda is None else gLambda + through
        symmetric = (gE + gE.mT).mul_(0.5)
        gcD11, g_full = gCD[:, n:m], None
        both = X.new_empty(n + m, n + m)  # T̄ + T̄ᵀ, block by block, so that no other array of this size is needed
        both[:n, :n] = symmetric
        both[m:, m:] = symmetric.div_(ctx.rate**2) if gcP is None else symmetric.div_(ctx.rate**2) + gcP + gcP.mT
        both[m:, :m], both[:m, m:] = gR[:, :m], gR[:, :m].mT
        both[n:m, :n], both[:n, n:m] = -gCD[:, :n], -gCD[:, :n].mT
        if ctx.acyclic:
            lower = torch.tril(gcD11, -1)
            both[n:m, n:m] = (lower + lower.mT).neg_()
            both.diagonal()[n:m] = gLambda
        else:
            both[n:m, n:m] = (gcD11 + gcD11.mT).mul_(-0.5)
            g_lam = (gLambda + gcD11.diagonal()) * Lambda
            g_full = torch.cat([g_lam[:, None], (gcD11.mT - gcD11) / 2], dim=1).to(full.dtype)
        g_eps = None
        if ctx.needs_input_grad[8]:
            g_eps = (both.diagonal() * (1 + (diagonal - eps) / (1 + eps))).sum().div(2).to(eps.dtype)
        both.diagonal().mul_(1 + eps)
        g_terms = None if terms is None else terms @ both.to(terms.dtype)
        gY1 = (gE - gE.mT).mul_(0.5)
        return (
            None,
            None,
            X @ both,
            g_terms,
            gY1.to(Y1.dtype),
            gR[:, m:].to(cB2.dtype),
            gCD[:, m:].to(cD12.dtype),
            g_full,
            g_eps,
        )


# torch asks for the signature at every call, and inspecting it takes longer than a small system
_Explicit.forward.__signature__ = inspect.signature(_Explicit.forward)  # type: ignore[attr-defined]


def _stacked(X: Tensor, terms: Tensor | None) -> Tensor:
    """S with T = SᵀS."""
    return X if terms is None else torch.cat([X.to(terms.dtype), terms])


def _rounded(outputs: Explicit, dtype: torch.dtype) -> Explicit:
    return *(block.to(dtype) for block in outputs[:6]), *outputs[6:]


def _joined(gradients: tuple[Tensor | None, ...], like: Tensor, sizes: list[int]) -> Tensor:
    """The blocks' gradients side by side, float64; one that is missing is zero."""
    if all(g is None for g in gradients):
        return torch.zeros_like(like)
    found = [like.new_zeros(len(like), n) if g is None else g for g, n in zip(gradients, sizes, strict=True)]
    return torch.cat(found, dim=1).to(torch.float64)


def _differentiable(
    rate: float, given: tuple[Tensor | None, ...], gradients: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """The gradients, themselves differentiable: through the plain map."""
    there = [i for i, value in enumerate(given) if value is not None]
    asked = [i for i, g in enumerate(gradients[:9]) if g is not None]

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        whole = dict(zip(there, values, strict=True))
        outputs = plain(*(whole.get(i) for i in range(len(given))), rate)  # type: ignore[arg-type]
        return tuple(outputs[i] for i in asked)

    _, pull = levels.vjp(run, *(given[i] for i in there))  # type: ignore[arg-type]
    found = dict(zip(there, pull(tuple(gradients[i].to(torch.float64) for i in asked)), strict=True))  # type: ignore[union-attr]
    return tuple(found.get(i) for i in range(len(given)))
