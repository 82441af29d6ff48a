"""How strongly a map contracts: its Jacobian's size and spectral radius, per sample, from products with Jᵀ alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eqnets.equilibrium.layout import layout_of
from eqnets.equilibrium.problem import pose
from eqnets.errors import InputError


def jacobian_norm(
    f: Callable[..., Any], z: Any, *args: Any, generator: torch.Generator | None = None, probes: int = 1,
    batch_dims: int = 1,
) -> Tensor:  # fmt: skip
    """An unbiased estimate of ‖∂f/∂z‖²_F per sample, differentiable: Hutchinson's, the mean of ‖Jᵀ v‖² over signs v.

    As a penalty it keeps a cell contracting: `loss + c * jacobian_norm(deq.cell, sol.value, x).mean()` (Bai, Koltun,
    Kolter, ICML 2021). Derivatives reach what f depends on, and z if it has a graph; with `sol.value` they are exact
    and share the backward solve of the loss; with `sol.value.detach()` z counts as a constant.

    Args:
        f: (z, *args) → z.
        z: where; a tensor or pytree as for `fixed_point`.
        args: what else f takes.
        generator: source of the signs; None is torch's own.
        probes: how many v are averaged; each costs one product, and one evaluation of f serves all.
        batch_dims: 1, the first dimension is the batch; 0, z is one sample.

    Returns:
        (batch,), or () with batch_dims=0.

    Raises:
        InputError: a z that is no state, an f that returns something else, or no probes.
    """  # noqa: DOC502
    _check_count(probes, "probes")
    flat, pull = _pull(f, z, args, batch_dims)
    total = flat.new_zeros(flat.shape[0])
    for _ in range(probes):
        bits = torch.randint(0, 2, flat.shape, generator=generator, device=flat.device)
        total = total + pull((2 * bits - 1).to(flat.dtype)).square().sum(1)
    norm = total / probes
    return norm if batch_dims else norm[0]


@torch.no_grad()
def spectral_radius(
    f: Callable[..., Any], z: Any, *args: Any, generator: torch.Generator | None = None, products: int = 40,
    batch_dims: int = 1,
) -> Tensor:  # fmt: skip
    """The largest |eigenvalue| of ∂f/∂z per sample, by Arnoldi's method: right for complex spectra.

    Below 1, iteration from nearby converges, at this rate. Exact (to rounding) when `products` reaches the size of the
    state. For larger states it is a few percent low where many eigenvalues are nearly as large as the largest, and it
    may be high where J is far from normal, by an amount that more products remove. Source: Saad, "Numerical methods for
    large eigenvalue problems", 2011, section 6.2.

    Args:
        f: (z, *args) → z.
        z: where; a tensor or pytree as for `fixed_point`.
        args: what else f takes.
        generator: source of the first direction; None is torch's own.
        products: the most products with Jᵀ; a state of n numbers takes at most n.
        batch_dims: 1, the first dimension is the batch; 0, z is one sample.

    Returns:
        (batch,), or () with batch_dims=0; no gradient.

    Raises:
        InputError: a z that is no state, an f that returns something else, or no products.
    """  # noqa: DOC502
    _check_count(products, "products")
    flat, pull = _pull(f, z, args, batch_dims)
    H = _hessenberg(pull, torch.randn(flat.shape, generator=generator, dtype=flat.dtype, device=flat.device), products)
    finite = H.isfinite().all(dim=2).all(dim=1)
    eigenvalues = torch.linalg.eigvals(torch.where(finite[:, None, None], H, 0.0))
    radius = torch.where(finite, eigenvalues.abs().amax(1).to(flat.dtype), torch.nan)
    return radius if batch_dims else radius[0]


def _hessenberg(pull: Callable[[Tensor], Tensor], v: Tensor, products: int) -> Tensor:
    """H = Qᵀ Jᵀ Q on the Krylov space of v, float64 (batch, m, m); the projection is made twice against rounding."""
    batch, n = v.shape
    m = min(n, products)
    tiny = 100 * torch.finfo(v.dtype).eps
    H = torch.zeros(batch, m, m, dtype=torch.float64, device=v.device)
    Q = torch.zeros(batch, m + 1, n, dtype=v.dtype, device=v.device)
    Q[:, 0] = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
    for k in range(m):
        w = pull(Q[:, k])
        size = torch.linalg.vector_norm(w, dim=1)
        for _ in range(2):
            h = torch.einsum("bjn,bn->bj", Q[:, : k + 1], w)
            w = w - torch.einsum("bjn,bj->bn", Q[:, : k + 1], h)
            H[:, : k + 1, k] += h
        norm = torch.linalg.vector_norm(w, dim=1)
        goes_on = norm > tiny * size  # else the space is invariant, and its eigenvalues are exact; zeros follow
        if k + 1 < m:
            H[:, k + 1, k] = torch.where(goes_on, norm, 0.0)
        Q[:, k + 1] = torch.where(goes_on[:, None], w / norm[:, None], 0.0)
    return H


def _pull(
    f: Callable[..., Any], z: Any, args: tuple[Any, ...], batch_dims: int
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The flat state (batch, n), and u ↦ J(z)ᵀ u there; from one evaluation of f."""
    layout = layout_of(z, batch_dims)
    problem = pose(f, layout, args, None, lift=False)
    flat = layout.flatten(z)
    pull = torch.func.vjp(lambda s: problem.first(s), flat)[1]
    return flat, lambda u: pull(u, retain_graph=True)[0]


def _check_count(count: Any, name: str) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"{name} must be a whole number, one or more; got {count!r}.")
