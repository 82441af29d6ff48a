"""The initial state: found from the first outputs where they show it, the prior's mean where they do not."""

from __future__ import annotations

import pytest
import torch
from tests.identification.conftest import random_lti, records_of

from eqnets.identification.initial_state import Prior, estimate_x0
from eqnets.identification.moments import initial_states, moments
from eqnets.models import ContractingREN
from eqnets.system.simulate import simulate


def prior(nx: int, ny: int, noise: float) -> Prior:
    return Prior(
        torch.zeros(nx, dtype=torch.float64), torch.eye(nx, dtype=torch.float64), torch.full((ny,), noise).double()
    )


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", [(2, 3, 5, 4), (1, 2, 3, 1)])
def test_it_finds_the_state_that_made_the_outputs(sizes: tuple[int, int, int, int], activation: str) -> None:
    nu, nx, nv, ny = sizes
    for seed in range(4):
        g = torch.Generator().manual_seed(seed)
        lfr = ContractingREN(*sizes, activation=activation, generator=g, dtype=torch.float64).explicit().detach()
        u = torch.randn(60, nu, generator=g, dtype=torch.float64)
        x0 = torch.randn(nx, generator=g, dtype=torch.float64)
        y, _ = simulate(lfr, u[None], x0[None])
        found = estimate_x0(lfr, u, y[0], prior(nx, ny, 1e-7))
        again, _ = simulate(lfr, u[None], found[None])
        assert (again - y).abs().max() <= 1e-5 * y.abs().max()


def test_no_output_gives_the_mean_and_no_state_gives_nothing() -> None:
    lfr = random_lti(3, 1, 1, 0).to_lfr()
    p = Prior(torch.tensor([1.0, 2.0, 3.0]).double(), torch.eye(3).double(), torch.ones(1).double())
    assert torch.equal(estimate_x0(lfr, torch.zeros(0, 1).double(), torch.zeros(0, 1).double(), p), p.mean)
    static = random_lti(3, 2, 1, 0).to_lfr().replace(A=None, B2=None, C2=None, B1=None, C1=None, bx=None)
    assert estimate_x0(static, torch.zeros(5, 2).double(), torch.zeros(5, 1).double(), prior(0, 1, 1.0)).shape == (0,)


def test_moments_are_those_of_the_states() -> None:
    lti = random_lti(3, 2, 1, 1)
    data = records_of(lti, [800, 700], 2, noise=0.1)
    lfr = lti.to_lfr()
    found = moments(lfr, data)
    x0 = initial_states(lfr, data, found)
    again = moments(lfr, data, x0)
    clean = records_of(lti, [800, 700], 2)
    noise = torch.cat([torch.from_numpy(a.y - b.y) for a, b in zip(data.records, clean.records, strict=True)]).std(0)
    assert torch.allclose(again.noise, noise, rtol=0.1)
    assert torch.linalg.eigvalsh(again.covariance)[0] > 0
