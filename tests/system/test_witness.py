"""Witness.rate against bisection on the inequalities themselves."""

from __future__ import annotations

import math

import pytest
import torch

from eqnets.errors import InputError
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness

F64 = torch.float64


def contracting(seed: int, n: int, q: int, rate: float) -> tuple[LFR, Witness]:
    """A random acyclic model with slopes in [0, 1] and its witness, by the direct parametrisation."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(2 * n + q, 2 * n + q, generator=generator, dtype=F64)
    Y = torch.randn(n, n, generator=generator, dtype=F64)
    H = X.T @ X + 1e-2 * torch.eye(2 * n + q, dtype=F64)
    H11, H21, H22 = H[:n, :n], H[n : n + q, :n], H[n : n + q, n : n + q]
    H31, H32, H33 = H[n + q :, :n], H[n + q :, n : n + q], H[n + q :, n + q :]
    E = (H11 + H33 / rate**2 + Y - Y.T) / 2
    Lambda = torch.diagonal(H22) / 2
    lfr = LFR(
        A=torch.linalg.solve(E, H31), B1=torch.linalg.solve(E, H32), C1=-H21 / Lambda[:, None],
        D11=-torch.tril(H22, -1) / Lambda[:, None], D22=torch.zeros(1, 1, dtype=F64),
    )  # fmt: skip
    return lfr, Witness(E.T @ torch.linalg.solve(H33, E), Lambda)


def contracting_in_time(seed: int, n: int, q: int, rate: float) -> tuple[LFR, Witness]:
    """The same in continuous time, rate c (NodeREN)."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n + q, n + q, generator=generator, dtype=F64)
    Y1, Xp = torch.randn(n, n, generator=generator, dtype=F64), torch.randn(n, n, generator=generator, dtype=F64)
    U = torch.randn(n, q, generator=generator, dtype=F64)
    H = X.T @ X + 1e-2 * torch.eye(n + q, dtype=F64)
    P = Xp.T @ Xp + 0.1 * torch.eye(n, dtype=F64)
    Lambda = torch.diagonal(H[n:, n:]) / 2
    lfr = LFR(
        A=torch.linalg.solve(P, -(H[:n, :n] + 2 * rate * P + Y1 - Y1.T) / 2), B1=torch.linalg.solve(P, -H[:n, n:] - U),
        C1=U.T / Lambda[:, None], D11=-torch.tril(H[n:, n:], -1) / Lambda[:, None], D22=torch.zeros(1, 1, dtype=F64),
        dt=None,
    )  # fmt: skip
    return lfr, Witness(P, Lambda)


def with_slopes_up_to_two(lfr: LFR, witness: Witness) -> tuple[LFR, Witness]:
    """w = 2w̃: the same system written for slopes [0, 2]; w(w − 2v) = 4w̃(w̃ − v), so the multipliers are a quarter."""
    halved = lfr.replace(B1=lfr.B1 / 2, D11=lfr.D11 / 2, D21=lfr.D21 / 2, activation="sine_defect")
    return halved, Witness(witness.P, witness.Lambda / 4)


def inequality(lfr: LFR, witness: Witness, rate: float) -> torch.Tensor:
    """The matrices M_c for slopes [0, 1], written block by block."""
    P, L = witness.P, torch.diag(witness.Lambda)
    W = 2 * L - L @ lfr.D11 - lfr.D11.T @ L
    if lfr.dt is None:
        corner, side = -lfr.A.T @ P - P @ lfr.A - 2 * rate * P, -lfr.C1.T @ L - P @ lfr.B1
        return torch.cat([torch.cat([corner, side], 1), torch.cat([side.T, W], 1)])
    AB = torch.cat([lfr.A, lfr.B1], 1)
    M = torch.cat([torch.cat([rate**2 * P, -lfr.C1.T @ L], 1), torch.cat([-L @ lfr.C1, W], 1)])
    return M - AB.T @ P @ AB


def by_polarisation(lfr: LFR, witness: Witness, rate: float) -> torch.Tensor:
    """The matrix of ξ ↦ ρ²V(Δx) − V(Δx⁺) + 2 Σ λ(Δw − αΔv)(Δw − βΔv), for any slopes."""
    low, high = lfr.activation.slopes(lfr.nv)

    def form(xi: torch.Tensor) -> torch.Tensor:
        x, w = xi[: lfr.nx], xi[lfr.nx :]
        f, v = lfr.A @ x + lfr.B1 @ w, lfr.C1 @ x + lfr.D11 @ w
        sector = 2 * (witness.Lambda * (w - low * v) * (w - high * v)).sum()
        if lfr.dt is None:
            return -2 * x @ witness.P @ f - 2 * rate * x @ witness.P @ x + sector
        return rate**2 * x @ witness.P @ x - f @ witness.P @ f + sector

    basis = torch.eye(lfr.nx + lfr.nv, dtype=F64)
    return torch.stack([torch.stack([(form(a + b) - form(a) - form(b)) / 2 for b in basis]) for a in basis])


def bisect(holds, good: float, bad: float) -> float:
    assert holds(good) and not holds(bad)
    for _ in range(60):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def positive(M: torch.Tensor) -> bool:
    scale = torch.diagonal(M).clamp_min(1e-300).rsqrt()
    return bool((torch.diagonal(M) > 0).all()) and float(torch.linalg.eigvalsh(scale[:, None] * M * scale)[0]) > 0


@pytest.mark.parametrize("slopes", [1, 2])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "q"), [(3, 4), (1, 1), (4, 2)])
def test_rate_is_where_the_inequality_ends(seed, n, q, slopes):
    lfr, witness = contracting(seed, n, q, 0.9)
    expected = bisect(lambda r: positive(inequality(lfr, witness, r)), 1.5, 0.0)
    assert expected < 0.9
    if slopes == 2:
        lfr, witness = with_slopes_up_to_two(lfr, witness)
    assert witness.rate(lfr) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("slopes", [1, 2])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "q"), [(3, 4), (1, 1), (4, 2)])
def test_rate_in_continuous_time(seed, n, q, slopes):
    lfr, witness = contracting_in_time(seed, n, q, 0.4)
    expected = bisect(lambda c: positive(inequality(lfr, witness, c)), 0.4, 1e4)
    assert expected > 0.4
    if slopes == 2:
        lfr, witness = with_slopes_up_to_two(lfr, witness)
    assert witness.rate(lfr) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("activation", ["leaky_relu(0.3)", ["leaky_relu(0.5)", "sigmoid", "sine_defect", "tanh"]])
@pytest.mark.parametrize("make", [contracting, contracting_in_time])
@pytest.mark.parametrize("seed", range(4))
def test_rate_for_other_slope_intervals(seed, make, activation):
    """Any slopes, per neuron: against the quadratic form itself."""
    lfr, witness = make(seed, 3, 4, 0.9)
    lfr = lfr.replace(activation=activation, D11=lfr.D11 / 4, C1=lfr.C1 / 4)
    rate = witness.rate(lfr)
    assert math.isfinite(rate)
    step = 1e-5 if lfr.dt is not None else -1e-5
    assert positive(by_polarisation(lfr, witness, rate + step))
    assert not positive(by_polarisation(lfr, witness, rate - step))


def test_a_larger_claim_is_not_made():
    """The witness of a slower model proves no more than bisection allows, and a broken witness proves nothing."""
    lfr, witness = contracting(0, 3, 4, 0.9)
    scaled = Witness(7 * witness.P, 7 * witness.Lambda)  # the witnesses form a cone
    assert scaled.rate(lfr) == pytest.approx(witness.rate(lfr), rel=1e-12)
    assert Witness(-witness.P, witness.Lambda).rate(lfr) == math.inf
    assert Witness(witness.P, 1e-9 * witness.Lambda).rate(lfr) == math.inf
    continuous, c_witness = contracting_in_time(0, 3, 4, 0.4)
    assert Witness(-c_witness.P, c_witness.Lambda).rate(continuous) == -math.inf
    assert Witness(c_witness.P, -c_witness.Lambda).rate(continuous) == -math.inf
    assert witness.rate(lfr.replace(A=3 * lfr.A, B1=lfr.B1 * 0, C1=lfr.C1 * 0)) > 1


def test_linear_and_static():
    A = torch.tensor([[0.0, 0.5], [-0.5, 0.0]], dtype=F64)
    linear = LFR(A=A, D22=[[0.0]])
    nothing = torch.zeros(0, dtype=F64)
    assert Witness(torch.eye(2, dtype=F64), nothing).rate(linear) == pytest.approx(0.5)
    assert Witness(torch.eye(2, dtype=F64), nothing).rate(linear.replace(A=A - 1.5 * torch.eye(2), dt=None)) == (
        pytest.approx(1.5)
    )
    static = LFR(D11=[[0.0]], D22=[[1.0]])
    assert Witness(torch.zeros(0, 0, dtype=F64), torch.ones(1, dtype=F64)).rate(static) == 0.0
    assert Witness(torch.zeros(0, 0, dtype=F64), torch.ones(1, dtype=F64)).rate(static.replace(dt=None)) == math.inf


def test_sizes_must_agree():
    lfr, witness = contracting(0, 3, 4, 0.9)
    other, _ = contracting(0, 2, 4, 0.9)
    with pytest.raises(InputError, match=r"P \(3, 3\).*nx=2"):
        witness.rate(other)
    with pytest.raises(InputError, match=r"Lambda \(3,\).*nv=4"):
        Witness(witness.P, witness.Lambda[:3]).rate(lfr)
