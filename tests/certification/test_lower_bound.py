"""Counterexamples: what is found is attained, never above what is certified, and close to it where that is sharp."""

from __future__ import annotations

import math

import pytest
import torch
from tests.certification.test_search import network

import eqnets as eq
from eqnets.certification import (
    Contracting,
    Dissipative,
    Lipschitz,
    Monotone,
    Passive,
    WellPosed,
    certify,
    lower_bound,
    tighten,
)  # fmt: skip
from eqnets.errors import InputError, NotCertified
from eqnets.models import LipschitzREN
from eqnets.models.rnn import rnn
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate

F64 = torch.float64


@pytest.mark.parametrize("activation", ["relu", "tanh", "sine_defect"])
@pytest.mark.parametrize("sizes", [(2, 0, 6, 3), (2, 3, 6, 2), (3, 2, 0, 2)])
def test_attained_is_below_the_pattern_and_the_pattern_below_the_certificate(sizes, activation: str) -> None:
    lfr = network(1, *sizes, 0.3, activation=activation)
    gamma = tighten(Lipschitz(1.0), lfr).claim.gamma
    found = lower_bound(Lipschitz(gamma), lfr, steps=60, time=15)
    assert found.attained is not None and found.pattern is not None and found.u is not None and found.x0 is not None
    assert found.attained <= gamma and found.pattern <= gamma * (1 + 1e-9)
    assert found.attained >= 0.6 * gamma
    assert not found.refuted and not found.uncertifiable
    y = simulate(lfr, found.u, found.x0)[0]  # the pair reaches the number
    assert float((y[1] - y[0]).norm() / (found.u[1] - found.u[0]).norm()) == pytest.approx(found.attained, rel=1e-9)
    assert torch.equal(found.x0[0], found.x0[1])


def test_a_gain_below_what_is_attained_is_refuted_and_never_certified() -> None:
    g = torch.Generator().manual_seed(0)
    for seed in range(4):
        model = LipschitzREN(2, 3, 5, 2, gamma=1.5, generator=g, dtype=F64)
        lfr = model.explicit().detach()
        attained = lower_bound(Lipschitz(1.5), lfr, steps=60).attained
        assert attained is not None and attained <= 1.5 * (1 + 1e-9)
        false = Lipschitz(0.99 * attained)
        assert lower_bound(false, lfr, steps=60).refuted, seed
        for witness in (None, model.witness()):
            with pytest.raises(NotCertified):
                certify(false, lfr, witness)


@pytest.mark.parametrize("seed", range(5))
def test_an_expanding_network_is_refuted_by_a_pair_that_parts(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(4, 4, generator=g, dtype=F64)
    W = W * (1.05 / float(torch.linalg.eigvals(W).abs().max()))
    lfr = rnn(W, torch.randn(4, 2, generator=g, dtype=F64), torch.zeros(4, dtype=F64), torch.ones(1, 4, dtype=F64))
    found = lower_bound(Contracting(), lfr, time=200)
    assert found.refuted and found.uncertifiable and found.attained is not None and found.attained >= 1.05 - 1e-9
    last = simulate(lfr, found.u, found.x0)[1]
    assert float((last[1] - last[0]).norm()) > 10 * float((found.x0[1] - found.x0[0]).norm())
    with pytest.raises(NotCertified):
        certify(Contracting(), lfr)


@pytest.mark.parametrize("seed", range(3))
def test_rates_attained_are_proved_rates_or_slower_ones(seed: int) -> None:
    lfr = network(seed, 1, 3, 6, 1, 0.4, activation="tanh")
    cert = tighten(Contracting(), lfr)
    found = lower_bound(Contracting(cert.rate), lfr)
    assert found.attained is not None and found.pattern is not None and cert.rate is not None
    assert found.attained <= found.pattern * (1 + 1e-9) <= cert.rate * (1 + 1e-9)
    assert not found.refuted
    assert lower_bound(Contracting(0.99 * found.attained), lfr).refuted


def test_passivity_and_dissipativity_are_attacked() -> None:
    lfr = network(0, 2, 3, 5, 2, 0.3)
    direct = lfr.replace(D22=lfr.D22 + 20 * torch.eye(2, dtype=F64))
    assert certify(Passive(1.0), direct).margin > 0 and not lower_bound(Passive(1.0), direct, steps=30, time=8).refuted
    assert lower_bound(Passive(100.0), direct, steps=30, time=8).refuted
    eye = torch.eye(2, dtype=F64)
    gamma = tighten(Lipschitz(1.0), lfr).claim.gamma
    for factor, refuted in ((1.01, False), (0.3, True)):
        claim = Dissipative(-eye, 0 * eye, (factor * gamma) ** 2 * eye)
        assert lower_bound(claim, lfr, steps=50, time=8).refuted is refuted
        if refuted:
            with pytest.raises(NotCertified):
                certify(claim, lfr)
        else:
            assert certify(claim, lfr).margin > 0


def test_a_monotone_claim_is_decided() -> None:
    lfr = network(0, 1, 0, 6, 1, 0.7)
    most = 1 - float(torch.linalg.eigvalsh((lfr.D11 + lfr.D11.T) / 2)[-1])
    assert lower_bound(Monotone(0.1), lfr).attained == pytest.approx(most)
    assert lower_bound(Monotone(1.01 * most), lfr).refuted and not lower_bound(Monotone(0.99 * most), lfr).refuted


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("seed", range(3))
def test_in_continuous_time_small_signals_at_rest_attack(seed: int, activation: str) -> None:
    lfr = network(seed, 1, 3, 5, 1, 0.4, None, activation=activation)
    cert = tighten(Contracting(), lfr)
    found = lower_bound(Contracting(cert.rate), lfr)
    assert found.attained is not None and found.pattern is not None and cert.rate is not None
    assert cert.rate <= found.pattern <= found.attained * (1 + 1e-9) and not found.uncertifiable and not found.refuted
    assert lower_bound(Contracting(1.01 * found.attained), lfr).refuted
    gain = tighten(Lipschitz(1.0), lfr).claim.gamma
    found = lower_bound(Lipschitz(gain), lfr)
    assert found.attained is not None and found.pattern is not None and not found.refuted
    assert 0.3 * gain < found.attained <= found.pattern * (1 + 1e-6) <= gain * (1 + 2e-6)
    assert lower_bound(Lipschitz(0.99 * found.attained), lfr).refuted


def test_what_small_signals_attain_is_attained_by_a_sinusoid() -> None:
    """A second-order lag with a neuron: the peak of its response at the worst rest, measured in time."""
    lfr = LFR(A=[[0.0, 1.0], [-1.0, -0.2]], B1=[[0.0], [0.5]], B2=[[0.0], [1.0]], C1=[[-1.0, 0.0]], C2=[[1.0, 0.0]],
              D22=[[0.0]], activation="tanh", dt=None)  # fmt: skip
    found = lower_bound(Lipschitz(1.0), lfr)
    assert found.attained is not None and found.refuted and found.u is not None and found.x0 is not None
    slope = 1 - math.tanh(float(found.x0[0, 0])) ** 2
    sampled, time = eq.discretise(lfr, 0.05, "midpoint"), 0.05 * torch.arange(20_000, dtype=F64)
    du = 1e-3 * torch.sin((1 + 0.5 * slope - 0.02) ** 0.5 * time)[None, :, None]
    at_rest, beside = (simulate(sampled, found.u[:1] + change, found.x0[:1])[0] for change in (0 * du, du))
    assert float((at_rest - at_rest[:, :1]).abs().max()) < 1e-8
    assert float((beside - at_rest).norm() / du.norm()) == pytest.approx(found.attained, rel=0.02)


def test_a_supply_is_attacked_in_continuous_time() -> None:
    lfr = LFR(A=[[-1.0]], B1=[[0.3]], B2=[[1.0]], C1=[[-1.0]], C2=[[1.0]], D22=[[0.2]], activation="tanh", dt=None)
    found = lower_bound(Passive(0.1), lfr)  # Re(1/(jω + 1 + 0.3φ') + 0.2) falls to 0.2 at high frequencies
    assert found.attained == pytest.approx(2 * (0.1 - 0.2), abs=1e-4) and not found.refuted
    assert eq.certify(Passive(0.1), lfr).margin > 0
    found = lower_bound(Passive(0.3), lfr)
    assert found.attained == pytest.approx(2 * (0.3 - 0.2), abs=1e-4) and found.refuted


def test_a_static_network_without_a_time_is_attacked_like_one_with() -> None:
    lfr = network(0, 3, 0, 8, 2, 0.4)
    with_time, without = (lower_bound(Lipschitz(1.0), lfr.replace(dt=dt), steps=20) for dt in (1.0, None))
    assert with_time.attained == without.attained is not None


def test_wrong_input_is_a_sentence() -> None:
    with pytest.raises(InputError, match="no number to attack"):
        lower_bound(WellPosed(), network(0, 1, 2, 3, 1, 0.3))
    with pytest.raises(InputError, match="different units"):
        lower_bound(Lipschitz(1.0), network(0, 2, 2, 3, 1, 0.3).replace(u_units=("N", "m")))


# what is refused, with the reason -----------------------------------------------------------------------------------


def test_a_strictly_proper_sampled_model_is_never_passive() -> None:
    lfr = LFR(A=[[0.5]], B2=[[1.0]], C2=[[1.0]], D22=[[0.0]])
    with pytest.raises(NotCertified, match="does not see its input"):
        certify(Passive(), lfr)
    found = lower_bound(Passive(), lfr, time=10, steps=100)
    assert found.refuted and found.u is not None  # and there is a pair to show it
    assert certify(Passive(-0.667), lfr).margin > 0  # a shortage can be proved: 1/(z − 0.5) has Re ≥ −2/3
    with pytest.raises(NotCertified):
        certify(Passive(-0.666), lfr)
    # 1/(s + 0.5) is positive real, and 0 at infinite frequency: all but a hair can be proved
    assert certify(Passive(-1e-6), lfr.replace(A=-lfr.A, dt=None)).margin > 0
    through = LFR(D12=[[1.0]], D21=[[1.0]], D22=[[0.0]], activation="leaky_relu(0.1)")
    assert certify(Passive(0.09), through).margin > 0


def test_multipliers_that_couple_neurons_are_refused_and_their_counterexample_is_found() -> None:
    # f(x) = relu(x) − relu(x − 1): LipSDP-Network "proves" 6e-5; the slope is 1 on (0, 1), and 1 is certified
    lfr = LFR(D12=[[1.0], [1.0]], D21=[[1.0, -1.0]], D22=[[0.0]], bv=[0.0, -1.0])
    off = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=F64)
    from eqnets.system.witness import Witness

    with pytest.raises(NotCertified, match="LipSDP-Network"):
        certify(Lipschitz(6e-5), lfr, Witness(torch.zeros(0, 0, dtype=F64), off))
    assert lower_bound(Lipschitz(6e-5), lfr).refuted
    assert tighten(Lipschitz(1.0), lfr).claim.gamma == pytest.approx(1.0, rel=1e-3)
    diagonal = Witness(torch.zeros(0, 0, dtype=F64), torch.eye(2, dtype=F64))
    assert certify(WellPosed(), lfr, diagonal).margin > 0


def test_an_activation_outside_its_slopes_is_refused() -> None:
    from eqnets.system.nonlinearity import Nonlinearity

    wrong = Nonlinearity("steep", lambda v: 2 * torch.relu(v), lambda v: 2.0 * (v > 0), (0.0, 1.0))
    lfr = LFR(D11=[[0.2]], D12=[[1.0]], D21=[[1.0]], D22=[[0.0]], activation=wrong)
    with pytest.raises(NotCertified, match="its slope is 2"):
        certify(Lipschitz(3.0), lfr)
    with pytest.raises(NotCertified, match=r"slopes in \[0, 1\]"):
        certify(Monotone(0.1), LFR(D11=[[0.2]], D22=[[0.0]], activation="sine_defect"))


def test_published_bounds_of_broken_kinds_are_refuted() -> None:
    # a rate that a wrong formula states: x⁺ = 0.9 x contracts by 0.9, not by 0.81
    lfr = LFR(A=[[0.9]], B2=[[1.0]], C2=[[1.0]], D22=[[0.0]])
    assert lower_bound(Contracting(0.81), lfr).refuted
    assert math.isclose(lower_bound(Contracting(0.95), lfr).attained or 0.0, 0.9, rel_tol=1e-9)
