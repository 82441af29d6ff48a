"""The feedthrough D22 that a supply allows, from free parameters, and back (the Cayley transform).

With V of `supply` every D22 with R + S D22 + D22ᵀSᵀ + D22ᵀ Q D22 ≻ 0 is

    D22 = (V11 N + V12)(V21 N + V22)⁻¹,   ‖N‖ < 1,

and every such N comes from a free M = X3ᵀX3 + Y3 − Y3ᵀ + Z3ᵀZ3 + εI of size d = min(nu, ny):

    ny ≥ nu:  N = [ (I − M)(I + M)⁻¹ ; −2 Z3 (I + M)⁻¹ ]
    ny < nu:  N = [ (I + M)⁻¹(I − M) , −2 (I + M)⁻¹ Z3ᵀ ]

V21 N + V22 is regular for every ‖N‖ < 1: where it takes c ≠ 0 to 0, Δu = 0 has the supply cᵀ(I − NᵀN)c > 0, which
Q ≼ 0 excludes. Source of the Cayley form: Revay, Wang, Manchester, "Recurrent equilibrium networks", IEEE TAC 2024,
section V (there for Q ≺ 0, V21 = 0).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import cholesky, solve_triangular

from eqnets.models.supply import frame
from eqnets.system.witness import Supply


def feedthrough(X3: Tensor, Y3: Tensor, Z3: Tensor, eps: Tensor, supply: Supply) -> tuple[Tensor, Tensor]:
    """D22 and a root of the inverse of what it leaves of the supply.

    Args:
        X3: (d, d) with d = min(nu, ny), float64.
        Y3: (d, d).
        Z3: (|ny − nu|, d).
        eps: a positive scalar.
        supply: one that `supply.admitted` admits.

    Returns:
        D22 (ny, nu), and K (·, nu) with KᵀK = (R + S D22 + D22ᵀSᵀ + D22ᵀ Q D22)⁻¹, computed without a difference, so
        that it exists however close ‖N‖ is to 1.
    """
    V = frame(supply)
    ny, nu = V.V12.shape
    eye = torch.eye(X3.shape[-1], dtype=X3.dtype, device=X3.device)
    inner = X3.mT @ X3 + eps * eye
    M = inner + Y3 - Y3.mT + Z3.mT @ Z3
    inverse = torch.linalg.inv(eye + M)
    root = cholesky(inner)
    # what D22 leaves of the supply is seen⁻ᵀ(I − NᵀN) seen⁻¹
    if ny >= nu:
        N = torch.cat([(eye - M) @ inverse, -2 * Z3 @ inverse], dim=0)
        seen = V.V21 @ N + V.V22
        # I − NᵀN = 4 (I + M)⁻ᵀ (X3ᵀX3 + εI)(I + M)⁻¹
        K = solve_triangular(root, (eye + M).mT @ seen.mT, upper=False) / 2
    else:
        N = torch.cat([inverse @ (eye - M), -2 * inverse @ Z3.mT], dim=1)
        seen = V.V21 @ N + V.V22
        # (I − NᵀN)⁻¹ = I + Nᵀ(I − NNᵀ)⁻¹N,  I − NNᵀ = 4 (I + M)⁻¹(X3ᵀX3 + εI)(I + M)⁻ᵀ
        K = torch.cat([seen.mT, solve_triangular(root, (eye + M) @ N @ seen.mT, upper=False) / 2], dim=0)
    return torch.linalg.solve(seen.mT, (V.V11 @ N + V.V12).mT).mT, K


def free_feedthrough(N: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `feedthrough` needs for a given N, ‖N‖ < 1: the inverse of the Cayley transform.

    Args:
        N: (ny, nu), float64.

    Returns:
        X3ᵀX3 + εI (d, d), Y3 (d, d), Z3 (|ny − nu|, d) and M's size as an identity (d, d).
    """
    ny, nu = N.shape
    d = min(ny, nu)
    eye = torch.eye(d, dtype=N.dtype)
    if ny >= nu:
        M = torch.linalg.solve(eye + N[:d], eye - N[:d])
        Z3 = -N[d:] @ (eye + M) / 2
        inner = (eye + M).mT @ (eye - N.mT @ N) @ (eye + M) / 4
    else:
        M = torch.linalg.solve(eye + N[:, :d], eye - N[:, :d])
        Z3 = (-(eye + M) @ N[:, d:] / 2).mT
        inner = (eye + M) @ (eye - N @ N.mT) @ (eye + M).mT / 4
    return (inner + inner.mT) / 2, (M - M.mT) / 4, Z3, eye
