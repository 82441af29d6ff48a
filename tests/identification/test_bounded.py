"""A linear model and a bounded residual: the promise holds whatever was trained, and so does the loop with PI."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.identification.bounded import Bounded, identify_bounded

F64 = torch.float64


@pytest.fixture(scope="module")
def data() -> eq.Data:
    plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, upright=True, kp=40.0, kd=4.0)
    pairs = plant.records(torch.Generator().manual_seed(0), n_records=2, dt=0.05)
    return eq.read(pairs, u=["torque"], y=["angle"], dt=0.05, units={"torque": "N·m", "angle": "rad"})


@pytest.fixture(scope="module")
def fit(data: eq.Data) -> Bounded:
    return identify_bounded(data, starts=2, steps=60, nv=6, nominal_steps=20)


def test_the_residual_has_the_promised_gain_and_forgets_as_fast_as_the_nominal_model(fit: Bounded) -> None:
    nominal = fit.nominal.lfr
    assert fit.gamma == pytest.approx(0.8 * abs(float(eq.static_characteristic(nominal).D22)), rel=1e-5)
    assert eq.certify(fit.residual.claim, fit.residual.lfr, fit.residual.witness).margin > 0
    assert fit.residual.rate is not None and fit.residual.rate <= fit.linear.spectral_radius() * (1 + 1e-6)
    assert len(fit.validation) == 2 and 1 <= fit.steps <= 60


def test_training_lowers_the_error_of_the_linear_model(fit: Bounded, data: eq.Data) -> None:
    assert float(fit.score(data).rmse[0]) < 0.9 * float(fit.nominal.score(data).rmse[0])
    u = torch.tensor(data.records[0].u)[None]
    parts = [eq.simulate(lfr, u)[0] for lfr in (fit.nominal.lfr, fit.residual.lfr)]
    torch.testing.assert_close(eq.simulate(fit.lfr, u)[0], sum(parts), rtol=1e-10, atol=1e-10)


def test_the_same_seed_makes_the_same_model(data: eq.Data) -> None:
    first, second = (identify_bounded(data.head(200), starts=1, steps=3, nv=2, nx=2, nominal_steps=2) for _ in range(2))
    assert first.lfr.digest() == second.lfr.digest()


def test_the_loop_with_pi_is_certified_and_is_the_loop(fit: Bounded) -> None:
    controller = eq.pi(fit.linear, uncertainty=fit.gamma)
    certificate = eq.certify_loop(fit.nominal.lfr, controller, fit.residual)
    assert certificate.rate is not None and certificate.rate < 1
    loop = certificate.lfr
    assert loop.y_names == ("angle", "torque") and loop.y_units == ("rad", "N·m") and loop.u_units == ("rad",)
    wired = eq.interconnect(
        {"plant": fit.lfr, "pi": controller}, {"pi.u1": ["r", "-plant.angle"], "plant.torque": "pi.y1"},
        ["r"], ["plant.angle", "plant.torque"],
    )  # fmt: skip
    r = torch.randn(1, 200, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(eq.simulate(loop, r)[0], eq.simulate(wired, r)[0], rtol=1e-9, atol=1e-10)
    point = eq.operating_point(loop, torch.tensor([[0.5], [-0.3]], dtype=F64), certificate.witness)
    torch.testing.assert_close(point.y[:, 0], point.u[:, 0], rtol=1e-9, atol=1e-9)  # the integrator leaves no offset


def test_what_small_gain_cannot_prove_is_refused(fit: Bounded) -> None:
    brisk = eq.pi(fit.linear, 2.0)
    with pytest.raises(eq.NotCertified, match="small gain needs less than 1"):
        eq.certify_loop(fit.nominal.lfr, brisk, fit.residual)
    contracting = eq.certify(eq.Contracting(), fit.residual.lfr, fit.residual.witness)
    with pytest.raises(eq.InputError, match="needs a certified gain"):
        eq.certify_loop(fit.nominal.lfr, brisk, contracting)
    with pytest.raises(eq.InputError, match="linear nominal model"):
        eq.certify_loop(fit.lfr, brisk, fit.residual)


def test_options_out_of_range_are_refused(data: eq.Data) -> None:
    with pytest.raises(eq.InputError, match="share of the static gain"):
        identify_bounded(data, share=1.0)
    with pytest.raises(eq.InputError, match="at least 1"):
        identify_bounded(data, starts=0)
    two = eq.read([(r.u.repeat(2, axis=1), r.y) for r in data.records], dt=0.05)
    with pytest.raises(eq.InputError, match="one input and one output"):
        identify_bounded(two)
