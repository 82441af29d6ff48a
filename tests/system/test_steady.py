"""Steady states: where the simulation comes to rest, one for every input under contraction, and the linearisation."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch.autograd.functional import jacobian

import eqnets as eq
from eqnets.system.lfr import LFR

F64 = torch.float64
Make = Callable[..., LFR]
pytestmark = pytest.mark.filterwarnings("error")


def ren(seed: int, acyclic: bool = True) -> eq.ContractingREN:
    g = torch.Generator().manual_seed(seed)
    return eq.ContractingREN(2, 3, 4, 2, rate=0.9, acyclic=acyclic, generator=g, dtype=F64)


@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_contracting_system_comes_to_rest_at_the_operating_point(seed: int, acyclic: bool) -> None:
    model = ren(seed, acyclic)
    lfr, witness = model.explicit().detach(), model.witness()
    u = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(seed))
    point = eq.operating_point(lfr, u, witness)
    y, last = eq.simulate(lfr, u[:, None].expand(-1, 600, -1).contiguous(), torch.ones(3, dtype=F64))
    torch.testing.assert_close(last, point.x, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(y[:, -1], point.y, rtol=1e-9, atol=1e-10)
    one = eq.operating_point(lfr, u[2], witness)
    torch.testing.assert_close(one.y, point.y[2], rtol=1e-10, atol=1e-12)
    static = eq.static_characteristic(lfr)
    torch.testing.assert_close(eq.simulate(static, u[:, None])[0][:, 0], point.y, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_multipliers_of_contraction_prove_the_static_network_well_posed(seed: int) -> None:
    model = ren(seed, acyclic=False)
    static = eq.static_characteristic(model.explicit().detach())
    alone = eq.Witness(torch.zeros(0, 0, dtype=F64), model.witness().Lambda)
    assert eq.certify(eq.WellPosed(), static, alone).margin > 0


@pytest.mark.parametrize("seed", range(3))
def test_no_static_gain_exceeds_the_dynamic_one(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    model = eq.LipschitzREN(2, 3, 4, 2, gamma=1.5, generator=g, dtype=F64)
    witness = model.witness()
    static = eq.static_characteristic(model.explicit().detach())
    alone = eq.Witness(torch.zeros(0, 0, dtype=F64), witness.Lambda, witness.supply)
    assert eq.certify(eq.Lipschitz(1.5), static, alone).claim.gamma == 1.5


def test_the_pendulum_rests_where_gravity_meets_the_torque() -> None:
    plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.5, upright=False)
    angle = torch.linspace(-1.2, 1.2, 7, dtype=F64)
    torque = plant.mass * plant.gravity * plant.length * torch.sin(angle)
    for lfr in (plant.lfr(0.01, method="euler"), plant.lfr(0.01, method="midpoint")):
        with pytest.warns(eq.UncertifiedWarning, match="the only one"):
            point = eq.operating_point(lfr, torque[:, None])
        torch.testing.assert_close(point.y[:, 0], angle, rtol=1e-9, atol=1e-10)


def test_continuous_and_discrete_systems_rest_at_one_point(random_lfr: Make) -> None:
    lfr = random_lfr(0, scale=0.2, dt=None)
    lfr = lfr.replace(A=lfr.A - torch.eye(2, dtype=F64))
    u = torch.randn(4, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    with pytest.warns(eq.UncertifiedWarning):
        here = eq.operating_point(lfr, u)
    with pytest.warns(eq.UncertifiedWarning):
        there = eq.operating_point(eq.discretise(lfr, 0.3, "euler"), u)
    torch.testing.assert_close(here.x, there.x, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(here.y, there.y, rtol=1e-10, atol=1e-12)
    at_rest = eq.simulate(lfr.replace(dt=1.0), u[:, None], here.x)[1]  # ẋ
    assert float(at_rest.abs().max()) < 1e-10


@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_linearisation_is_the_derivative_of_the_step(random_lfr: Make, seed: int, acyclic: bool) -> None:
    lfr = random_lfr(seed, acyclic=acyclic, scale=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.UncertifiedWarning)
        point = eq.operating_point(lfr, torch.ones(4, dtype=F64))

    def step(x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, last = eq.simulate(lfr, u[None, None], x[None], method="reference")
        return last[0], y[0, 0]

    lti = eq.linearise(lfr, point.x, point.u)
    (A, B), (C, D) = jacobian(step, (point.x, point.u))  # type: ignore[misc]
    for found, expected in ((lti.A, A), (lti.B, B), (lti.C, C), (lti.D, D)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    # and its static gain is the derivative of the static characteristic
    static = eq.linearise(eq.static_characteristic(lfr), torch.zeros(0, dtype=F64), point.u)
    expected = lti.C @ torch.linalg.solve(torch.eye(2, dtype=F64) - lti.A, lti.B) + lti.D
    torch.testing.assert_close(static.D, expected, rtol=1e-9, atol=1e-10)


def test_what_has_no_steady_state_is_refused() -> None:
    integrator = eq.LTI([[1.0]], [[1.0]], [[1.0]], [[0.0]], 0.1).to_lfr()
    with pytest.raises(eq.InputError, match="I − A is singular"):
        eq.operating_point(integrator, torch.ones(1, dtype=F64))
    with pytest.raises(eq.InputError, match="^A is singular"):
        eq.static_characteristic(integrator.replace(A=[[0.0]], dt=None))
    with pytest.raises(eq.InputError, match="a constant input is"):
        eq.operating_point(integrator, torch.ones(3, dtype=F64))
    static = eq.LFR(D22=[[2.0]])
    assert eq.operating_point(static, torch.ones(1, dtype=F64)).y.item() == 2.0
