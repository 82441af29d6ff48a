"""Steps are the rollout, one by one."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from eqnets.errors import InputError
from eqnets.system.kernels import build
from eqnets.system.simulate import simulate
from eqnets.system.stepper import Stepper


@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sine_defect"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_equal_the_rollout(random_lfr, acyclic, activation, dtype):
    lfr = random_lfr(1, acyclic=acyclic, scale=0.2, activation=activation).to(dtype)
    generator = torch.Generator().manual_seed(2)
    u = torch.randn(1, 30, lfr.nu, generator=generator, dtype=torch.float64).to(dtype)
    x0 = torch.randn(lfr.nx, generator=generator, dtype=torch.float64).to(dtype)
    y, last = simulate(lfr, u, x0)
    stepper = Stepper(lfr, x0)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(torch.stack([stepper(u_t) for u_t in u[0]]), y[0], **tolerance)
    np.testing.assert_allclose(stepper.state, last[0].numpy(), **tolerance)
    stepper.reset(x0.numpy())
    steps = [stepper(u_t) for u_t in u[0].numpy()]
    assert len({id(step) for step in steps}) == len(steps)  # each answer is the caller's to keep
    np.testing.assert_allclose(np.stack(steps), y[0].numpy(), **tolerance)


def test_it_works_without_the_compiled_kernel(random_lfr, monkeypatch):
    lfr = random_lfr(3, scale=0.2)
    fast = Stepper(lfr)
    monkeypatch.setattr(build, "library", lambda double: (None, "none"))
    slow = Stepper(lfr)
    for u in torch.randn(10, lfr.nu, generator=torch.Generator().manual_seed(4), dtype=torch.float64).numpy():
        np.testing.assert_allclose(fast(u), slow(u), rtol=1e-9, atol=1e-12)


def test_later_changes_of_the_system_do_not_reach_it(random_lfr):
    lfr = random_lfr(5)
    stepper, again = Stepper(lfr), Stepper(lfr)
    u = np.ones(lfr.nu)
    with torch.no_grad():
        before = stepper(u)
        lfr.D22.zero_()
    np.testing.assert_array_equal(again(u), before)


def test_refusals(random_lfr):
    lfr = random_lfr(6)
    stepper = Stepper(lfr)
    for call, words in (
        (lambda: stepper(np.zeros(lfr.nu + 1)), "u must be"),
        (lambda: stepper(torch.zeros(1, lfr.nu)), "u must be"),
        (lambda: stepper([0.0] * lfr.nu), "u must be an array or a tensor .* list"),
        (lambda: stepper(0.0), "u must be an array or a tensor .* float"),
        (lambda: stepper.reset(np.zeros(lfr.nx + 1)), "x0 must be"),
        (lambda: Stepper(lfr.replace(dt=None)), "continuous time"),
        (lambda: Stepper(lfr.to(torch.float16)), "float32 or float64"),
    ):
        with pytest.raises(InputError, match=words):
            call()


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_goes_on_alone_from_the_same_state(random_lfr, copied):
    lfr = random_lfr(7, scale=0.2)
    u = torch.randn(8, lfr.nu, generator=torch.Generator().manual_seed(8), dtype=torch.float64).numpy()
    stepper = Stepper(lfr, np.ones(lfr.nx))
    for one in u[:3]:
        stepper(one)
    other = copied(stepper)
    rest = [stepper(one) for one in u[3:]]
    assert not np.array_equal(other.state, stepper.state)
    for mine, one in zip(rest, u[3:], strict=True):
        np.testing.assert_array_equal(other(one), mine)


@pytest.mark.parametrize("acyclic", [True, False])
def test_a_default_device_elsewhere_does_not_reach_the_kernel(random_lfr, acyclic):
    lfr = random_lfr(9, acyclic=acyclic, scale=0.2)
    u = torch.randn(1, 4, lfr.nu, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    expected = simulate(lfr, u)[0]
    with torch.device("meta"):
        found, stepper = simulate(lfr, u)[0], Stepper(lfr)
        steps = [stepper(one) for one in u[0]]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.stack(steps), expected[0])
