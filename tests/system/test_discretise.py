"""The three step formulas against their definitions. (The theorem about midpoint stands in tests/laws.)"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eqnets.errors import InputError
from eqnets.system.discretise import METHODS, discretise, midpoint_witness
from eqnets.system.lfr import LFR
from eqnets.system.ode import steps
from eqnets.system.plants import Pendulum
from eqnets.system.simulate import neurons_at, simulate
from eqnets.system.witness import Supply, Witness

F64 = torch.float64


@pytest.fixture
def continuous(random_lfr):
    return random_lfr(5, scale=0.4, dt=None)


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(7)
    return torch.randn(6, 2, generator=generator, dtype=F64), torch.randn(6, 4, generator=generator, dtype=F64)


def rows(lfr: LFR, x, w, u):
    """(ẋ or x⁺, v, y) at (x, w, u): the linear part of any LFR."""
    return (
        x @ lfr.A.T + w @ lfr.B1.T + u @ lfr.B2.T + lfr.bx,
        x @ lfr.C1.T + w @ lfr.D11.T + u @ lfr.D12.T + lfr.bv,
        x @ lfr.C2.T + w @ lfr.D21.T + u @ lfr.D22.T + lfr.by,
    )


def test_euler(continuous, points):
    x, u = points
    step = discretise(continuous, 0.3, "euler")
    w = neurons_at(step, x, u)
    f, v, y = rows(continuous, x, w, u)
    torch.testing.assert_close(w, torch.tanh(v))
    got_y, got_x = simulate(step, u[:, None], x)
    torch.testing.assert_close(got_x, x + 0.3 * f)
    torch.testing.assert_close(got_y[:, 0], y)


def test_exact_solves_the_linear_part(continuous, points):
    """Against an independent integrator, with w held at its value at x."""
    x, u = points
    step = discretise(continuous, 0.7, "exact")
    w = neurons_at(step, x, u)
    torch.testing.assert_close(w, torch.tanh(rows(continuous, x, w, u)[1]))
    truth = steps(lambda z: rows(continuous, torch.from_numpy(z), w, u)[0].numpy(), x.numpy(), 0.7, 40)
    got_y, got_x = simulate(step, u[:, None], x)
    np.testing.assert_allclose(got_x.numpy(), truth, rtol=0, atol=1e-12)
    torch.testing.assert_close(got_y[:, 0], rows(continuous, x, w, u)[2])


def test_exact_with_a_singular_A():
    double_integrator = LFR(A=[[0, 1], [0, 0]], B2=[[0], [1]], C2=[[1, 0]], D22=[[0]], dt=None)
    step = discretise(double_integrator, 0.5, "exact")
    torch.testing.assert_close(step.A, torch.tensor([[1, 0.5], [0, 1]], dtype=F64))
    torch.testing.assert_close(step.B2, torch.tensor([[0.125], [0.5]], dtype=F64))


@pytest.mark.parametrize("output", ["sample", "midpoint"])
@pytest.mark.parametrize("dt", [0.01, 0.5, 20.0])
def test_midpoint_satisfies_its_definition(dt, output, continuous, points):
    """x⁺ = x + δ f(m, w, u), w = φ(v(m, w, u)), m = (x + x⁺)/2: read with the continuous blocks alone."""
    x, u = points
    step = discretise(continuous, dt, "midpoint", output=output)
    assert not step.is_acyclic
    w = neurons_at(step, x, u)
    y, after = simulate(step, u[:, None], x)
    middle = (x + after) / 2
    f, v, y_middle = rows(continuous, middle, w, u)
    torch.testing.assert_close(after, x + dt * f, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(w, torch.tanh(v), rtol=1e-9, atol=1e-9)
    expected = y_middle if output == "midpoint" else rows(continuous, x, w, u)[2]
    torch.testing.assert_close(y[:, 0], expected, rtol=1e-9, atol=1e-9)


def test_midpoint_formulas(continuous):
    dt = 0.3
    step = discretise(continuous, dt, "midpoint")
    identity = torch.eye(2, dtype=F64)
    resolvent = torch.linalg.inv(identity - dt / 2 * continuous.A)
    torch.testing.assert_close(step.A, resolvent @ (identity + dt / 2 * continuous.A))
    torch.testing.assert_close(step.B1, dt * resolvent @ continuous.B1)
    torch.testing.assert_close(step.C1, continuous.C1 @ resolvent)
    torch.testing.assert_close(step.D11, continuous.D11 + dt / 2 * continuous.C1 @ resolvent @ continuous.B1)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("exact", 1), ("midpoint", 2)])
def test_order_of_convergence(method, order):
    """On the nonlinear pendulum, with a torque held over 0.2 s."""
    plant = Pendulum(mass=0.5, length=0.5, gravity=9.81, damping=0.05, kp=30, kd=4)
    torques = 6 * torch.randn(1, 10, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    x0 = torch.tensor([1.0, -2.0], dtype=F64)
    _, truth = plant.simulate(torques, x0, 0.2)
    errors = []
    for split in (64, 128):
        _, x = simulate(plant.lfr(0.2 / split, method), torques.repeat_interleave(split, dim=1), x0)
        errors.append(float((x - truth).norm()))
    assert errors[1] < errors[0] / 2 ** (order - 0.1)
    assert errors[1] > errors[0] / 2 ** (order + 0.5)


@pytest.mark.parametrize("method", METHODS)
def test_labels_dtype_and_edges(method, random_lfr):
    lfr = random_lfr(dt=None, u_names=list("abcd"), y_units=["V"] * 5, scale=0.2)
    step = discretise(lfr.to(torch.float32), 0.25, method)
    assert (step.dt, step.u_names, step.y_units, step.dtype) == (0.25, lfr.u_names, lfr.y_units, torch.float32)
    assert step.activation == lfr.activation
    static = LFR(D11=[[0.0]], D12=[[2.0]], D21=[[3.0]], D22=[[1.0]], bv=[0.5], dt=None)
    for name, block in discretise(static, 0.1, method).blocks().items():
        assert torch.equal(block, getattr(static, name))
    linear = discretise(LFR(A=[[-1.0]], B2=[[1.0]], C2=[[1.0]], D22=[[0.0]], dt=None), 0.1, method)
    assert linear.nv == 0
    assert float(linear.A) == pytest.approx(np.exp(-0.1), rel=0.01)
    assert float(linear.B2 / (1 - linear.A)) == pytest.approx(1.0)  # every method keeps the static gain


@pytest.mark.parametrize("method", METHODS)
def test_gradients(method, continuous):
    def last_state(A, B1, bx):
        step = discretise(continuous.replace(A=A, B1=B1, bx=bx), 0.3, method)
        return step.A @ step.bx + step.B1.sum() + step.D11.sum() + step.bv.sum()

    inputs = [block.clone().requires_grad_() for block in (continuous.A, continuous.B1, continuous.bx)]
    assert torch.autograd.gradcheck(last_state, inputs)


def test_bad_input_is_refused(continuous):
    with pytest.raises(InputError, match=r"discrete already \(dt=0.1 s\)"):
        discretise(continuous.replace(dt=0.1), 0.1)
    for dt in (0.0, -1.0, float("nan"), float("inf"), None, "fast"):
        with pytest.raises(InputError, match="dt must be a positive number"):
            discretise(continuous, dt)
    with pytest.raises(InputError, match="no method 'tustin'.*euler, exact, midpoint"):
        discretise(continuous, 0.1, "tustin")
    with pytest.raises(InputError, match="no output 'end'"):
        discretise(continuous, 0.1, "midpoint", output="end")
    with pytest.raises(InputError, match="belongs to method='midpoint'"):
        discretise(continuous, 0.1, "exact", output="midpoint")


def test_a_singular_midpoint_is_refused_and_a_stiff_one_is_not():
    unstable = LFR(A=[[4.0, 1.0], [0.0, -1.0]], D22=[[0.0]], dt=None)
    with pytest.raises(InputError, match="2/dt = 4 is an eigenvalue of A"):
        discretise(unstable, 0.5, "midpoint")
    discretise(unstable, 0.49, "midpoint")
    stiff = LFR(A=[[-1e9, 0.0], [1e-6, -1e-9]], D22=[[0.0]], dt=None)
    step = discretise(stiff, 1e3, "midpoint")
    assert float(torch.linalg.eigvals(step.A).abs().max()) < 1


def test_midpoint_witness_scales_what_it_says():
    one, two = torch.ones(1, 1, dtype=F64), 2 * torch.ones(1, 1, dtype=F64)
    witness = midpoint_witness(Witness(one, one[0], Supply(-one, two, one)), 0.5)
    assert float(witness.P) == 1 and float(witness.Lambda) == 0.5
    assert [float(getattr(witness.supply, name)) for name in "QSR"] == [-0.5, 1.0, 0.5]
    with pytest.raises(InputError, match="dt must be"):
        midpoint_witness(witness, 0)
