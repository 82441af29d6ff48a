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

from eqnets.models.direct_adjoint import explicit
from eqnets.models.feedthrough import feedthrough
from eqnets.system.witness import Supply


@dataclass(frozen=True)
class Built:
    """What the parametrisation gives: the explicit blocks and the numbers that prove the promise.

    Args:
        blocks: the LFR's blocks by name.
        E: (nx, nx), float64.
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


def build(
    free: Mapping[str, Tensor], rate: float, supply: Supply | None = None, dtype: torch.dtype = torch.float64
) -> Built:  # fmt: skip
    """The explicit system of free parameters, computed in float64 whatever the parameters' dtype.

    Args:
        free: X (2nx+nv, 2nx+nv), Y1 (nx, nx), cB2 (nx, nu), cD12 (nv, nu), C2 (ny, nx), D21 (ny, nv); D22 (ny, nu), or
            with a supply X3, Y3, Z3 (see `feedthrough`); lam (nv,) and Y2 (nv, nv) for a full D11, both absent for a
            strictly lower triangular one; biases bx, bv, by or none; the positive scalars eps, and eps3 with a supply.
        rate: ᾱ in (0, 1].
        supply: the incremental supply to keep, one that `supply.admitted` admits; None promises contraction alone.
        dtype: to which the blocks are rounded.

    Returns:
        The explicit blocks, E, cP and Λ, differentiable with respect to `free`.
    """
    C2, D21, cB2, cD12 = (free[name] for name in ("C2", "D21", "cB2", "cD12"))
    terms = None
    if supply is None:
        D22 = free["D22"]
    else:
        X3, Y3, Z3, eps3 = (free[name].to(torch.float64) for name in ("X3", "Y3", "Z3", "eps3"))
        D22, K = feedthrough(X3, Y3, Z3, eps3, supply)
        CD = torch.cat([C2, D21], dim=-1).to(torch.float64)
        nx = cB2.shape[0]
        cC2, cD21 = ((D22.mT @ supply.Q + supply.S) @ CD).split([nx, CD.shape[1] - nx], dim=-1)
        G = torch.cat([cC2, cD21 - cD12.mT, cB2.mT.to(torch.float64)], dim=-1)  # (nu, 2nx + nv)
        values, vectors = torch.linalg.eigh(-supply.Q)  # Q may be singular: a Cholesky factor need not exist
        Z = values.clamp_min(0).sqrt()[:, None] * (vectors.mT @ CD)
        terms = torch.cat([K @ G, torch.cat([Z, Z.new_zeros(Z.shape[0], nx)], dim=-1)], dim=0)
    full = torch.cat([free["lam"][:, None], free["Y2"]], dim=1) if "lam" in free else None
    *dynamic, E, cP, Lambda = explicit(free["X"], terms, free["Y1"], cB2, cD12, full, free["eps"], rate, dtype)
    blocks = dict(zip(("A", "B1", "B2", "C1", "D11", "D12"), dynamic, strict=True))
    blocks |= {"C2": C2.to(dtype), "D21": D21.to(dtype), "D22": D22.to(dtype)}
    blocks |= {name: free[name].to(dtype) for name in ("bx", "bv", "by") if name in free}
    return Built(blocks, E, cP, Lambda)
