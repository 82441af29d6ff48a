"""The verdict's promises, counted on seeded simulations: few false alarms with coloured residuals, and power."""

from __future__ import annotations

import numpy as np
import pytest

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.record import Record
from eqnets.identification.residuals import analyse

N, TRIALS = 1000, 300


def coloured(rng: np.random.Generator, pole: float, n: int = N, runs: int = 1) -> np.ndarray:
    """Stationary auto-regressive noise of unit variance, (n, runs)."""
    x = np.empty((n, runs))
    state = rng.standard_normal(runs)
    noise = rng.standard_normal((n, runs)) * (1 - pole**2) ** 0.5
    for t in range(n):
        x[t] = state
        state = pole * state + noise[t]
    return x


def analysis(u: np.ndarray, e: np.ndarray, **options):
    data = Data((Record(u.reshape(len(u), -1), e.reshape(len(e), -1), "run"),), 0.01, ("force",))
    return analyse(data, [np.zeros_like(data.records[0].y)], n_init=0, **options)


@pytest.mark.parametrize(("pole_e", "pole_u"), [(0.0, 0.0), (0.9, 0.9), (0.97, 0.9), (0.9, 0.97), (-0.8, 0.8)])
def test_false_alarms_are_as_rare_as_promised(pole_e, pole_u):
    rng = np.random.default_rng(20)
    us, es = coloured(rng, pole_u, runs=TRIALS), coloured(rng, pole_e, runs=TRIALS)
    alarms, beyond, naive = 0, [], []
    for u, e in zip(us.T, es.T, strict=True):
        result = analysis(u, e)
        alarms += not result.independent
        r = np.abs(result.cross[0].r)
        beyond.append(r > result.cross[0].band)
        naive.append(r > 2.576 / N**0.5)
    # at most 1 % are promised: of 300 trials, more than 9 have a probability of 0.1 % at exactly 1 %
    assert alarms <= 9
    # the pointwise band of 99 % holds what it says, where the textbook's 2.58/√N does not
    assert 0.003 < np.mean(beyond) < 0.025
    if pole_e * pole_u > 0.8:
        assert np.mean(naive) > 0.1


@pytest.mark.parametrize("kind", ["linear", "square", "delayed"])
def test_what_the_model_leaves_out_is_found(kind):
    rng = np.random.default_rng(30)
    found = 0
    for _ in range(40):
        u, noise = coloured(rng, 0.5)[:, 0], coloured(rng, 0.8)[:, 0]
        missed = {"linear": u, "square": u**2, "delayed": np.roll(u, 17)}[kind]
        result = analysis(u, noise + 0.35 * missed)
        worst = max(result.cross, key=lambda test: test.peak)
        found += not result.independent and worst.squared == (kind == "square")
        if kind == "delayed" and not result.independent:
            assert worst.peak_lag == 17
    assert found >= 38


def test_a_stronger_demand_finds_less_and_the_limit_lies_outside_the_band():
    rng = np.random.default_rng(1)
    u, e = coloured(rng, 0.5)[:, 0], coloured(rng, 0.5)[:, 0]
    loose, strict = analysis(u, e, alpha=0.2).cross[0], analysis(u, e, alpha=1e-6).cross[0]
    assert loose.band == strict.band < loose.limit < strict.limit
    assert len(loose.r) == 101 and len(analysis(u, e, lags=7).cross[0].r) == 8


@pytest.mark.parametrize("scale", [1e-150, 1e-9, 1e150])
def test_the_verdict_does_not_know_the_units(scale):
    rng = np.random.default_rng(2)
    u, e = coloured(rng, 0.5)[:, 0], coloured(rng, 0.9)[:, 0]
    one, other = analysis(u, e), analysis(1e-3 * u, scale * e)
    for a, b in zip(one.cross, other.cross, strict=True):
        np.testing.assert_allclose(a.r, b.r, atol=1e-12)
        assert a.limit == pytest.approx(b.limit, rel=1e-9)
    np.testing.assert_allclose(one.auto[0].r, other.auto[0].r, atol=1e-12)


def test_the_definition_of_the_correlation():
    rng = np.random.default_rng(3)
    u, e = rng.random(200), rng.random(200)
    result = analysis(u, e, lags=5)
    a, b = e - e.mean(), u - u.mean()
    for lag in range(6):
        expected = sum(a[t] * b[t - lag] for t in range(lag, 200)) / (200 * a.std() * b.std())
        assert result.cross[0].r[lag] == pytest.approx(expected)
        expected = sum(a[t] * a[t - lag] for t in range(lag, 200)) / (200 * a.var())
        assert result.auto[0].r[lag] == pytest.approx(expected)


def test_records_are_pooled_and_many_channels_are_all_looked_at():
    rng = np.random.default_rng(4)
    records = tuple(Record(rng.standard_normal((n, 2)), rng.standard_normal((n, 3)), f"r{n}") for n in (400, 900))
    data = Data(records, 0.5, ("a", "b"), ("x", "y", "z"))
    result = analyse(data, [np.zeros_like(r.y) for r in records], n_init=50)
    assert len(result.cross) == 12 and len(result.auto) == 3 and result.n_samples == 1200 and result.lags == 35
    assert result.independent and result.sentence.startswith("Nothing of the input is found")
    simulated = [np.stack([np.zeros(len(r)), -r.u[:, 1], np.zeros(len(r))], axis=1) for r in records]
    result = analyse(data, simulated, n_init=50)
    assert not result.independent
    assert [(t.output, t.input) for t in result.cross if not t.independent] == [("y", "b")]
    assert "The residual of y is related to b: at lag 0 (0 s)" in result.sentence


def test_a_two_valued_input_has_no_square_to_test():
    rng = np.random.default_rng(5)
    u = np.where(np.arange(N) % 2 == 0, 1.0, -1.0) * rng.permutation(np.repeat([1.0, -1.0], N // 2))
    u[: N // 2], u[N // 2 :] = 1.0, -1.0
    result = analysis(rng.permutation(u), rng.standard_normal(N))
    assert [test.squared for test in result.cross] == [False]


def test_what_cannot_be_analysed_is_named():
    rng = np.random.default_rng(6)
    u, e = rng.random((2, 200, 1))
    data = Data((Record(u, e, "run"),), 1.0)
    cases = [
        (lambda: analyse(data, []), "0 simulations for 1 records"),
        (lambda: analyse(data, [e[:100]]), "differ"),
        (lambda: analyse(data, [np.full_like(e, np.nan)]), "not finite"),
        (lambda: analyse(data, [e]), "the residual of 'y1' is constant"),
        (lambda: analyse(data, [0 * e], n_init=160), "run leaves 40 samples"),
        (lambda: analyse(data, [0 * e], lags=200), "lags is 200"),
        (lambda: analyse(data, [0 * e], alpha=2), "alpha is 2"),
        (lambda: analysis(np.ones(200), e[:, 0]), "every input is constant"),
    ]
    for call, message in cases:
        with pytest.raises(DataError, match=message):
            call()
