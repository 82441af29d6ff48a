"""torch.export: steps and rollouts as programs, for every batch, also after a file."""

from __future__ import annotations

import json

import pytest
import torch
from tests.interop.systems import certified, inputs, random_lfr, start

from eqnets.errors import EqnetsError, InputError
from eqnets.interop import program, to_program
from eqnets.system.simulate import simulate


@pytest.mark.parametrize("acyclic", [True, False])
def test_a_step_is_the_model_for_every_batch(acyclic):
    for sizes, activation in (((2, 5, 3, 4), "tanh,relu,gelu,elu(0.5),identity"), ((0, 3, 2, 1), "relu")):
        lfr = random_lfr(sizes, acyclic, activation)
        step = to_program(lfr, x0=start(lfr)).module()
        for batch in (1, 2, 5):
            u = inputs(lfr, batch, 1)
            x = torch.randn(batch, lfr.nx, generator=torch.Generator().manual_seed(batch), dtype=torch.float64)
            y, last = simulate(lfr, u, x, method="reference")
            found, following = step(u[:, 0], x)
            torch.testing.assert_close(found, y[:, 0], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(following, last, rtol=1e-12, atol=1e-12)


def test_a_rollout_is_the_model_and_survives_a_file(tmp_path):
    lfr, certificate = certified(acyclic=True)
    torch.export.save(to_program(lfr, time=6, certificate=certificate), tmp_path / "rollout.pt2")
    rollout = torch.export.load(tmp_path / "rollout.pt2").module()
    u = inputs(lfr, 3, 6)
    x0 = start(lfr).expand(3, -1)
    for found, true in zip(rollout(u, x0), simulate(lfr, u, x0, method="reference"), strict=True):
        torch.testing.assert_close(found, true, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("acyclic", [True, False])
def test_the_program_states_its_cost_and_its_claim(acyclic):
    lfr, certificate = certified(acyclic)
    facts = to_program(lfr, certificate=certificate).graph_module.meta["eqnets"]
    neurons = facts["neurons"]
    assert facts["claim"] == certificate.sentence and facts["sha256"] == lfr.digest()
    assert neurons["method"] == ("substitution" if acyclic else "Peaceman-Rachford")
    assert neurons["contraction_per_step"] ** neurons["steps"] == neurons["error_factor_at_most"] < 2.3e-16
    assert (neurons["error_factor_at_most"] == 0) == acyclic
    assert json.loads(json.dumps(facts))["neurons"] == neurons


def test_float32_computes_in_float32():
    lfr = random_lfr()
    y, _ = to_program(lfr, dtype="float32").module()(torch.ones(2, 3), torch.ones(2, 2))
    assert y.dtype == torch.float32


def test_a_wrong_program_is_not_handed_out(monkeypatch):
    class Wrong(program._Step):
        def forward(self, u, x):
            y, following = super().forward(u, x)
            return y, 1.001 * following

    monkeypatch.setattr(program, "_Step", Wrong)
    with pytest.raises(EqnetsError, match="differs from the model"):
        to_program(random_lfr())


@pytest.mark.parametrize("time", [0, -1, 2.0, True])
def test_a_time_that_is_none(time):
    with pytest.raises(InputError, match="positive number of samples"):
        to_program(random_lfr(), time=time)


def test_a_rollout_longer_than_its_check_is_refused():
    lfr = random_lfr()
    with pytest.raises(InputError, match="fewer than time = 9"):
        to_program(lfr, time=9, u=inputs(lfr, 1, 5))
