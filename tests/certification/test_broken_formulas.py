"""Formulas of other packages whose promise does not hold: refused, with a counterexample; put right, proved."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from eqnets.certification import Contracting, Lipschitz, Passive, certify, lower_bound
from eqnets.errors import NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness

F64 = torch.float64


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=F64)


def contracting(seed: int, weight: float) -> tuple[LFR, Witness]:
    """A REN with E = (H11 + weight·𝒫 + Y − Yᵀ)/2; a rate ρ needs the weight 1/ρ² (Revay et al. 2024, eq. 23)."""
    g, n, q = torch.Generator().manual_seed(seed), 3, 3
    X, Y = normal(g, 2 * n + q, 2 * n + q), normal(g, n, n)
    H = X.mT @ X + 1e-3 * torch.eye(2 * n + q, dtype=F64)
    calP, F, calB = H[n + q :, n + q :], H[n + q :, :n], H[n + q :, n : n + q]
    E = (H[:n, :n] + weight * calP + Y - Y.mT) / 2
    Lambda = H[n : n + q, n : n + q].diagonal() / 2
    A, B1 = torch.linalg.solve(E, F), torch.linalg.solve(E, calB)
    C1, D11 = -H[n : n + q, :n] / Lambda[:, None], -H[n : n + q, n : n + q].tril(-1) / Lambda[:, None]
    lfr = LFR(A=A, B1=B1, B2=normal(g, n, 1), C1=C1, D11=D11, D12=normal(g, q, 1), C2=normal(g, 1, n), D22=[[0.0]],
              bv=normal(g, q), activation="relu")  # fmt: skip
    return lfr, Witness(E.mT @ torch.linalg.solve(calP, E), Lambda)


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_a_rate_that_multiplies_where_it_should_divide(rate: float) -> None:
    # ContractiveREN(contraction_rate_lb=ρ) of several repositories: ρ𝒫 in place of 𝒫/ρ² loosens as ρ falls
    found = 0
    for seed in range(200):
        lfr, witness = contracting(seed, rate)
        if float(torch.linalg.eigvals(lfr.A).abs().max()) < 1:
            continue
        with pytest.raises(NotCertified):
            certify(Contracting(rate), lfr, witness)
        with pytest.raises(NotCertified):
            certify(Contracting(rate), lfr)
        counter = lower_bound(Contracting(rate), lfr)
        assert counter.refuted and counter.uncertifiable and (counter.attained or 0.0) > rate
        assert certify(Contracting(rate), *contracting(seed, rate**-2)).margin > 0
        found += 1
        if found == 2:
            break
    assert found  # the formula does make models that expand


def bounded(seed: int, gamma: float, weight: float) -> tuple[LFR, Witness]:
    """A continuous REN with the completed squares of the gain times `weight`; the right one is 1/γ."""
    g, n, q = torch.Generator().manual_seed(seed), 3, 2
    X, Y, C2, D21 = 0.1 * normal(g, n + q, n + q), normal(g, n, n), normal(g, 1, n), normal(g, 1, q)
    outputs, inputs = torch.cat([C2, D21], 1), normal(g, n + q, 1)  # inputs: [P B2; Λ D12]
    H = X.mT @ X + 1e-2 * torch.eye(n + q, dtype=F64) + weight * (outputs.mT @ outputs + inputs @ inputs.mT)
    P, Lambda = torch.eye(n, dtype=F64), H[n:, n:].diagonal() / 2
    C1 = normal(g, q, n)
    A, B1 = -H[:n, :n] / 2 + Y - Y.mT, -H[:n, n:] - C1.mT * Lambda
    lfr = LFR(A=A, B1=B1, B2=inputs[:n], C1=C1, D11=-H[n:, n:].tril(-1) / Lambda[:, None],
              D12=inputs[n:] / Lambda[:, None], C2=C2, D21=D21, D22=[[0.0]], activation="tanh", dt=None)  # fmt: skip
    return lfr, Witness(P, Lambda)


@pytest.mark.parametrize("gamma", [0.3, 0.05])
def test_a_gain_with_a_square_root_too_many(gamma: float) -> None:
    # NodeREN's "rl2": √(1/γ) in place of 1/γ
    for seed in range(3):
        assert certify(Lipschitz(gamma), *bounded(seed, gamma, 1 / gamma)).margin > 0
        lfr, witness = bounded(seed, gamma, math.sqrt(1 / gamma))
        with pytest.raises(NotCertified):
            certify(Lipschitz(gamma), lfr, witness)
        counter = lower_bound(Lipschitz(gamma), lfr)
        assert counter.uncertifiable and (counter.pattern or 0.0) > 1.01 * gamma


def test_a_feedthrough_that_forgets_one_of_two_passivities() -> None:
    # RobustNeuralNetworks.jl, PassiveRENParams with ν > 0 and ρ > 0: D22 = (I + M)⁻¹/ρ, without ν
    nu, rho = 0.8, 0.3
    for seed in range(2):
        g = torch.Generator().manual_seed(seed)
        X, Y = normal(g, 2, 2), normal(g, 2, 2)
        M, eye = X.mT @ X + Y - Y.mT + 1e-6 * torch.eye(2, dtype=F64), torch.eye(2, dtype=F64)
        wrong = LFR(D22=torch.linalg.inv(eye + M) / rho)
        with pytest.raises(NotCertified):
            certify(Passive(nu, rho), wrong)
        assert lower_bound(Passive(nu, rho), wrong, tries=2, steps=50).refuted
        N = torch.linalg.solve(eye + M, eye - M)
        right = LFR(D22=(eye + math.sqrt(1 - 4 * nu * rho) * N) / (2 * rho))
        assert certify(Passive(nu, rho), right).margin > 0
