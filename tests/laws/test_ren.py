"""The theorems of recurrent equilibrium networks: they hold for every parameter value of every member.

The inequalities are written out here from the explicit system, without the library's own assembly, and are scaled to a
unit diagonal (Jacobi) before eigenvalues are taken.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.func import functional_call, vmap

from eqnets.models import ContractingREN, LipschitzREN
from eqnets.models.base import REN
from eqnets.system.simulate import simulate

SEEDS = 10
SIZES = [  # nu, nx, nv, ny: all distinct, ny > nu and ny < nu, and every zero
    (2, 3, 4, 5), (5, 4, 6, 2), (1, 5, 2, 1), (3, 2, 7, 1),
    (2, 0, 4, 3), (3, 0, 4, 2), (2, 3, 0, 4), (4, 3, 0, 2), (3, 0, 0, 2), (0, 3, 4, 2), (2, 3, 4, 0),
]  # fmt: skip
RATES = [1.0, 0.9, 0.5]
PROMISES = [None, 0.1, 1.0, 10.0]
ACTIVATIONS = ["relu", "tanh", "leaky_relu(0.1)", "softplus", "sigmoid"]


def make(sizes, gamma, rate, acyclic, activation="relu", seed=0, **kwargs) -> REN:
    kwargs = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(seed), **kwargs}
    if gamma is None:
        return ContractingREN(*sizes, rate=rate, activation=activation, acyclic=acyclic, **kwargs)
    return LipschitzREN(*sizes, gamma=gamma, rate=rate, activation=activation, acyclic=acyclic, **kwargs)


def draw(ren: REN, generator: torch.Generator, *batch: int, spread: float = 1.0) -> dict[str, torch.Tensor]:
    """Random parameters, far from any start."""
    return {
        name: spread * torch.randn(*batch, *value.shape, generator=generator, dtype=torch.float64)
        for name, value in ren.named_parameters()
    }


def scramble(ren: REN, seed: int, spread: float = 1.0) -> REN:
    parameters = draw(ren, torch.Generator().manual_seed(seed), spread=spread)
    with torch.no_grad():
        for name, value in ren.named_parameters():
            value.copy_(parameters[name])
    return ren


class Explicit(torch.nn.Module):
    """explicit() and witness() as a forward, so that torch.func can map it over parameters."""

    def __init__(self, ren: REN) -> None:
        super().__init__()
        self.ren = ren

    def forward(self):
        witness = self.ren.witness()
        return self.ren.explicit().blocks(), witness.P, witness.Lambda


def explicit_of_many(ren: REN, parameters):
    wrapped = {f"ren.{name}": value for name, value in parameters.items()}
    module = Explicit(ren)
    return vmap(lambda p: functional_call(module, p, ()))(wrapped)


def smallest_scaled(M: torch.Tensor) -> float:
    if M.shape[-1] == 0:
        return 1.0
    diagonal = torch.diagonal(M, dim1=-2, dim2=-1)
    assert bool((diagonal > 0).all()), "a diagonal entry of the inequality is not positive"
    scale = diagonal.rsqrt()
    return float(torch.linalg.eigvalsh(scale[..., :, None] * M * scale[..., None, :])[..., 0].min())


def contraction_lmi(b, P, Lambda, rate):
    """M_c = [ᾱ²P, −C1ᵀΛ; −ΛC1, W] − [Aᵀ; B1ᵀ] P [A B1]."""
    L = torch.diag_embed(Lambda)
    W = 2 * L - L @ b["D11"] - b["D11"].mT @ L
    M = torch.cat([
        torch.cat([rate**2 * P, -(L @ b["C1"]).mT], -1),
        torch.cat([-L @ b["C1"], W], -1),
    ], -2)  # fmt: skip
    AB = torch.cat([b["A"], b["B1"]], -1)
    return M - AB.mT @ P @ AB


def gain_lmi(b, P, Lambda, rate, gamma):
    """M_s for Q = −I/γ, S = 0, R = γI."""
    L = torch.diag_embed(Lambda)
    W = 2 * L - L @ b["D11"] - b["D11"].mT @ L
    nu = b["D22"].shape[-1]
    zero = torch.zeros(*P.shape[:-1], nu, dtype=P.dtype)
    gain = gamma * torch.eye(nu, dtype=P.dtype).expand(*P.shape[:-2], nu, nu)
    M = torch.cat([
        torch.cat([rate**2 * P, -(L @ b["C1"]).mT, zero], -1),
        torch.cat([-L @ b["C1"], W, -L @ b["D12"]], -1),
        torch.cat([zero.mT, -(L @ b["D12"]).mT, gain], -1),
    ], -2)  # fmt: skip
    AB = torch.cat([b["A"], b["B1"], b["B2"]], -1)
    CD = torch.cat([b["C2"], b["D21"], b["D22"]], -1)
    return M - AB.mT @ P @ AB - CD.mT @ CD / gamma


@pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("gamma", PROMISES)
def test_the_inequality_holds_for_random_parameters(gamma, rate, acyclic):
    generator = torch.Generator().manual_seed(7)
    for sizes, spread in itertools.product(SIZES, (0.3, 1.0)):
        ren = make(sizes, gamma, rate, acyclic)
        blocks, P, Lambda = explicit_of_many(ren, draw(ren, generator, SEEDS, spread=spread))
        if acyclic:
            assert not torch.triu(blocks["D11"]).any()
        M = contraction_lmi(blocks, P, Lambda, rate) if gamma is None else gain_lmi(blocks, P, Lambda, rate, gamma)
        assert smallest_scaled(P) > 0 and bool((Lambda > 0).all())
        assert smallest_scaled(M) > 0, (sizes, spread)


def exact(matrix: torch.Tensor) -> np.ndarray:
    fractions = np.empty(tuple(matrix.shape), dtype=object)
    for index in np.ndindex(*matrix.shape):
        fractions[index] = Fraction(float(matrix[index]))
    return fractions


def is_definite_exactly(M: np.ndarray) -> bool:
    """Whether every pivot of the rational LDLᵀ factorisation is positive."""
    M = M.copy()
    for k in range(len(M)):
        if M[k, k] <= 0:
            return False
        M[k + 1 :, k:] -= np.multiply.outer(M[k + 1 :, k] / M[k, k], M[k, k:])
    return True


@pytest.mark.parametrize("gamma", [0.1, 10.0])
def test_the_inequality_holds_exactly_for_degenerate_parameters(gamma):
    """X = 0 and X of rank one: H is ε and the supply's terms, too stiff for float64: in rational numbers."""
    for sizes, rate, acyclic in itertools.product(SIZES, (1.0, 0.5), (True, False)):
        ren = make(sizes, gamma, rate, acyclic)
        parameters = draw(ren, torch.Generator().manual_seed(3), 2, spread=0.3)
        parameters["X"][0] = 0
        parameters["X"][1, 1:] = 0
        blocks, P, Lambda = explicit_of_many(ren, parameters)
        for k in range(2):
            b = {name: exact(block[k]) for name, block in blocks.items()}
            nu, nx, nv, _ = sizes
            n, total = nx + nv, nx + nv + nu
            L = exact(torch.diag(Lambda[k]))
            M = np.full((total, total), Fraction(0), dtype=object)
            M[:nx, :nx] = Fraction(rate) ** 2 * exact(P[k])
            M[nx:n, nx:n] = 2 * L - L @ b["D11"] - b["D11"].T @ L
            M[nx:n, :nx], M[nx:n, n:] = -L @ b["C1"], -L @ b["D12"]
            M[:nx, nx:n], M[n:, nx:n] = M[nx:n, :nx].T, M[nx:n, n:].T
            M[range(n, total), range(n, total)] = Fraction(gamma)
            AB = np.concatenate([b["A"], b["B1"], b["B2"]], axis=1)
            CD = np.concatenate([b["C2"], b["D21"], b["D22"]], axis=1)
            for left, middle, right in ((AB, exact(P[k]), AB), (CD, None, CD)):
                if len(left):
                    M = M - (left.T @ (middle @ right) if middle is not None else left.T @ right / Fraction(gamma))
            assert is_definite_exactly(M), (sizes, rate, acyclic, k)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("gamma", PROMISES)
def test_every_frozen_linearisation_contracts_at_the_rate(gamma, rate):
    """A smaller rate tightens: with slopes J anywhere in [0, 1], ρ(A + B1 J (I − D11 J)⁻¹ C1) ≤ ᾱ."""
    generator = torch.Generator().manual_seed(11)
    ren = make((2, 3, 4, 5), gamma, rate, True)
    b, _, _ = explicit_of_many(ren, draw(ren, generator, 500))
    J = torch.rand(500, 4, generator=generator, dtype=torch.float64).round(decimals=1)
    loop = torch.linalg.solve(torch.eye(4, dtype=torch.float64) - b["D11"] * J[:, None, :], b["C1"])
    radius = torch.linalg.eigvals(b["A"] + b["B1"] @ (J[:, :, None] * loop)).abs().amax(-1)
    assert float(radius.max()) <= rate + 1e-12
    assert float(radius.max()) > 0.3 * rate  # the test can see an expansion: the models are no dead ones


@pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_two_trajectories_under_one_input_contract_at_the_rate(activation, acyclic):
    generator = torch.Generator().manual_seed(5)
    sizes_of = itertools.cycle([(2, 3, 4, 5), (5, 4, 6, 2), (0, 3, 4, 2)])
    for gamma, rate, seed in itertools.product((None, 1.0), RATES, range(3)):
        sizes = next(sizes_of)
        ren = scramble(make(sizes, gamma, rate, acyclic, activation), seed)
        nu, nx, nv, _ = sizes
        lfr, P = ren.explicit().detach(), ren.witness().P
        eye, none = torch.eye(nx, dtype=torch.float64), torch.zeros
        seen = lfr.replace(C2=eye, D21=none(nx, nv).double(), D22=none(nx, nu).double(), by=none(nx).double())
        u = 30 * torch.randn(8, 12, nu, generator=generator, dtype=torch.float64)
        pair = 30 * torch.randn(2, 8, nx, generator=generator, dtype=torch.float64)
        x, last = simulate(seen, torch.cat([u, u]), pair.flatten(0, 1))
        x = torch.cat([x, last[:, None]], dim=1).reshape(2, 8, 13, nx)
        dx = x[0] - x[1]
        V = torch.einsum("bti,ij,btj->bt", dx, P, dx)
        slack = 1e-10 * V[:, :1]
        assert bool((V[:, 1:] <= rate**2 * V[:, :-1] + slack).all())
        steps = torch.arange(13, dtype=torch.float64)
        reach = torch.linalg.cond(P).sqrt() * rate**steps * torch.linalg.vector_norm(dx[:, :1], dim=-1)
        assert bool((torch.linalg.vector_norm(dx, dim=-1) <= reach * (1 + 1e-9) + 1e-9).all())


@pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])
@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
def test_no_attack_beats_gamma(gamma, acyclic):
    """Gradient ascent on a pair of input sequences, for several random networks; it comes close, and never above."""
    best = 0.0
    for seed, (sizes, rate) in enumerate([((2, 3, 4, 5), 1.0), ((4, 3, 6, 2), 0.9)]):
        ren = scramble(make(sizes, gamma, rate, acyclic, ACTIVATIONS[seed]), seed)
        lfr = ren.explicit().detach()
        generator = torch.Generator().manual_seed(seed)
        u = torch.randn(2, 4, 12, sizes[0], generator=generator, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([u], lr=0.1)
        for _ in range(25 if acyclic else 12):
            y, _ = simulate(lfr, u.flatten(0, 1))
            dy = y.unflatten(0, (2, 4)).diff(dim=0).flatten(2).norm(dim=-1)
            gain = dy / u.diff(dim=0).flatten(2).norm(dim=-1)
            assert float(gain.detach().max()) <= gamma * (1 + 1e-9)
            best = max(best, float(gain.detach().max()))
            optimiser.zero_grad()
            (-gain.log().sum()).backward()
            optimiser.step()
    assert best > 0.5 * gamma


@pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])
@pytest.mark.parametrize("gamma", PROMISES)
def test_the_witness_proves_the_rate_and_carries_its_supply(gamma, acyclic):
    for sizes, rate in itertools.product(SIZES, RATES):
        ren = scramble(make(sizes, gamma, rate, acyclic), 1)
        witness = ren.witness()
        assert witness.P.dtype == witness.Lambda.dtype == torch.float64
        assert witness.rate(ren.explicit()) <= rate
        if gamma is None:
            assert witness.supply is None
        else:
            assert torch.equal(witness.supply.Q, -torch.eye(sizes[3], dtype=torch.float64) / gamma)
            assert torch.equal(witness.supply.R, gamma * torch.eye(sizes[0], dtype=torch.float64))
            assert not witness.supply.S.any() and witness.supply.S.shape == (sizes[0], sizes[3])


@pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])
@pytest.mark.parametrize("gamma", [None, 0.1, 10.0])
def test_the_inverse_map_gives_the_system_back(gamma, acyclic):
    for sizes, rate in itertools.product(SIZES, RATES):
        ren = scramble(make(sizes, gamma, rate, acyclic, "tanh", dt=0.02), 2)
        lfr, witness = ren.explicit().detach(), ren.witness()
        back = type(ren).from_lfr(lfr, witness, rate=rate, acyclic=acyclic)
        assert back.acyclic == acyclic and back.rate == rate and back.dt == 0.02
        again = back.explicit().detach()
        assert again.activation.name == "tanh" and again.dt == 0.02
        for name, block in lfr.blocks().items():
            if block.numel():
                assert float((again.blocks()[name] - block).abs().max()) <= 1e-9 * float(block.abs().max()), name
        if sizes[1]:
            assert torch.allclose(back.witness().P, witness.P, rtol=1e-8, atol=1e-10 * float(witness.P.abs().max()))
        assert torch.allclose(back.witness().Lambda, witness.Lambda, rtol=1e-9)
        if gamma is not None:
            assert back.gamma == pytest.approx(gamma, rel=1e-12)


@pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])
@pytest.mark.parametrize("gamma", [None, 0.7])
@pytest.mark.parametrize("sizes", [(2, 3, 4, 3), (3, 2, 3, 2)])
def test_finite_differences_agree_with_the_gradients_of_explicit(sizes, gamma, acyclic):
    ren = scramble(make(sizes, gamma, 0.8, acyclic), 4, spread=0.5)
    names = [name for name, _ in ren.named_parameters()]
    module = Explicit(ren)

    def blocks(*values):
        found, _, _ = functional_call(module, {f"ren.{n}": v for n, v in zip(names, values, strict=True)}, ())
        return torch.cat([block.flatten() for block in found.values()])

    values = tuple(value.detach().clone().requires_grad_() for value in ren.parameters())
    assert torch.autograd.gradcheck(blocks, values, eps=1e-6, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])
@pytest.mark.parametrize("gamma", PROMISES)
def test_gradients_reach_every_parameter_from_the_start(gamma, acyclic):
    ren = make((2, 4, 6, 3), gamma, 0.95, acyclic, "tanh")
    u = torch.randn(3, 10, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, _ = ren(u)
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)).sum().backward()
    for name, value in ren.named_parameters():
        assert value.grad is not None and bool(value.grad.isfinite().all()), name
        assert float(value.grad.abs().max()) > 0, name


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("gamma", PROMISES)
def test_a_random_start_has_a_long_memory(gamma, rate):
    for seed, acyclic in itertools.product(range(4), (True, False)):
        ren = make((2, 20, 30, 3), gamma, rate, acyclic, seed=seed)
        radius = float(torch.linalg.eigvals(ren.explicit().A.detach()).abs().max())
        assert 0.9 * rate < radius < rate
