"""Newton's method without a Jacobian matrix: GMRES on products with it, for all samples at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.newton import Damped
from eqnets.equilibrium.secant import combine, dots
from eqnets.equilibrium.solver import check_count


@dataclass(frozen=True)
class NewtonKrylov(Damped):
    """Newton's method with (I − J) d = r solved by restarted GMRES, to an accuracy that follows the convergence.

    J w is the derivative of v ↦ Jᵀv, so f must be twice differentiable by autograd; a compiled f is not, and is worth
    wrapping only outside this solver. Source of the forcing term: Eisenstat & Walker, SIAM J. Sci. Comput. 17 (1996),
    choice 2.

    Args:
        halvings: the most halvings of a step.
        krylov: vectors per cycle; memory krylov·batch·n numbers.
        cycles: the most restarts per Newton step.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    krylov: int = 20
    cycles: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self, "krylov", 1, 1000)
        check_count(self, "cycles", 1, 1000)

    def direction(self, map: Map, z: Tensor, r: Tensor, residual: Tensor, ratio: Tensor) -> Tensor:
        """The inexact Newton step."""
        enough = 0.1 / residual.nan_to_num(1.0, 1.0, 1.0).clamp(min=1.0)  # what ends the iteration if f is linear
        forcing = enough if map.linear else torch.maximum(enough, 0.9 * ratio**2).clamp(max=0.1)
        push = map.push(z)
        return gmres(lambda w: w - push(w), r, forcing, min(self.krylov, z.shape[1]), self.cycles)


def gmres(product: Callable[[Tensor], Tensor], b: Tensor, tol: Tensor, krylov: int, cycles: int) -> Tensor:
    """Solve A x = b for every sample, from x = 0.

    Args:
        product: x ↦ A x on (batch, n).
        b: (batch, n).
        tol: (batch,), the residual to reach, relative to |b|.
        krylov: vectors per cycle.
        cycles: the most cycles.

    Returns:
        (batch, n), the best that was found.
    """
    goal = tol * torch.linalg.vector_norm(b, dim=1)
    x, r = torch.zeros_like(b), b
    for cycle in range(cycles):
        if cycle:
            r = b - product(x)
        size = torch.linalg.vector_norm(r, dim=1)
        if bool((size <= goal).all()):
            break
        x = x + _cycle(product, r, size, goal, krylov)
    return x


def _cycle(product: Callable[[Tensor], Tensor], r: Tensor, size: Tensor, goal: Tensor, krylov: int) -> Tensor:
    """One Arnoldi cycle; a sample that is done has zero vectors from then on."""
    batch, n = r.shape
    V = r.new_zeros(batch, krylov + 1, n)
    H = r.new_zeros(batch, krylov + 1, krylov)
    V[:, 0] = r * torch.where(size > goal, 1.0 / size, 0.0)[:, None]
    y = r.new_zeros(batch, krylov)
    done = torch.zeros_like(size, dtype=torch.bool)  # such a sample keeps its y, whatever its neighbours need
    for j in range(krylov):
        w = product(V[:, j])
        before = torch.linalg.vector_norm(w, dim=1)
        for _ in range(2):  # classical Gram–Schmidt, twice
            h = dots(V[:, : j + 1], w)
            H[:, : j + 1, j] += h
            w = combine(w, h, V[:, : j + 1])
        norm = torch.linalg.vector_norm(w, dim=1)
        norm = torch.where(norm > 10 * torch.finfo(w.dtype).eps * before, norm, 0.0)
        H[:, j + 1, j] = norm
        V[:, j + 1] = w * torch.where(norm > 0, 1.0 / norm, 0.0)[:, None]
        if j % 4 == 3 or j == krylov - 1:
            best, left = _least_squares(H[:, : j + 2, : j + 1], size)
            y[:, : j + 1] = torch.where(done[:, None], y[:, : j + 1], best)
            done = done | (left <= goal) | (norm == 0)
            if bool(done.all()):
                break
    return torch.bmm(y[:, None], V[:, :krylov])[:, 0]


def _least_squares(H: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise |size e₁ − H y|; zero where a column of H has ended."""
    Q, R = torch.linalg.qr(H)
    right = Q[:, 0, :] * size[:, None]
    diagonal = R.diagonal(dim1=1, dim2=2)
    live = diagonal.abs() > 10 * torch.finfo(H.dtype).eps * diagonal.abs().amax(1, keepdim=True)
    R = R + torch.diag_embed(torch.where(live, 0.0, 1.0 - diagonal).to(R.dtype))
    y = torch.linalg.solve_triangular(R, torch.where(live, right, 0.0)[:, :, None], upper=True)
    left = torch.linalg.vector_norm(torch.bmm(H, y)[:, :, 0] - size[:, None] * _first(H), dim=1)
    return y[:, :, 0], left


def _first(H: Tensor) -> Tensor:
    e = H.new_zeros(H.shape[1])
    e[0] = 1.0
    return e
