"""Certificates of connections from those of their parts, and what a proved rate says in seconds and units."""

from __future__ import annotations

import math

import pytest
import torch

import eqnets as eq
from eqnets.system.observer import state_output

F64 = torch.float64
SEEDS = pytest.mark.parametrize("seed", range(3))


def lipschitz(seed: int, gamma: float, nu: int = 2, ny: int = 2, nx: int = 3, nv: int = 4, **options) -> eq.Certificate:
    """A random REN with the certificate of its gain."""
    g = torch.Generator().manual_seed(seed)
    ren = eq.LipschitzREN(nu, nx, nv, ny, gamma=gamma, generator=g, dtype=F64, **options)
    return eq.certify(eq.Lipschitz(gamma), ren.explicit().detach(), ren.witness())


def passive(seed: int, **promise: float) -> eq.Certificate:
    g = torch.Generator().manual_seed(seed)
    ren = eq.PassiveREN(2, 3, 4, 2, **promise, generator=g, dtype=F64)
    claim = eq.Passive(promise.get("input_strict", 0.0), promise.get("output_strict", 0.0))
    return eq.certify(claim, ren.explicit().detach(), ren.witness())


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("gammas", [(4.0, 0.2), (0.9, 1.0)])
@SEEDS
def test_small_gain(seed: int, gammas: tuple[float, float], sign: int) -> None:
    """γ₁γ₂ < 1: the loop contracts, and its gain is at most γ₁/(1 − γ₁γ₂)."""
    one, two = gammas
    parts = [lipschitz(seed, one), lipschitz(seed + 10, two, nx=2, nv=3)]
    loop = eq.feedback(parts[0].lfr, parts[1].lfr, sign)
    contracts = eq.certify_connection(eq.Contracting(), loop, parts)
    assert contracts.rate is not None and contracts.rate < 1 and "parts'" in contracts.method
    bound = one / (1 - one * two) * (1 + 1e-4)
    assert eq.certify_connection(eq.Lipschitz(bound), loop, parts).claim == eq.Lipschitz(bound)


@SEEDS
def test_the_storage_of_the_loop_is_the_weighted_sum_of_the_parts(seed: int) -> None:
    parts = [lipschitz(seed, 0.5), lipschitz(seed + 10, 0.8, nx=2, nv=3)]
    P = eq.certify_connection(eq.Contracting(), eq.feedback(parts[0].lfr, parts[1].lfr), parts).witness.P
    assert not P[:3, 3:].any()
    for block, part in ((P[:3, :3], parts[0]), (P[3:, 3:], parts[1])):
        torch.testing.assert_close(block / block[0, 0], part.witness.P / part.witness.P[0, 0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("strict", [{}, {"output_strict": 0.2}, {"input_strict": 0.3}])
@SEEDS
def test_passive_parts_make_a_passive_loop(seed: int, strict: dict[str, float]) -> None:
    parts = [passive(seed), passive(seed + 10, **strict)]
    loop = eq.feedback(parts[0].lfr, parts[1].lfr)
    assert eq.certify_connection(eq.Passive(-1e-6), loop, parts).claim == eq.Passive(-1e-6)
    assert eq.certify_connection(eq.Contracting(), loop, parts).margin > 0


@SEEDS
def test_the_gains_of_a_cascade_multiply(seed: int) -> None:
    parts = [lipschitz(seed, 2.0), lipschitz(seed + 10, 0.7, nx=2)]
    bound = 2.0 * 0.7 * (1 + 1e-4)
    whole = eq.series(parts[0].lfr, parts[1].lfr)
    assert eq.certify_connection(eq.Lipschitz(bound), whole, parts).claim == eq.Lipschitz(bound)


@SEEDS
def test_a_cascade_of_contracting_parts_contracts_as_fast_as_they_do(seed: int) -> None:
    parts = []
    for k in range(3):
        ren = eq.ContractingREN(2, 2, 3, 2, rate=0.9, generator=torch.Generator().manual_seed(seed + k), dtype=F64)
        parts.append(eq.certify(eq.Contracting(0.9), ren.explicit().detach(), ren.witness()))
    chain = eq.series(*(part.lfr for part in parts))
    assert eq.certify_connection(eq.Contracting(0.91), chain, parts).rate <= 0.91


def test_a_composed_certificate_is_a_part_again() -> None:
    parts = [lipschitz(1, 0.5), lipschitz(2, 0.6)]
    inner = eq.certify_connection(eq.Lipschitz(0.72), eq.feedback(parts[0].lfr, parts[1].lfr), parts)
    third = lipschitz(3, 1.2)
    outer = eq.feedback(inner.lfr, third.lfr, 1)
    assert eq.certify_connection(eq.Contracting(), outer, [inner, third]).margin > 0


def test_continuous_time_and_linear_parts() -> None:
    plant = eq.LFR(A=[[-1.0, 1.0], [0.0, -2.0]], B1=[[0.1], [0.2]], B2=[[0.0], [1.0]], C1=[[0.3, 0.1]], C2=[[1.0, 0.0]],
                   D22=[[0.0]], activation="tanh", dt=None)  # fmt: skip
    lag = eq.LFR(A=[[-5.0]], B2=[[1.0]], C2=[[2.0]], D22=[[0.0]], dt=None)
    parts = [eq.tighten(eq.Lipschitz(1.0), plant), eq.tighten(eq.Lipschitz(1.0), lag)]
    assert parts[0].claim.gamma * parts[1].claim.gamma < 1
    certificate = eq.certify_connection(eq.Contracting(), eq.feedback(plant, lag), parts)
    assert certificate.rate > 0


def test_a_loop_that_grows_is_not_proved() -> None:
    one, two = eq.LTI([[0.5]], [[1.0]], [[1.0]], [[0.0]]), eq.LTI([[0.0]], [[1.0]], [[0.6]], [[0.0]])
    parts = [eq.tighten(eq.Lipschitz(1.0), lti.to_lfr()) for lti in (one, two)]
    loop = eq.feedback(parts[0].lfr, parts[1].lfr, 1)
    assert eq.linearise(loop).spectral_radius() > 1
    with pytest.raises(eq.NotCertified, match=r"gains multiply to 1\.2.*small gain needs less than 1"):
        eq.certify_connection(eq.Contracting(), loop, parts)


def test_parts_that_do_not_fit_are_refused() -> None:
    part = lipschitz(1, 0.5)
    loop = eq.feedback(part.lfr, part.lfr)
    with pytest.raises(eq.InputError, match="one certificate per system"):
        eq.certify_connection(eq.Contracting(), loop, [part])
    bare = eq.certify(eq.WellPosed(), part.lfr, part.witness)
    with pytest.raises(eq.InputError, match="part 2 is certified WellPosed"):
        eq.certify_connection(eq.Contracting(), loop, [part, bare])


def contracting(seed: int, rate: float = 0.9) -> eq.Certificate:
    ren = eq.ContractingREN(2, 3, 4, 2, rate=rate, generator=torch.Generator().manual_seed(seed), dtype=F64, dt=0.5)
    return eq.certify(eq.Contracting(rate), ren.explicit().detach(), ren.witness())


@SEEDS
def test_wrong_starts_stay_below_the_bound_in_units_and_recover_in_time(seed: int) -> None:
    certificate = contracting(seed)
    lfr, recovery = certificate.lfr, eq.Recovery.of(certificate)
    g = torch.Generator().manual_seed(seed)
    u = torch.randn(1, 200, 2, dtype=F64, generator=g).expand(11, -1, -1).contiguous()
    x0 = torch.randn(1, 3, dtype=F64, generator=g)
    dx = torch.randn(10, 3, dtype=F64, generator=g)
    y, _ = eq.simulate(lfr, u, torch.cat([x0, x0 + dx]))
    x, _ = eq.simulate(state_output(lfr), u, torch.cat([x0, x0 + dx]))
    error, time = (y[1:] - y[:1]).abs(), 0.5 * torch.arange(200, dtype=F64)
    for i in range(10):
        bound = recovery.output_bound(dx[i], time)
        assert bool((error[i] <= bound * (1 + 1e-9) + 1e-12).all())
    within = torch.tensor([0.05, 0.02], dtype=F64)
    step = round(recovery.time_within(dx, within) / 0.5)
    assert step < 200 and bool((error[:, step:] <= within).all())
    step = round(recovery.time_to_fraction(0.01) / 0.5)
    distance = recovery.distance(x[1:] - x[:1])
    assert bool((distance[:, step] <= 0.01 * distance[:, 0]).all())
    assert recovery.time_within(dx, 1e9) == 0.0


def test_recovery_of_a_lag_is_its_time_constant() -> None:
    for lfr in (
        eq.LFR(A=[[math.exp(-0.25)]], B2=[[1.0]], C2=[[3.0]], D22=[[0.0]], dt=0.5),
        eq.LFR(A=[[-0.5]], B2=[[1.0]], C2=[[3.0]], D22=[[0.0]], dt=None),
    ):
        recovery = eq.Recovery.of(eq.tighten(eq.Contracting(), lfr, rtol=1e-6))
        assert recovery.time_to_fraction(0.01) == pytest.approx(2.0 * math.log(100), abs=0.6, rel=1e-3)
        # |Δy| = 3 |Δx|: 2 units of the state are 6 of the output
        assert recovery.time_within(torch.tensor([2.0], dtype=F64), 0.06) == pytest.approx(2 * math.log(100), abs=0.6)


@SEEDS
def test_an_observer_forgets_its_first_guess_within_the_bound(seed: int) -> None:
    model = contracting(seed).lfr
    L = eq.kalman(eq.linearise(model), 0.01 * torch.eye(3, dtype=F64), torch.eye(2, dtype=F64))
    certificate = eq.tighten(eq.Contracting(), eq.observer(model, L))
    recovery = eq.Recovery.of(certificate)
    g = torch.Generator().manual_seed(seed)
    u, x0 = torch.randn(1, 100, 2, dtype=F64, generator=g), torch.randn(3, dtype=F64, generator=g)
    y, _ = eq.simulate(model, u, x0)
    guess, _ = eq.simulate(certificate.lfr, torch.cat([u, y], dim=2))
    bound = recovery.output_bound(-x0, 0.5 * torch.arange(100, dtype=F64))
    assert bool(((guess - y)[0].abs() <= bound * (1 + 1e-9) + 1e-12).all())


def test_a_set_point_is_reached_in_the_proved_time() -> None:
    """PI on the linearisation, the rate of the loop: from one steady state to the next within the stated seconds."""
    plant = eq.LFR(A=[[0.9, 0.05], [0.0, 0.8]], B1=[[0.02], [0.05]], B2=[[0.0], [0.1]], C1=[[0.3, 1.0]],
                   C2=[[2.0, 0.0]], D22=[[0.0]], bv=[0.2], by=[0.5], activation="tanh", dt=0.5)  # fmt: skip
    point = eq.operating_point(plant, torch.ones(1, dtype=F64), eq.certify(eq.Contracting(), plant).witness)
    controller = eq.pi(eq.linearise(plant, point.x, point.u))
    loop = eq.interconnect({"plant": plant, "pi": controller}, {"pi.u1": ["r", "-plant.y1"], "plant.u1": "pi.y1"},
                           ["r"], ["plant.y1", "pi.y1"])  # fmt: skip
    certificate = eq.tighten(eq.Contracting(), loop)
    old, new = (eq.operating_point(loop, point.y + step, certificate.witness) for step in (0.0, 0.1))
    assert float(new.y[0]) == pytest.approx(float(point.y[0]) + 0.1, abs=1e-9)  # the integrator leaves no offset
    recovery = eq.Recovery.of(certificate)
    time = recovery.time_within(old.x - new.x, 0.002)
    y, _ = eq.simulate(loop, new.u.expand(1, round(time / 0.5) + 50, 1).contiguous(), old.x)
    assert float((y[0, round(time / 0.5) :, 0] - new.y[0]).abs().max()) <= 0.002


def test_no_rate_no_recovery() -> None:
    static = eq.certify(eq.Lipschitz(2.0), eq.LFR(D22=[[1.0]]))
    with pytest.raises(eq.InputError, match="no rate"):
        eq.Recovery.of(static)
    recovery = eq.Recovery.of(contracting(0))
    with pytest.raises(eq.InputError, match="between 0 and 1"):
        recovery.time_to_fraction(1.0)
    with pytest.raises(eq.InputError, match="tolerance must be positive"):
        recovery.time_within(torch.ones(3, dtype=F64), 0.0)
