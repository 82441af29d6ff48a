"""Shift registers before a system: exactly late, and what was proved of the system is proved of the whole."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.errors import InputError, NotCertified
from eqnets.system.delay import contracting_witness, delayed, gain_witness

DELAYS = [(3, 0), (1, 20), (0, 60)]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def contracting(seed: int) -> tuple[eq.LFR, eq.Witness]:
    rate = (1.0, 0.9, 0.5, 0.1)[seed % 4]
    ren = eq.ContractingREN(
        2, 3, 5, 2, rate=rate, activation="tanh", acyclic=seed % 2 == 0, generator=generator(seed), dtype=torch.float64
    )
    lfr = ren.explicit().detach()
    return lfr, eq.tighten(eq.Contracting(), lfr, ren.witness(), proof="float64").witness


@pytest.mark.parametrize("delays", [(0, 0), *DELAYS])
def test_every_input_comes_as_late_as_asked(delays: tuple[int, int]) -> None:
    lfr, _ = contracting(1)
    lfr = lfr.replace(u_names=("a", "b"), u_units=("N", "V"))
    whole = delayed(lfr, delays)
    u = torch.randn(1, 90, 2, generator=generator(7), dtype=torch.float64)
    late = torch.zeros_like(u)
    for j, d in enumerate(delays):
        late[:, d:, j] = u[:, : 90 - d, j]
    assert torch.allclose(eq.simulate(whole, u)[0], eq.simulate(lfr, late)[0], rtol=0, atol=1e-12)
    assert whole.nx == lfr.nx + sum(delays)
    assert (whole.u_names, whole.u_units) == (lfr.u_names, lfr.u_units)


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize("seed", range(8))
def test_contraction_passes_a_delay_at_little_more_than_its_rate(seed: int, delays: tuple[int, int]) -> None:
    lfr, witness = contracting(seed)
    own = witness.rate(lfr)
    found = contracting_witness(lfr, witness, delays, largest=1.0)
    certificate = eq.certify(eq.Contracting(), delayed(lfr, delays), found)
    assert own <= certificate.rate < 1
    assert certificate.rate <= max(own**0.9, 1e8 ** (-0.5 / max(delays))) * (1 + 1e-9)


def test_a_rate_without_room_is_refused() -> None:
    lfr, witness = contracting(0)
    with pytest.raises(NotCertified, match="too near"):
        contracting_witness(lfr, witness, (2, 2), largest=0.99 * witness.rate(lfr))


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize("seed", range(4))
def test_a_gain_passes_a_delay_unchanged(seed: int, delays: tuple[int, int]) -> None:
    ren = eq.LipschitzREN(2, 3, 5, 2, gamma=2.0, generator=generator(seed), dtype=torch.float64)
    found = gain_witness(ren.witness(), delays, slack=0.01)
    certificate = eq.certify(eq.Lipschitz(2.0), delayed(ren.explicit().detach(), delays), found)
    assert certificate.claim == eq.Lipschitz(2.0)


def test_passivity_does_not_pass_a_delay() -> None:
    ren = eq.PassiveREN(1, 3, 5, 1, generator=generator(0), dtype=torch.float64)
    with pytest.raises(InputError, match="only a gain passes"):
        gain_witness(ren.witness(), (2,), slack=0.01)


def test_what_cannot_be_delayed_is_refused() -> None:
    lfr, _ = contracting(0)
    for delays in ((1,), (1, -1)):
        with pytest.raises(InputError, match="numbers of samples"):
            delayed(lfr, delays)
    with pytest.raises(InputError, match="discrete"):
        delayed(lfr.replace(dt=None), (1, 1))
