"""The witness: the numbers that make a claim about an LFR checkable: P, Λ and the supply they prove."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.lfr import LFR


@dataclass(frozen=True, eq=False)
class Supply:
    """The incremental supply s = Δyᵀ Q Δy + 2 Δuᵀ S Δy + Δuᵀ R Δu.

    (−I/γ, 0, γI) and (−I, 0, γ²I) state the same gain γ, but their P and Λ differ by the factor γ: a witness therefore
    carries the supply that it proves.

    Args:
        Q: (ny, ny), symmetric, Q ≼ 0.
        S: (nu, ny).
        R: (nu, nu), symmetric.
    """

    Q: Tensor
    S: Tensor
    R: Tensor


@dataclass(frozen=True, eq=False)
class Witness:
    """The storage V(Δx) = Δxᵀ P Δx and the multipliers Λ, float64.

    Args:
        P: (nx, nx), symmetric positive definite.
        Lambda: (nv,), positive: the diagonal of Λ.
        supply: the supply that P and Λ prove, or None if they prove contraction alone.
    """

    P: Tensor
    Lambda: Tensor
    supply: Supply | None = None

    def rate(self, lfr: LFR) -> float:
        """The smallest contraction rate ᾱ that this P and Λ prove for `lfr`: |Δx_t|_P ≤ ᾱᵗ |Δx_0|_P.

        With the Schur complement of the inequality, ᾱ² is the largest generalised eigenvalue of K against P, where
        K = AᵀPA + XᵀY⁻¹X, X = Π_wx − B1ᵀPA, Y = Π_ww − B1ᵀPB1 (Revay, Wang, Manchester 2024, eq. 16, for slopes in
        [α, β]). In continuous time the rate is c in e^{−ct}, and the largest proved c is returned.

        Args:
            lfr: the system, of the witness' sizes.

        Returns:
            The rate; ᾱ may exceed 1, and is `inf` where Y is not positive definite (nothing is proved; −inf in
            continuous time). For nx = 0 it is 0 (inf in continuous time).

        Raises:
            InputError: the sizes differ.
        """
        if self.P.shape != (lfr.nx, lfr.nx) or self.Lambda.shape != (lfr.nv,):
            raise InputError(
                f"the witness has P {tuple(self.P.shape)} and Lambda {tuple(self.Lambda.shape)}, but the LFR has "
                f"nx={lfr.nx} and nv={lfr.nv}; take the witness of the same model."
            )
        lfr = lfr.detach().to("cpu", torch.float64)
        P, Lambda = self.P.detach().to("cpu", torch.float64), self.Lambda.detach().to("cpu", torch.float64)
        discrete = lfr.dt is not None
        if lfr.nx == 0:
            return 0.0 if discrete else math.inf
        nothing = math.inf if discrete else -math.inf
        low, high = lfr.activation.slopes(lfr.nv)
        # Π(Λ) = Σ λ_i (p_i r_iᵀ + r_i p_iᵀ) with p = w − α v, r = w − β v, over (Δx, Δw)
        Lz = torch.cat([lfr.C1, lfr.D11], dim=1)
        Ew = torch.cat([torch.zeros_like(lfr.C1), torch.eye(lfr.nv, dtype=torch.float64)], dim=1)
        p, r = Ew - low[:, None] * Lz, Ew - high[:, None] * Lz
        Pi = p.T @ (Lambda[:, None] * r)
        Pi = Pi + Pi.T
        n = lfr.nx
        if discrete:
            K = lfr.A.T @ P @ lfr.A - Pi[:n, :n]
            X = Pi[n:, :n] - lfr.B1.T @ P @ lfr.A
            Y = Pi[n:, n:] - lfr.B1.T @ P @ lfr.B1
        else:
            K = lfr.A.T @ P + P @ lfr.A - Pi[:n, :n]
            X = Pi[n:, :n] - lfr.B1.T @ P
            Y = Pi[n:, n:]
        factor, info = torch.linalg.cholesky_ex(Y)
        root, info_P = torch.linalg.cholesky_ex(P)
        if int(info) or int(info_P):
            return nothing
        Z = torch.linalg.solve_triangular(factor, X, upper=False)
        K = K + Z.T @ Z
        half = torch.linalg.solve_triangular(root, K, upper=False)
        scaled = torch.linalg.solve_triangular(root, half.mT, upper=False)
        largest = float(torch.linalg.eigvalsh((scaled + scaled.mT) / 2)[-1])
        return math.sqrt(max(largest, 0.0)) if discrete else -largest / 2
