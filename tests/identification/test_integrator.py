"""The test for an integrator: right about systems that are known, on simulated and on measured records."""

from __future__ import annotations

import os

import numpy as np
import pytest
from tests.identification.conftest import random_lti, records_of

import eqnets as eq
from eqnets.errors import InputError
from eqnets.identification.benchmarks import benchmark
from eqnets.identification.data import Data
from eqnets.identification.integrator import slowest_poles
from eqnets.identification.record import Record


def first_order(pole: float, seed: int, n: int = 3000, noise: float = 0.05) -> Data:
    """y⁺ = pole·y + u, with measurement noise of the share `noise`."""
    rng = np.random.default_rng(seed)
    u, y = rng.standard_normal((n, 1)), np.zeros((n, 1))
    for t in range(n - 1):
        y[t + 1] = pole * y[t] + u[t]
    return Data((Record(u, y + noise * y.std() * rng.standard_normal(y.shape)),), dt=0.1)


def test_an_integrator_is_not_rejected_and_what_forgets_is() -> None:
    assert all(slowest_poles(first_order(1.0, seed))[0].integrates for seed in range(10))
    for pole in (0.0, 0.9, 0.98):
        assert not any(slowest_poles(first_order(pole, seed))[0].integrates for seed in range(10))


@pytest.mark.parametrize(("nx", "nu", "ny"), [(1, 1, 1), (4, 2, 3), (3, 3, 2)])
def test_stable_systems_of_every_size_forget(nx: int, nu: int, ny: int) -> None:
    for seed in range(5):
        data = records_of(random_lti(nx, nu, ny, seed), [900, 1100], seed, noise=0.02)
        assert [pole.integrates for pole in slowest_poles(data)] == [False] * ny


def test_one_integrating_output_among_others_is_named() -> None:
    a, b = first_order(0.8, 0).records[0], first_order(1.0, 1).records[0]
    data = Data((Record(np.hstack([a.u, b.u]), np.hstack([a.y, b.y])),), 0.1, (), ("level", "angle"))
    assert [pole.output for pole in slowest_poles(data) if pole.integrates] == ["angle"]


def test_it_does_not_depend_on_units_and_short_records_say_nothing() -> None:
    data = first_order(0.95, 3)
    r = data.records[0]
    scaled = Data((Record(1e6 * r.u, 5 + 1e-9 * r.y),), 0.1)
    assert slowest_poles(scaled)[0].pole == pytest.approx(slowest_poles(data)[0].pole, rel=1e-6)
    assert slowest_poles(data)[0].time_constant == pytest.approx(-0.1 / np.log(0.95), rel=0.01)
    short = slowest_poles(data.head(3))[0]
    assert short.pole is None and not short.integrates and short.time_constant is None


def test_a_short_record_of_what_forgets_is_not_said_to_integrate() -> None:
    for seed in range(10):
        assert not any(pole.integrates for pole in slowest_poles(first_order(0.9, seed).head(30)))


def test_a_guarantee_that_cannot_fit_is_refused_before_training_and_the_remedy_works() -> None:
    data = first_order(1.0, 1)
    options = {"steps": 2, "nx": 1, "nv": 2, "restarts": 1}
    for guarantee in (eq.Contracting(), eq.Lipschitz(5.0)):
        with pytest.raises(InputError, match=r"y1.*time constant.*difference"):
            eq.identify(data, guarantee, **options)
    assert eq.identify(data, integrator="ignore", **options).certificate.margin > 0
    rate = data.difference("y1")
    assert rate.y_names == ("Δy1/Δt",) and not slowest_poles(rate)[0].integrates
    assert eq.identify(rate, **options).certificate.margin > 0
    with pytest.raises(InputError, match="integrator"):
        eq.identify(data, integrator="maybe", **options)


def test_the_difference_is_the_rate_and_its_sum_is_the_output() -> None:
    record = Record(np.ones((5, 1)), np.array([[0.0], [1.0], [3.0], [2.0], [2.5]]))
    data = Data((record,), 0.5, ("voltage",), ("q",), ("V",), ("mm",))
    rate = data.difference("q")
    assert rate.lengths == (4,) and rate.y_units == ("mm/s",)
    assert np.array_equal(rate.records[0].y[:, 0], np.diff(data.records[0].y[:, 0]) / 0.5)
    assert np.allclose(data.records[0].y[0] + np.cumsum(rate.records[0].y, 0) * 0.5, data.records[0].y[1:])
    with pytest.raises(InputError, match="no output 'p'"):
        data.difference("p")


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("EQNETS_DATA"), reason="EQNETS_DATA is not set: the measured files are needed")
def test_on_measured_records_only_the_drive_integrates() -> None:
    """EMPS: voltage to position of a drive with stick-slip. The others forget."""
    for name in ("cascaded_tanks", "emps", "silverbox", "wh2009", "f16"):
        assert [pole.integrates for pole in slowest_poles(benchmark(name)[0])] == [name == "emps"], name
    with pytest.raises(InputError, match="time constant"):
        eq.identify(benchmark("emps")[0], eq.Contracting(), steps=1)
