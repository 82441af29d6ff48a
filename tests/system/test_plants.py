"""The pendulum: its equation, its LFR, its closed-form proof, its data."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from eqnets.errors import InputError, NotCertified
from eqnets.system import ode
from eqnets.system.discretise import midpoint_witness
from eqnets.system.plants import Pendulum
from eqnets.system.simulate import simulate
from eqnets.system.witness import Witness

F64 = torch.float64
CONTROLLED = Pendulum(mass=0.5, length=0.5, gravity=9.81, damping=0.02, kp=30.0, kd=4.5)


def torques(seed: int, batch: int = 3, time: int = 80) -> torch.Tensor:
    return 5 * torch.randn(batch, time, 1, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("gains", [(0.0, 0.0), (30.0, 4.5)])
def test_lfr_is_newtons_equation(upright, gains):
    """The LFR's right-hand side is m l² φ'' = ± m g l sin φ − μ φ' − m l² (kp φ + kd φ') + u, in SI units."""
    m, l, g, mu = 0.7, 0.4, 9.81, 0.13
    plant = Pendulum(m, l, g, mu, upright, *gains)
    lfr = plant.lfr()
    assert (lfr.dt, lfr.nx, lfr.nv, lfr.nu, lfr.ny) == (None, 2, 1, 1, 1)
    assert (lfr.u_names, lfr.u_units, lfr.y_names, lfr.y_units) == (("torque",), ("N·m",), ("angle",), ("rad",))
    x = 4 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    u = torques(1, 50, 1)[:, 0]
    v = x @ lfr.C1.T + u @ lfr.D12.T
    w = v - torch.sin(v)
    torch.testing.assert_close(lfr.activation(v), w)
    derivative = x @ lfr.A.T + w @ lfr.B1.T + u @ lfr.B2.T
    torque = (1 if upright else -1) * m * g * l * torch.sin(x[:, 0]) - mu * x[:, 1] + u[:, 0]
    torque = torque - m * l**2 * (gains[0] * x[:, 0] + gains[1] * x[:, 1])
    torch.testing.assert_close(derivative[:, 0], x[:, 1])
    torch.testing.assert_close(derivative[:, 1], torque / (m * l**2))
    torch.testing.assert_close(x @ lfr.C2.T, x[:, :1])


def test_upright_and_hanging_are_one_pendulum():
    """Free, φ_upright = φ_hanging + π."""
    up, down = (Pendulum(1.0, 0.5, 9.81, 0.2, upright) for upright in (True, False))
    u = torques(2)
    y_up, _ = up.simulate(0.2 * u, torch.tensor([math.pi + 0.3, 0.5], dtype=F64), 0.05)
    y_down, _ = down.simulate(0.2 * u, torch.tensor([0.3, 0.5], dtype=F64), 0.05)
    torch.testing.assert_close(y_up, y_down + math.pi, rtol=0, atol=1e-9)


def test_simulation_error_by_halving(monkeypatch):
    """Half the internal step changes nothing above 1e-9 rad; twice the step already agrees to that."""
    u = torques(3)
    x0 = torch.tensor([[2.0, -3.0], [0.0, 0.0], [-1.0, 6.0]], dtype=F64)
    for plant in (CONTROLLED, Pendulum(0.5, 0.5, 9.81, 0.02, upright=False), Pendulum(1.0, 1.0, 9.81, 20.0, kp=15.0)):
        y, x = plant.simulate(u, x0, 0.05)
        with monkeypatch.context() as patch:
            patch.setattr(ode, "_RATIO", ode._RATIO / 2)
            fine_y, fine_x = plant.simulate(u, x0, 0.05)
        assert not torch.equal(y, fine_y)
        torch.testing.assert_close(y, fine_y, rtol=0, atol=1e-9)
        torch.testing.assert_close(x, fine_x, rtol=0, atol=1e-9)


def test_integrator_order():
    """Order eight on x' = −x, and on the unit circle."""
    for f, x in ((lambda x: -x, np.ones(1)), (lambda x: np.array([x[1], -x[0]]), np.array([1.0, 0.0]))):
        truth = np.exp(-2) * x if x.size == 1 else np.array([math.cos(2), -math.sin(2)])
        errors = [np.abs(ode.steps(f, x, 2.0, count) - truth).max() for count in (2, 4)]
        assert 2**7.5 < errors[0] / errors[1] < 2**10


def test_energy_is_conserved_without_friction():
    plant = Pendulum(0.3, 0.7, 9.81, 0.0, upright=False)
    y, x = plant.simulate(torch.zeros(1, 400, 1), torch.tensor([2.5, 0.0]), 0.05)

    def energy(phi, omega):
        return 0.5 * 0.3 * 0.7**2 * omega**2 - 0.3 * 9.81 * 0.7 * math.cos(phi)

    assert energy(float(x[0, 0]), float(x[0, 1])) == pytest.approx(energy(2.5, 0.0), abs=1e-9)
    assert float(y.min()) < -2.4


def test_simulate_has_the_manners_of_simulate():
    """y_k belongs to x_k, and x_last continues the record; the LFR at a fine step gives the same."""
    u = torques(4)
    x0 = torch.tensor([0.4, -1.0], dtype=F64)
    y, x_last = CONTROLLED.simulate(u, x0, 0.02)
    assert y.shape == (3, 80, 1) and x_last.shape == (3, 2) and y.dtype == F64
    assert y[:, 0, 0].tolist() == [0.4] * 3
    y1, middle = CONTROLLED.simulate(u[:, :30], x0, 0.02)
    y2, end = CONTROLLED.simulate(u[:, 30:], middle, 0.02)
    torch.testing.assert_close(torch.cat([y1, y2], 1), y, rtol=0, atol=1e-12)
    torch.testing.assert_close(end, x_last, rtol=0, atol=1e-12)
    model_y, model_x = simulate(CONTROLLED.lfr(0.02, "midpoint"), u, x0)
    torch.testing.assert_close(model_y, y, rtol=0, atol=5e-3)
    torch.testing.assert_close(model_x, x_last, rtol=0, atol=5e-2)
    rest, _ = CONTROLLED.simulate(torch.zeros(2, 5, 1), None, 0.1)
    assert not rest.any()


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("kp", [9.82, 12.0, 30.0, 1000.0])
@pytest.mark.parametrize("excess", [1 + 1e-6, 1.01, 2.0, 50.0])
def test_witness_above_the_threshold(kp, excess, upright):
    threshold = Pendulum(1.0, 1.0, 9.81, 0.0, kp=kp).contraction_threshold()
    plant = Pendulum(1.0, 1.0, 9.81, 0.25 * threshold, upright, kp, (excess - 0.25) * threshold)
    assert plant.total_damping == pytest.approx(excess * threshold)
    assert plant.is_contracting()
    witness = plant.witness()
    assert witness.rate(plant.lfr()) > 0
    assert float(torch.linalg.eigvalsh(witness.P)[0]) > 0 and float(witness.Lambda) > 0
    for dt in (1e-2, 1.0, 100.0):
        if excess > 1.001:
            assert midpoint_witness(witness, dt).rate(plant.lfr(dt, "midpoint")) < 1


def quadratically_stable(kp: float, c: float, G: float) -> bool:
    """By exhaustion, not by formula: is there P = [[p, r], [r, 1]] with x'Px falling for both extreme stiffnesses?"""
    r = np.linspace(0, c, 802)[1:-1, None]
    p = np.linspace(0, kp + G + c**2, 4001)[None, :]
    feasible = p > r**2
    for k in (kp - G, kp + G):
        feasible &= 4 * r * k * (c - r) > (p - r * c - k) ** 2
    return bool(feasible.any())


@pytest.mark.parametrize("kp", [10.0, 12.0, 30.0])
def test_threshold_is_exact(kp):
    """Just above a quadratic storage exists, just below none does; the witness says so, and so does the inequality."""
    G = 9.81
    above = Pendulum(1.0, 1.0, G, 0.0, kp=kp)
    threshold = above.contraction_threshold()
    assert threshold == pytest.approx(math.sqrt(kp + G) - math.sqrt(kp - G))
    assert quadratically_stable(kp, 1.01 * threshold, G)
    assert not quadratically_stable(kp, 0.99 * threshold, G)
    below = dataclasses.replace(above, kd=threshold * (1 - 1e-6))
    assert not below.is_contracting()
    with pytest.raises(NotCertified, match="total damping .* does not exceed") as error:
        below.witness()
    assert error.value.margin == pytest.approx(-1e-6 * threshold, rel=1e-3)
    # the closed form itself fails below: no grid of multipliers rescues its P
    c, ab = below.total_damping, math.sqrt(kp**2 - G**2)
    P = torch.tensor([[ab + c**2 / 2, c / 2], [c / 2, 1.0]], dtype=F64)
    for multiplier in np.geomspace(0.1, 1e3, 400):
        assert Witness(P, torch.tensor([multiplier])).rate(below.lfr()) <= 0


def test_free_or_too_soft_is_never_contracting():
    for plant in (
        Pendulum(1.0, 1.0, 9.81, 100.0),
        Pendulum(1.0, 1.0, 9.81, 100.0, upright=False),
        Pendulum(1.0, 1.0, 9.81, 1.0, kp=9.81, kd=100.0),
    ):
        assert plant.contraction_threshold() == math.inf
        assert not plant.is_contracting()
        with pytest.raises(NotCertified, match="raise kp first"):
            plant.witness()
    # and truly so: two trajectories of the free pendulum end apart
    _, ends = Pendulum(1.0, 1.0, 9.81, 5.0).simulate(torch.zeros(2, 400, 1), torch.tensor([[0.1, 0], [-0.1, 0]]), 0.05)
    assert ends[:, 0].tolist() == pytest.approx([math.pi, -math.pi], abs=1e-6)


def test_contraction_seen_in_trajectories():
    """|Δx|_P falls at the proved rate e^{−ct} or faster along accurate trajectories far from each other."""
    witness = CONTROLLED.witness()
    c = witness.rate(CONTROLLED.lfr())
    u = torques(5, 1, 60).expand(6, 60, 1)
    starts = 6 * torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(6), dtype=F64)
    norms = []
    a, b = starts
    for k in range(60):
        gap = a - b
        norms.append(torch.einsum("bi,ij,bj->b", gap, witness.P, gap).sqrt())
        a, b = (CONTROLLED.simulate(u[:, k : k + 1], x, 0.05)[1] for x in (a, b))
    norm = torch.stack(norms)
    assert bool((norm[1:] <= norm[:-1] * math.exp(-c * 0.05) * (1 + 1e-9)).all())


def test_records():
    records = CONTROLLED.records(torch.Generator().manual_seed(0))
    assert len(records) == 6
    for u, y in records:
        assert u.shape == y.shape == (800, 1) and u.dtype == y.dtype == np.float64
        assert 2.0 < np.abs(y).max() < 3.5  # angles span about ±2.5 rad: the sine is excited
        assert np.abs(np.diff(y[:, 0])).max() < 1.0  # and sampled finely enough
    again = CONTROLLED.records(torch.Generator().manual_seed(0))
    assert all(np.array_equal(u, v) and np.array_equal(y, z) for (u, y), (v, z) in zip(records, again, strict=True))
    other = CONTROLLED.records(torch.Generator().manual_seed(1))
    assert not np.array_equal(records[0][0], other[0][0])
    assert not np.array_equal(records[0][0], records[1][0])


def test_records_are_the_plant_plus_noise():
    u, y = CONTROLLED.records(torch.Generator().manual_seed(2), n_records=1, duration=10.0, dt=0.02, noise=0.01)[0]
    assert u.shape == (500, 1)
    truth, _ = CONTROLLED.simulate(torch.from_numpy(u)[None], None, 0.02)
    error = y - truth[0].numpy()
    assert 0.009 < error.std() < 0.011 and abs(error.mean()) < 0.002
    clean = CONTROLLED.records(torch.Generator().manual_seed(2), n_records=1, duration=10.0, dt=0.02, noise=0.0)[0]
    np.testing.assert_array_equal(clean[1], truth[0].numpy())
    assert np.array_equal(clean[0], u)


def test_records_of_a_free_hanging_pendulum_stay_below_the_top():
    plant = Pendulum(1.0, 1.0, 9.81, 0.3, upright=False)
    for seed in range(3):
        for _, y in plant.records(torch.Generator().manual_seed(seed)):
            assert 0.3 < np.abs(y).max() < math.pi / 2


def test_bad_input_is_refused():
    for field in ("mass", "length", "gravity"):
        with pytest.raises(InputError, match=f"{field} must be positive"):
            dataclasses.replace(CONTROLLED, **{field: 0.0})
    for field in ("damping", "kp", "kd"):
        with pytest.raises(InputError, match=f"{field} must be 0 or more"):
            dataclasses.replace(CONTROLLED, **{field: -1.0})
    u = torch.zeros(2, 10, 1)
    for bad in (u[0], u.expand(2, 10, 3), u.numpy()):
        with pytest.raises(InputError, match="u must be a tensor"):
            CONTROLLED.simulate(bad, None, 0.1)
    with pytest.raises(InputError, match=r"x0 must be \(batch=2, 2\)"):
        CONTROLLED.simulate(u, torch.zeros(3, 2), 0.1)
    for dt in (0.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="dt must be a positive"):
            CONTROLLED.simulate(u, None, dt)
        with pytest.raises(InputError, match="records needs"):
            CONTROLLED.records(torch.Generator(), dt=dt)
    for bad in ({"n_records": 0}, {"duration": 0.01}, {"angle": 0.0}, {"noise": -1.0}):
        with pytest.raises(InputError, match="records needs"):
            CONTROLLED.records(torch.Generator(), **bad)
