"""P of a Riccati equation: where P and Λ of many states are needed and nobody brings a witness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.certification.test_search import network

from eqnets.certification import Contracting, Lipschitz, Passive, certify, riccati, tighten
from eqnets.certification import semidefinite as sdp
from eqnets.certification.inequality import Rows, storage
from eqnets.certification.labels import Labels
from eqnets.certification.patterns import worst_gain
from eqnets.errors import NotCertified
from eqnets.system.lfr import LFR

ONES = np.ones(2)


def gain(lfr: LFR) -> tuple[float, np.ndarray]:
    rows = Rows.of(lfr)
    start = riccati.contracting(rows, 1.0 if rows.discrete else 0.0)
    assert start is not None
    found = riccati.smallest_gain(rows, ONES, ONES, start[1])
    assert found is not None
    return found[0], found[3]


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "silu"])
@pytest.mark.parametrize("dt", [1.0, None])
def test_it_is_close_to_the_optimum_and_never_below(dt, activation) -> None:
    for seed in range(2):
        lfr = network(seed, 2, 4, 5, 2, 0.5, dt, activation=activation)
        best = sdp.smallest_gain(Rows.of(lfr), Lipschitz(1.0), Labels.of(lfr))[0]
        assert best * (1 - 1e-6) <= gain(lfr)[0] <= 1.02 * best


@pytest.mark.parametrize("rate, dt", [(1.0, 1.0), (0.8, 1.0), (0.3, None)])
def test_its_numbers_make_the_inequality_of_contraction_hold(rate, dt) -> None:
    rows = Rows.of(network(0, 2, 6, 5, 2, 0.5, dt, activation="silu"))
    found = riccati.contracting(rows, rate)
    assert found is not None
    inner = rows.nx + rows.nv
    assert np.linalg.eigvalsh(storage(rows, *found, rate).mid[:inner, :inner])[0] > 0
    assert np.linalg.eigvalsh(found[0])[0] > 0 and (found[1] > 0).all()


def test_eighty_states_are_proved_without_a_witness() -> None:
    lfr = network(0, 2, 80, 20, 2, 0.8)
    t = torch.logspace(-2, 2, 20, dtype=lfr.A.dtype)  # far from equal multipliers: small gain is not enough
    lfr = lfr.replace(B1=lfr.B1 * t, C1=lfr.C1 / t[:, None], D11=lfr.D11 * t / t[:, None], D12=lfr.D12 / t[:, None],
                      D21=lfr.D21 * t)  # fmt: skip
    fast = certify(Contracting(0.9), lfr)
    assert "Riccati" in fast.method and "integer" in fast.method and fast.margin > 0
    gamma, slopes = gain(lfr)
    lower = worst_gain(Rows.of(lfr), ONES, ONES, sweeps=0, starts=slopes)[0]
    assert lower < gamma < 1.1 * lower
    assert certify(Lipschitz(1.02 * gamma), lfr, proof="float64").margin > 0


def test_a_rate_and_a_gain_of_many_states_are_tightened() -> None:
    lfr = network(0, 2, 61, 3, 2, 0.6)
    gamma, slopes = gain(lfr)
    lower = worst_gain(Rows.of(lfr), ONES, ONES, sweeps=0, starts=slopes)[0]
    assert lower <= tighten(Lipschitz(1.0), lfr, proof="float64").claim.gamma <= 1.001 * gamma <= 1.1 * lower
    rate = tighten(Contracting(), lfr, proof="float64").claim.rate
    middle = lfr.A + 0.5 * lfr.B1 @ torch.linalg.solve(torch.eye(3, dtype=lfr.A.dtype) - 0.5 * lfr.D11, lfr.C1)
    assert float(torch.linalg.eigvals(middle).abs().max()) < rate < 0.9
    with pytest.raises(NotCertified, match="Riccati equation is .* Remedy: claim gamma") as caught:
        certify(Lipschitz(0.9 * lower), lfr)
    assert caught.value.block == "gain"


def test_where_nothing_is_found_it_is_said() -> None:
    expanding = network(0, 1, 61, 3, 1, 3.0)
    with pytest.raises(NotCertified, match="which the activations may have"):
        certify(Contracting(), expanding)
    with pytest.raises(NotCertified, match="no P and Λ with which the inequality of contraction holds"):
        certify(Lipschitz(100.0), expanding)
    with pytest.raises(NotCertified, match="for Contracting and Lipschitz only"):
        certify(Passive(), network(0, 1, 61, 3, 1, 0.3))
    # a slope of no width has no middle to loop around
    assert riccati.contracting(Rows.of(network(0, 1, 3, 2, 1, 0.3, activation="identity")), 1.0) is None
