"""Guarantees as data: files give them back, misfits are refused at once, and a fit keeps them in physical units."""

from __future__ import annotations

import json

import numpy as np
import pytest

import eqnets as eq
from eqnets.identification.guarantee import guarantee_from_json, guarantee_to_json

PROMISES = [
    eq.Contracting(0.9), eq.Lipschitz(2.0, (1.0, 2.0), None), eq.Passive(0.1, 0.2), "none",
    eq.Dissipative([[-1.0, 0.5], [0.5, -2.0]], [[0.0, 1 / 3]], [[4.0]]),
]  # fmt: skip


@pytest.mark.parametrize("promise", PROMISES, ids=str)
def test_json_gives_every_guarantee_back(promise) -> None:
    assert guarantee_from_json(json.loads(json.dumps(guarantee_to_json(promise)))) == promise


def records(nu: int, ny: int, n: int = 300):
    """A stable first-order system with a feedthrough, in units far from 1."""
    g = np.random.default_rng(0)
    u = g.standard_normal((n, nu))
    B, D = g.standard_normal((2, nu)), g.standard_normal((ny, nu))
    x, y = np.zeros(2), np.zeros((n, ny))
    for t in range(n):
        y[t] = x[:ny] + D @ u[t]
        x = 0.8 * x + B @ u[t]
    return [(1e-2 * u, 50.0 * y)]


SUPPLY = ([[-1.0, 0.2], [0.2, -3.0]], [[40.0, 0.0], [7.0, 90.0]], [[9.0, 1.0], [1.0, 5.0]])


@pytest.mark.parametrize("guarantee", [eq.Passive(2.0, 1e-5), eq.Dissipative(*SUPPLY)], ids=str)
def test_a_fit_keeps_the_supply_in_physical_units(guarantee) -> None:
    fit = eq.identify(records(2, 2), guarantee, nx=2, nv=3, steps=2, restarts=1, dt=0.1)
    assert fit.certificate.claim == guarantee and fit.certificate.margin > 0
    assert not eq.lower_bound(guarantee, fit.lfr, time=10, tries=2, steps=10).refuted
    settings = fit.model.settings()
    assert np.asarray(settings["S"]).shape == (2, 2) and settings["S"][0][0] != 1.0  # the model lives in other units


def test_a_guarantee_that_does_not_fit_the_channels_is_refused_at_once() -> None:
    with pytest.raises(eq.InputError, match="pairs inputs with outputs"):
        eq.identify(records(2, 1), eq.Passive(), dt=0.1)
    with pytest.raises(eq.InputError, match="Q of this supply"):
        eq.identify(records(1, 2), eq.Dissipative([[-1.0]], [[0.0]], [[1.0]]), dt=0.1)
