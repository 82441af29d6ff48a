"""The feedthrough D22 that a supply allows, from free parameters, and back (the Cayley transform).

For a supply with Q ≺ 0 and R − S Q⁻¹ Sᵀ ≻ 0 every D22 with R + S D22 + D22ᵀSᵀ + D22ᵀ Q D22 ≻ 0 is

    D22 = −Q⁻¹Sᵀ + L_Q⁻¹ N L_R,   L_QᵀL_Q = −Q,   L_RᵀL_R = R − S Q⁻¹ Sᵀ,   ‖N‖ < 1,

and every such N comes from a free M = X3ᵀX3 + Y3 − Y3ᵀ + Z3ᵀZ3 + εI of size d = min(nu, ny):

    ny ≥ nu:  N = [ (I − M)(I + M)⁻¹ ; −2 Z3 (I + M)⁻¹ ]
    ny < nu:  N = [ (I + M)⁻¹(I − M) , −2 (I + M)⁻¹ Z3ᵀ ]

Source: Revay, Wang, Manchester, "Recurrent equilibrium networks", IEEE TAC 2024, section V.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import cholesky, solve_triangular

from eqnets.system.witness import Supply


def _roots(supply: Supply) -> tuple[Tensor, Tensor, Tensor]:
    """L_Qᵀ and L_Rᵀ, both lower triangular, and −Q⁻¹Sᵀ."""
    lower_Q = cholesky(-supply.Q)
    centre = torch.cholesky_solve(supply.S.mT, lower_Q)
    return lower_Q, cholesky(supply.R + supply.S @ centre), centre


def feedthrough(X3: Tensor, Y3: Tensor, Z3: Tensor, eps: Tensor, supply: Supply) -> tuple[Tensor, Tensor]:
    """D22 and a root of the inverse of what it leaves of the supply.

    Args:
        X3: (d, d) with d = min(nu, ny), float64.
        Y3: (d, d).
        Z3: (|ny − nu|, d).
        eps: a positive scalar.
        supply: Q ≺ 0 with R − S Q⁻¹ Sᵀ ≻ 0.

    Returns:
        D22 (ny, nu), and K (·, nu) with KᵀK = (R + S D22 + D22ᵀSᵀ + D22ᵀ Q D22)⁻¹, computed without a difference, so
        that it exists however close ‖N‖ is to 1.
    """
    ny, nu = supply.Q.shape[0], supply.R.shape[0]
    lower_Q, lower_R, centre = _roots(supply)
    eye = torch.eye(X3.shape[-1], dtype=X3.dtype, device=X3.device)
    inner = X3.mT @ X3 + eps * eye
    M = inner + Y3 - Y3.mT + Z3.mT @ Z3
    inverse = torch.linalg.inv(eye + M)
    root = cholesky(inner)
    right = solve_triangular(lower_R, torch.eye(nu, dtype=X3.dtype, device=X3.device), upper=False)  # L_R⁻ᵀ
    if ny >= nu:
        N = torch.cat([(eye - M) @ inverse, -2 * Z3 @ inverse], dim=0)
        # I − NᵀN = 4 (I + M)⁻ᵀ (X3ᵀX3 + εI)(I + M)⁻¹
        K = solve_triangular(root, (eye + M).mT @ right, upper=False) / 2
    else:
        N = torch.cat([inverse @ (eye - M), -2 * inverse @ Z3.mT], dim=1)
        # (I − NᵀN)⁻¹ = I + Nᵀ(I − NNᵀ)⁻¹N,  I − NNᵀ = 4 (I + M)⁻¹(X3ᵀX3 + εI)(I + M)⁻ᵀ
        K = torch.cat([right, solve_triangular(root, (eye + M) @ N @ right, upper=False) / 2], dim=0)
    D22 = centre + solve_triangular(lower_Q.mT, N @ lower_R.mT, upper=True)
    return D22, K


def normalised(D22: Tensor, supply: Supply) -> Tensor:
    """N (ny, nu) of a D22: the supply allows D22 exactly when ‖N‖ < 1 (for a gain bound N = D22/γ)."""
    lower_Q, lower_R, centre = _roots(supply)
    return solve_triangular(lower_R, (lower_Q.mT @ (D22 - centre)).mT, upper=False).mT


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
