"""The direct parametrisation of recurrent equilibrium networks: free parameters θ → explicit system, Λ and P.

Every θ gives a system that keeps the promise, and every certified system has a θ (see `inverse`). With

    T = XᵀX [+ the supply's terms],  H = T + ε(I + diag T) = [ E + Eᵀ − cP/ᾱ²   −cC1ᵀ   Fᵀ   ]     sizes nx, nv, nx
                                                             [ −cC1              W      cB1ᵀ ]
                                                             [ F                 cB1    cP   ]

the explicit system is A = E⁻¹F, B1 = E⁻¹cB1, B2 = E⁻¹cB2, C1 = Λ⁻¹cC1, D11 = Λ⁻¹cD11, D12 = Λ⁻¹cD12, where
W = 2Λ − cD11 − cD11ᵀ, and V = ΔxᵀPΔx with P = EᵀcP⁻¹E is its storage, because
ᾱ²EᵀcP⁻¹E − (E + Eᵀ − cP/ᾱ²) = (ᾱE − cP/ᾱ)ᵀ cP⁻¹ (ᾱE − cP/ᾱ) ≽ 0.

Source: Revay, Wang, Manchester, "Recurrent equilibrium networks", IEEE TAC 2024, section V; the rate ᾱ enters as
cP/ᾱ², so that a smaller rate tightens the inequality. The part of ε that is relative to diag T is ours: however large
the supply's terms grow, the inequality keeps a margin, after Jacobi scaling, that float64 can see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.models.feedthrough import feedthrough
from eqnets.system.witness import Supply


@dataclass(frozen=True)
class Built:
    """What the parametrisation gives: the explicit blocks and the numbers that prove the promise.

    Args:
        blocks: the LFR's blocks by name, float64.
        E: (nx, nx).
        cP: (nx, nx), symmetric positive definite.
        Lambda: (nv,), positive.
    """

    blocks: dict[str, Tensor]
    E: Tensor
    cP: Tensor
    Lambda: Tensor

    def storage(self) -> Tensor:
        """P = EᵀcP⁻¹E, (nx, nx)."""
        root = torch.linalg.solve_triangular(torch.linalg.cholesky(self.cP), self.E, upper=False)
        return root.mT @ root


def build(free: Mapping[str, Tensor], rate: float, supply: Supply | None = None) -> Built:
    """The explicit system of free parameters, in float64 whatever the parameters' dtype.

    Args:
        free: X (2nx+nv, 2nx+nv), Y1 (nx, nx), cB2 (nx, nu), cD12 (nv, nu), C2 (ny, nx), D21 (ny, nv); D22 (ny, nu), or
            with a supply X3, Y3, Z3 (see `feedthrough`); lam (nv,) and Y2 (nv, nv) for a full D11, both absent for a
            strictly lower triangular one; biases bx, bv, by or none; the positive scalars eps, and eps3 with a supply.
        rate: ᾱ in (0, 1].
        supply: the incremental supply to keep, float64, with Q ≺ 0; None promises contraction alone.

    Returns:
        The explicit blocks, E, cP and Λ, differentiable with respect to `free`.
    """
    theta = {name: value.to(torch.float64) for name, value in free.items()}
    X, C2, D21, cB2, cD12 = (theta[name] for name in ("X", "C2", "D21", "cB2", "cD12"))
    nx, nv = theta["Y1"].shape[-1], cD12.shape[-2]
    rows = [X]
    if supply is None:
        D22 = theta["D22"]
    else:
        D22, K = feedthrough(theta["X3"], theta["Y3"], theta["Z3"], theta["eps3"], supply)
        T = D22.mT @ supply.Q + supply.S
        G = torch.cat([T @ C2, T @ D21 - cD12.mT, cB2.mT], dim=-1)  # [cC2, cD21, cB2ᵀ], (nu, 2nx + nv)
        Z = torch.linalg.cholesky(-supply.Q).mT @ torch.cat([C2, D21], dim=-1)
        rows += [K @ G, torch.cat([Z, Z.new_zeros(Z.shape[0], nx)], dim=-1)]
    stack = torch.cat(rows, dim=0)
    H = stack.mT @ stack
    H = H + theta["eps"] * torch.diag(1 + torch.diagonal(H))
    H11, H22, cP = H[:nx, :nx], H[nx : nx + nv, nx : nx + nv], H[nx + nv :, nx + nv :]
    cC1 = -H[nx : nx + nv, :nx]
    E = (H11 + cP / rate**2 + theta["Y1"] - theta["Y1"].mT) / 2
    if "lam" in theta:
        Lambda = torch.exp(theta["lam"])
        cD11 = torch.diag(Lambda) - (H22 + theta["Y2"] - theta["Y2"].mT) / 2
    else:
        Lambda = torch.diagonal(H22) / 2
        cD11 = -torch.tril(H22, -1)
    nu = cB2.shape[-1]
    A, B1, B2 = torch.linalg.solve(E, torch.cat([H[nx + nv :, : nx + nv], cB2], dim=-1)).split([nx, nv, nu], dim=-1)
    C1, D11, D12 = (torch.cat([cC1, cD11, cD12], dim=-1) / Lambda[:, None]).split([nx, nv, nu], dim=-1)
    blocks = {"A": A, "B1": B1, "B2": B2, "C1": C1, "C2": C2, "D11": D11, "D12": D12, "D21": D21, "D22": D22}
    blocks |= {name: theta[name] for name in ("bx", "bv", "by") if name in theta}
    return Built(blocks, E, cP, Lambda)
