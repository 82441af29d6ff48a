"""The inverse of the direct parametrisation: a system with a witness → the free parameters that give it back.

With E = ᾱ²P, cP = ᾱ⁴P, Y1 = 0 the matrix H of `direct` is, up to the scaling diag(I, I, ᾱ²I), the inequality itself, so
a Cholesky factor exists exactly when the witness proves the promise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.models.feedthrough import feedthrough, free_feedthrough
from eqnets.models.supply import normalised
from eqnets.system.lfr import LFR
from eqnets.system.witness import Supply, Witness

SMALLEST_MARGIN = 1e-13
"""The smallest eigenvalue of the Jacobi-scaled inequality that float64 can tell from zero."""

EPS3 = 1e-3
"""ε3 of the feedthrough: it keeps ‖D22‖/γ some 0.1 % below 1, where the inequality would become ill-conditioned."""


def implicit(lfr: LFR, P: Tensor, Lambda: Tensor, rate: float, supply: Supply | None = None) -> tuple[Tensor, Tensor]:
    """H and the supply's terms: H − terms ≻ 0 exactly when (P, Λ) proves the promise (for an allowed D22).

    Args:
        lfr: the system, float64.
        P: (nx, nx).
        Lambda: (nv,).
        rate: ᾱ in (0, 1].
        supply: the supply, or None for contraction alone.

    Returns:
        H minus the supply's terms, and these terms, both (2nx+nv, 2nx+nv), symmetric, float64.
    """
    nx = lfr.nx
    E = rate**2 * P
    LD = Lambda[:, None] * lfr.D11
    cC1 = Lambda[:, None] * lfr.C1
    F, cB1 = E @ lfr.A, E @ lfr.B1
    W = 2 * torch.diag(Lambda) - LD - LD.mT
    rows = ([E, -cC1.mT, F.mT], [-cC1, W, cB1.mT], [F, cB1, rate**4 * P])
    H = torch.cat([torch.cat(row, dim=1) for row in rows], dim=0)
    terms = torch.zeros_like(H)
    if supply is not None:
        inner, Y3, Z3, _ = free_feedthrough(normalised(lfr.D22, supply))
        zero = torch.zeros((), dtype=torch.float64)
        _, K = feedthrough(torch.linalg.cholesky(inner).mT, Y3, Z3, zero, supply)
        T = lfr.D22.mT @ supply.Q + supply.S
        cD12 = Lambda[:, None] * lfr.D12
        G = K @ torch.cat([T @ lfr.C2, T @ lfr.D21 - cD12.mT, (E @ lfr.B2).mT], dim=1)
        Z = torch.cat([lfr.C2, lfr.D21, lfr.C2.new_zeros(lfr.ny, nx)], dim=1)
        terms = G.mT @ G - Z.mT @ supply.Q @ Z
    H = H - terms
    return (H + H.mT) / 2, (terms + terms.mT) / 2


def margin(H: Tensor) -> float:
    """The smallest eigenvalue of H after Jacobi scaling to a unit diagonal; −inf where the diagonal is not positive.

    Args:
        H: (k, k), symmetric, float64.

    Returns:
        The margin; inf for k = 0.
    """
    if H.shape[0] == 0:
        return math.inf
    diagonal = torch.diagonal(H)
    if not bool((diagonal > 0).all()) or not bool(torch.isfinite(H).all()):
        return -math.inf
    scale = diagonal.rsqrt()
    return float(torch.linalg.eigvalsh(scale[:, None] * H * scale)[0])


def free_parameters(
    lfr: LFR, P: Tensor, Lambda: Tensor, rate: float, supply: Supply | None, eps: float, acyclic: bool
) -> dict[str, Tensor]:
    """The free parameters from which `direct.build` gives back `lfr`, P and Λ.

    Args:
        lfr: the system, float64 on the CPU.
        P: (nx, nx), symmetric positive definite.
        Lambda: (nv,), positive.
        rate: ᾱ in (0, 1].
        supply: the supply that P and Λ prove, or None.
        eps: the regularisation ε wanted.
        acyclic: whether the parametrisation has a strictly lower triangular D11.

    Returns:
        All that `direct.build` takes, by name; ε is `eps`, or less where the inequality is less definite, and ε3 is
        `EPS3`, or less where D22 uses almost all of the supply.

    Raises:
        InputError: P, Λ, D22 or the inequality fails; the message says which, and by how much.
    """
    _check_witness(P, Lambda)
    free: dict[str, Tensor] = {}
    if supply is None:
        free["D22"] = lfr.D22
    else:
        N = normalised(lfr.D22, supply)
        size = float(torch.linalg.matrix_norm(N, 2)) if min(N.shape) else 0.0
        if not size < 1 - 1e-12:
            raise InputError(
                f"D22 alone uses {size:.6g} of what the supply allows (for a gain bound that is ‖D22‖/gamma); it must "
                "stay below 1: ask for a larger gamma, or scale D22 down."
            )
        inner, Y3, Z3, eye = free_feedthrough(N)
        eps3 = min([EPS3] + [0.5 * float(value) for value in torch.linalg.eigvalsh(inner)[:1]])
        free |= {"X3": torch.linalg.cholesky(inner - eps3 * eye).mT, "Y3": Y3, "Z3": Z3, "eps3": _scalar(eps3)}
    H, supplied = implicit(lfr, P, Lambda, rate, supply)
    found = margin(H)
    if not found > SMALLEST_MARGIN:
        promise = f"contraction at rate {rate:g}" + ("" if supply is None else " with its supply")
        raise InputError(
            f"the witness does not prove {promise} for this LFR: the smallest eigenvalue of the scaled inequality is "
            f"{found:.3g} and must be above {SMALLEST_MARGIN:g} (contraction alone is proved at the rate "
            f"{Witness(P, Lambda).rate(lfr):.6g}). Ask for a larger rate or gamma, or bring another witness."
        )
    scale = torch.diagonal(H).rsqrt()
    total = torch.diagonal(H + supplied)  # what `direct` calls H; its T has the diagonal (total − ε)/(1 + ε)
    if len(scale):
        size = (1 + total).rsqrt()
        eps = min(eps, 0.5 * float(torch.linalg.eigvalsh(size[:, None] * H * size)[0]))
    if not eps > 0:
        raise InputError("the inequality holds by less than float64 can keep; ask for a larger rate or gamma.")
    scaled = scale[:, None] * (H - torch.diag(eps * (1 + total) / (1 + eps))) * scale
    free |= {
        "X": torch.linalg.cholesky(scaled).mT / scale,
        "Y1": torch.zeros_like(P),
        "cB2": rate**2 * P @ lfr.B2,
        "cD12": Lambda[:, None] * lfr.D12,
        "eps": _scalar(eps),
    }
    if not acyclic:
        LD = Lambda[:, None] * lfr.D11
        free |= {"lam": torch.log(Lambda), "Y2": (LD.mT - LD) / 2}
    free |= {name: getattr(lfr, name) for name in ("C2", "D21", "bx", "bv", "by")}
    return free


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _check_witness(P: Tensor, Lambda: Tensor) -> None:
    if margin((P + P.mT) / 2) <= 0:
        raise InputError("the witness' P is not positive definite, so it proves nothing; bring another witness.")
    if not bool((Lambda > 0).all()):
        raise InputError(f"the witness' Lambda must be positive, but its smallest entry is {float(Lambda.min()):.3g}.")
