"""The neurons at a fixed cost: the truth, by the number of steps that was stated, at the rate that was stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.interop.systems import ACTIVATIONS, certified, inputs, random_lfr, start

from eqnets.errors import InputError, NotCertified
from eqnets.interop import portable
from eqnets.interop.formulas import per_neuron
from eqnets.interop.neurons import MAX_STEPS, fixed_cost
from eqnets.system.lfr import LFR
from eqnets.system.simulate import neurons_at

EPS = 2.0**-52


def solve(neurons, lfr, b, steps):
    """Every r on the way, and w at its end."""
    names = per_neuron(lfr.activation, lfr.nv)
    r = neurons.K @ b
    path = [r]
    for _ in range(steps):
        r = neurons.C @ (neurons.p * portable.phi(names, r) - neurons.t * r) + neurons.K @ b
        path.append(r)
    return path, portable.phi(names, r)


def truth(lfr, x, u):
    w = neurons_at(lfr, x[None], u[None])[0]
    for _ in range(3):  # Newton, to rounding
        v = lfr.C1 @ x + lfr.D11 @ w + lfr.D12 @ u + lfr.bv
        J = torch.eye(lfr.nv, dtype=v.dtype) - lfr.activation.derivative(v)[:, None] * lfr.D11
        w = w - torch.linalg.solve(J, w - lfr.activation.value(v))
    return (lfr.C1 @ x + lfr.D11 @ w + lfr.D12 @ u + lfr.bv).numpy(), w.numpy()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("acyclic", [True, False])
def test_the_stated_steps_reach_the_truth(activation, acyclic):
    for seed in range(3):
        lfr = random_lfr(acyclic=acyclic, activation=activation, seed=seed)
        x, u = 3 * start(lfr, seed), 3 * inputs(lfr, 1, 1, seed)[0, 0]
        b = (lfr.C1 @ x + lfr.D12 @ u + lfr.bv).numpy()
        neurons = fixed_cost(lfr, None, EPS)
        _, w = solve(neurons, lfr, b, neurons.steps)
        v_true, w_true = truth(lfr, x, u)
        assert np.abs(w - w_true).max() <= 1e-14 * (1 + np.abs(w_true).max() + np.abs(v_true).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_step_contracts_by_the_stated_factor(activation):
    for seed in range(5):
        lfr = random_lfr(acyclic=False, activation=activation, seed=seed)
        x, u = 5 * start(lfr, seed), 5 * inputs(lfr, 1, 1, seed)[0, 0]
        b = (lfr.C1 @ x + lfr.D12 @ u + lfr.bv).numpy()
        neurons = fixed_cost(lfr, None, EPS)
        assert neurons.factor**neurons.steps <= EPS < neurons.factor ** (neurons.steps - 1)
        v, _ = truth(lfr, x, u)
        path, _ = solve(neurons, lfr, b, neurons.steps)
        errors = [np.linalg.norm(neurons.metric * (r - v)) for r in path]
        rounding = 1e-13 * np.linalg.norm(neurons.metric * v) + 1e-15
        for before, after in zip(errors, errors[1:], strict=False):
            assert after <= neurons.factor * before + rounding
        assert errors[0] > 1e-6 * np.linalg.norm(neurons.metric * v) and neurons.factor < 1  # there is much to contract


def test_a_certificate_bounds_the_steps_as_well_as_a_proof_of_its_own():
    lfr, certificate = certified(acyclic=False)
    neurons = fixed_cost(lfr, certificate, EPS)
    assert 0 < neurons.factor < 1 and f"{neurons.steps} Peaceman-Rachford steps" in neurons.sentence
    x, u = start(lfr), inputs(lfr, 1, 1)[0, 0]
    _, w = solve(neurons, lfr, (lfr.C1 @ x + lfr.D12 @ u + lfr.bv).numpy(), neurons.steps)
    np.testing.assert_allclose(w, truth(lfr, x, u)[1], atol=1e-13)


def test_substitution_takes_as_many_steps_as_there_are_layers():
    D11 = torch.zeros(9, 9, dtype=torch.float64)
    D11[3:6, :3], D11[6:, 3:6] = 1.0, 1.0  # three layers of three
    lfr = LFR(D11=D11, D22=torch.zeros(1, 1, dtype=torch.float64))
    neurons = fixed_cost(lfr, None, EPS)
    assert neurons.steps == 2 and neurons.exact and "substitution" in neurons.sentence


def test_no_bound_no_export():
    ill_posed = LFR(D11=[[3.0]], D12=[[1.0]], D21=[[1.0]], D22=[[0.0]], activation="relu")
    with pytest.raises(NotCertified, match="acyclic=True"):
        fixed_cost(ill_posed, None, EPS)
    slow = LFR(D11=[[0.0, 400.0], [-400.0, 0.0]], D12=[[1.0], [1.0]], D21=[[1.0, 1.0]], D22=[[0.0]], activation="relu")
    with pytest.raises(InputError, match=f"more than {MAX_STEPS}"):
        fixed_cost(slow, None, EPS)
