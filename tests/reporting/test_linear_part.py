from __future__ import annotations

import numpy as np
import pytest
import torch

from eqnets.reporting.linear_part import at_rest, excited_band, frequencies, rest_point
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate


def test_the_rest_point_rests(mimo) -> None:
    u = np.array([0.7, -0.3])
    point = rest_point(mimo.fit.lfr, u)
    assert point.found
    _, after = simulate(mimo.fit.lfr, torch.from_numpy(u).expand(1, 300, 2).contiguous(), point.x[None])
    assert torch.allclose(after[0], point.x, atol=1e-7)


def test_a_slow_model_is_settled_by_newton() -> None:
    slow = LFR(A=[[1 - 1e-7]], B2=[[1e-7]], C2=[[1.0]])
    point = rest_point(slow, np.array([4.0]))
    assert point.x.item() == pytest.approx(4.0)


def test_a_model_without_rest_is_said_to_drift() -> None:
    integrator = LFR(A=[[1.0]], B2=[[1.0]], C2=[[1.0]])
    assert not rest_point(integrator, np.array([1.0])).found


def test_the_linearisation_predicts_small_steps(case) -> None:
    point = rest_point(case.fit.lfr, np.array([0.4]))
    lti = at_rest(case.fit.lfr, point)
    u = torch.full((1, 40, 1), 0.4, dtype=torch.float64)
    rest, _ = simulate(case.fit.lfr, u, point.x[None])
    moved, _ = simulate(case.fit.lfr, u + 1e-6, point.x[None])
    linear, _ = simulate(lti.to_lfr(), torch.full_like(u, 1e-6))
    assert torch.allclose(moved - rest, linear, atol=1e-10)


def test_the_excited_band_is_where_the_power_is() -> None:
    dt = 0.01
    t = np.arange(20_000) * dt
    rng = np.random.default_rng(0)
    tones = sum(np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in np.arange(5.0, 15.0, 0.11))
    low, high = excited_band([tones], dt)
    assert low == pytest.approx(5, abs=0.5) and high == pytest.approx(15, abs=0.5)
    assert excited_band([np.ones(500)], dt) is None
    assert excited_band([], dt) is None


def test_frequencies_end_at_nyquist() -> None:
    hertz = frequencies(0.02, 5000)
    assert hertz[-1] == pytest.approx(25.0)
    assert hertz[0] == pytest.approx(0.01)
