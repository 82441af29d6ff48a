"""Supplies as gain bounds: Δyᵀ Q Δy + 2 Δuᵀ S Δy + Δuᵀ R Δu = |Δũ|² − |Δỹ|² with [y; u] = V [ỹ; ũ].

For passivity V is the scattering transform. It exists for every Q ≼ 0 that some system serves strictly and that sees
every output, [Q Sᵀ; S R] being regular: the shear u = u′ + F y, F = −τS, τ = 1/(‖R‖ + ‖S‖), makes the supply

    Q′ = Q − 2τSᵀS + τ²SᵀRS ≼ Q − τSᵀS,   S′ = S + RF,   R,

with Q′ ≺ 0 even where Q is singular (S = 0 leaves it as it is), and L_QᵀL_Q = −Q′, L_RᵀL_R = R − S′Q′⁻¹S′ᵀ finish it:

    y = L_Q⁻¹ ỹ − Q′⁻¹S′ᵀ L_R⁻¹ ũ,   u = F y + L_R⁻¹ ũ.

A system keeps the supply exactly when its image under V, with the same states and storage, has a gain below 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.linalg import cholesky, solve_triangular

from eqnets.errors import InputError
from eqnets.system.lti import LTI
from eqnets.system.witness import Supply


class Frame(NamedTuple):
    """V = [V11 V12; V21 V22], of the sizes [(ny, ny) (ny, nu); (nu, ny) (nu, nu)]."""

    V11: Tensor
    V12: Tensor
    V21: Tensor
    V22: Tensor


def frame(supply: Supply) -> Frame:
    """The V of a supply that `admitted` would admit, in its dtype and on its device."""
    Q, S, R = supply.Q, supply.S, supply.R
    size = torch.linalg.matrix_norm(R) + torch.linalg.matrix_norm(S) if R.numel() else R.new_ones(())
    F = -S / size
    cross = S.mT @ F
    centre, lower = S + R @ F, cholesky(-(Q + cross + cross.mT + F.mT @ R @ F))
    centre = torch.cholesky_solve(centre.mT, lower)  # −Q′⁻¹S′ᵀ
    lower_R = cholesky(R + (S + R @ F) @ centre)
    V11 = solve_triangular(lower.mT, torch.eye(len(Q), dtype=Q.dtype, device=Q.device), upper=True)
    inner = solve_triangular(lower_R.mT, torch.eye(len(R), dtype=R.dtype, device=R.device), upper=True)
    return Frame(V11, centre @ inner, F @ V11, F @ centre @ inner + inner)


def gain_supply(gamma: float, nu: int, ny: int, device: torch.device | None = None) -> Supply:
    """The supply (Q, S, R) = (−I/γ, 0, γI) of the incremental gain bound ‖Δy‖ ≤ γ‖Δu‖, float64."""
    kind = {"dtype": torch.float64, "device": device}
    return Supply(-torch.eye(ny, **kind) / gamma, torch.zeros(nu, ny, **kind), torch.eye(nu, **kind) * gamma)


def passive_supply(nu: int, ny: int, input_strict: float, output_strict: float) -> Supply:
    """(−2εI, I, −2νI), that is Σ⟨Δu, Δy⟩ ≥ ν Σ|Δu|² + ε Σ|Δy|², float64.

    Args:
        nu: number of inputs.
        ny: number of outputs, nu.
        input_strict: ν; below 0 a shortage.
        output_strict: ε ≥ 0.

    Returns:
        The supply.

    Raises:
        InputError: ny is not nu, a number is not finite, ε < 0, or 4νε ≥ 1, which no system keeps strictly.
    """
    if nu != ny:
        raise InputError(f"passivity pairs inputs with outputs, but there are {nu} and {ny}.")
    strict, epsilon = float(input_strict), float(output_strict)
    if not np.isfinite([strict, epsilon]).all() or epsilon < 0:
        raise InputError(
            f"passivity needs finite numbers input_strict and output_strict >= 0; got {input_strict}, {output_strict}."
        )
    if not 4 * strict * epsilon < 1:
        raise InputError(
            f"no system is passive with input_strict·output_strict = {strict * epsilon:g}: the product must stay below "
            "1/4; ask for less of one of them."
        )
    eye = torch.eye(nu, dtype=torch.float64)
    return Supply(-2 * epsilon * eye, eye, -2 * strict * eye)


def admitted(Q: Any, S: Any, R: Any, nu: int, ny: int) -> Supply:
    """The supply, float64 on the CPU, if the direct parametrisation can keep it.

    Args:
        Q: (ny, ny), symmetric, Q ≼ 0; rows of numbers, an array or a tensor.
        S: (nu, ny).
        R: (nu, nu), symmetric.
        nu: number of inputs.
        ny: number of outputs.

    Returns:
        The supply.

    Raises:
        InputError: a wrong shape, Q or R not symmetric, Q not ≼ 0, an output that the supply does not see, or a supply
            that no system keeps strictly.
    """
    blocks = []
    for name, value, shape in (("Q", Q, (ny, ny)), ("S", S, (nu, ny)), ("R", R, (nu, nu))):
        block = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        try:
            block = (
                np.array(block, dtype=np.float64).reshape(shape) if 0 in shape else np.array(block, dtype=np.float64)
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} of a supply must be a matrix {shape} of numbers.") from error
        if block.shape != shape or not np.isfinite(block).all():
            raise InputError(f"{name} of this supply must be a matrix {shape} of finite numbers; got {block.shape}.")
        if name != "S" and not np.array_equal(block, block.T):
            raise InputError(f"{name} of a supply is symmetric; give ({name} + {name}ᵀ)/2.")
        blocks.append(torch.from_numpy(block))
    supply = Supply(*blocks)
    size = max(float(block.abs().max()) if block.numel() else 0.0 for block in blocks)
    top = float(torch.linalg.eigvalsh(supply.Q)[-1]) if ny else 0.0
    if top > 1e-12 * size:
        raise InputError(
            f"Q of a supply must be negative semidefinite, but its largest eigenvalue is {top:.3g}; only then is the "
            "promise kept by construction (and the network contracting)."
        )
    whole = torch.cat([torch.cat([supply.Q, supply.S.mT], 1), torch.cat([supply.S, supply.R], 1)])
    values = torch.linalg.eigvalsh(whole)
    if int((values > 1e-12 * size).sum()) < nu:
        raise InputError(
            "no system keeps this supply strictly, whatever its D22: [Q Sᵀ; S R] needs as many positive eigenvalues as "
            f"there are inputs, {nu}, and has {int((values > 1e-12 * size).sum())}; ask for less (a larger R)."
        )
    if ny and bool((values.abs() <= 1e-12 * size).any()):
        raise InputError(
            "this supply does not see every output ([Q Sᵀ; S R] is singular); leave such an output out, or give it a "
            "small negative weight in Q."
        )
    return supply


def normalised(D22: Tensor, supply: Supply) -> Tensor:
    """The image N (ny, nu) of a D22: the supply allows D22 exactly when ‖N‖ < 1 (for a gain bound N = D22/γ).

    Args:
        D22: (ny, nu), float64.
        supply: the supply.

    Returns:
        N; infinite where D22 has no image.
    """
    V = frame(supply)
    left = V.V11 - D22 @ V.V21
    N, info = torch.linalg.solve_ex(left, D22 @ V.V22 - V.V12)
    return N if not int(info) else torch.full_like(N, torch.inf)


def scatter(lti: LTI, supply: Supply) -> tuple[LTI, Tensor]:
    """The image of a linear system under V, in the same states, and the way back to its input.

    Args:
        lti: the system.
        supply: the supply.

    Returns:
        The image from ũ to ỹ, whose gain is below 1 exactly when the system keeps the supply strictly; and the matrix
        (nx + nu, nx + nu) that takes (x, ũ) to (x, u).

    Raises:
        InputError: D has no image.
    """
    V = frame(supply)
    N = normalised(lti.D, supply)
    if not bool(torch.isfinite(N).all()):
        raise InputError("the linear model's D cannot be brought into this supply's coordinates; change D a little.")
    C = torch.linalg.solve(V.V11 - lti.D @ V.V21, lti.C)
    seen = V.V21 @ N + V.V22
    image = LTI(lti.A + lti.B @ V.V21 @ C, lti.B @ seen, C, N, lti.dt)
    back = torch.eye(lti.nx + lti.nu, dtype=torch.float64)
    back[lti.nx :] = torch.cat([V.V21 @ C, seen], dim=1)
    return image, back


def unscatter(image: LTI, supply: Supply) -> LTI:
    """The system of an image whose feedthrough is below 1: the inverse of `scatter`."""
    V = frame(supply)
    seen = V.V21 @ image.D + V.V22
    D = torch.linalg.solve(seen.mT, (V.V11 @ image.D + V.V12).mT).mT
    B = torch.linalg.solve(seen.mT, image.B.mT).mT
    return LTI(image.A - B @ V.V21 @ image.C, B, (V.V11 - D @ V.V21) @ image.C, D, image.dt)
