"""The trade-off in one call: every row within its bound, warm starts that keep theirs, a table that can be stored."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch

import eqnets as eq
from eqnets.models import LipschitzREN
from eqnets.reporting import trade_off_figure

GAMMAS = [0.5, math.inf, 1.0]


@pytest.fixture(scope="module")
def data() -> eq.Data:
    g = np.random.default_rng(0)
    u = g.standard_normal((600, 1))
    x, y = 0.0, np.zeros((600, 2))
    for t in range(600):
        y[t] = [x, np.tanh(x) + 0.2 * u[t, 0]]
        x = 0.7 * x + 0.5 * np.tanh(u[t, 0])
    return eq.read([(3.0 * u + 1, 10.0 * y - 4)], dt=0.1)


@pytest.fixture(scope="module")
def curve(data: eq.Data) -> eq.TradeOff:
    return eq.trade_off(data, GAMMAS, u_scale=[3.0], y_scale=[7.0, 6.0], nx=2, nv=4, steps=30)


def test_every_bound_has_its_rows_each_within_its_promise(curve: eq.TradeOff) -> None:
    assert [row.gamma for row in curve.rows] == [math.inf] * 3 + [1.0] * 3 + [0.5] * 3
    assert [row.model for row in curve.rows[:3]] == ["REN", "linear, trained", "linear, scaled"]
    for row in curve.rows:
        assert 0 < row.attained <= row.gamma * (1 + 1e-9) and math.isfinite(row.nrmse) and len(row.rmse) == 2
    assert curve.fits[0.5].certificate.claim == eq.Lipschitz(0.5, (3.0,), (7.0, 6.0))
    assert curve.fits[math.inf].certificate.claim == eq.Contracting()


def test_the_curve_says_what_it_was_asked(curve: eq.TradeOff, data: eq.Data) -> None:
    fit = curve.fits[1.0]
    score = fit.score(data.split(0.2)[1])
    assert curve.rows[3].nrmse == pytest.approx(float(np.mean(score.nrmse)), rel=1e-12)
    assert curve.scored_on == "validation tails" and curve.rows[3].rmse == pytest.approx(tuple(score.rmse))


def test_a_network_begins_where_the_one_before_ended_within_the_smaller_bound(
    curve: eq.TradeOff, data: eq.Data
) -> None:
    """Without a step the model is the one before, its outputs scaled by the ratio of the bounds."""
    before = curve.fits[1.0]
    options = {"u_scale": (3.0,), "y_scale": (7.0, 6.0)}
    start = eq.identify(data, eq.Lipschitz(0.5, **options), warm=before, steps=0, restarts=1, refit=False)
    u = np.random.default_rng(1).standard_normal((40, 1))
    one, two = (fit.model.explicit().detach() for fit in (before, start))
    y, scaled = (eq.simulate(lfr, torch.from_numpy(u)[None])[0] - lfr.by for lfr in (one, two))
    np.testing.assert_allclose(scaled.numpy(), 0.5 * y.numpy(), rtol=1e-7, atol=1e-9)
    assert isinstance(start.model, LipschitzREN) and start.model.gamma == pytest.approx(before.model.gamma / 2)


def test_the_table_is_stored_as_json_and_csv_and_drawn(curve: eq.TradeOff, tmp_path) -> None:
    table = json.loads(curve.save(tmp_path / "curve.json").read_text(encoding="utf-8"))
    assert [row["gamma"] for row in table["rows"]] == [None] * 3 + [1.0] * 3 + [0.5] * 3
    with curve.save(tmp_path / "curve.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["nrmse"]) for row in rows] == [row.nrmse for row in curve.rows]
    with pytest.raises(eq.InputError, match="not overwritten"):
        curve.save(tmp_path / "curve.csv")
    with pytest.raises(eq.InputError, match="must end in"):
        curve.save(tmp_path / "curve.txt")
    figure = trade_off_figure(curve)
    drawn = {trace.name: list(trace.x) for trace in figure.data}
    assert drawn["REN"][:2] == [0.5, 1.0] and drawn["REN"][2] == curve.rows[0].attained
    assert set(drawn) == {"REN", "linear, trained", "linear, scaled"}


def test_what_cannot_be_drawn_is_refused(data: eq.Data, curve: eq.TradeOff) -> None:
    for gammas in ([], [1.0, 1.0], [0.0, 1.0], [math.nan]):
        with pytest.raises(eq.InputError, match="different positive numbers"):
            eq.trade_off(data, gammas)
    with pytest.raises(eq.InputError, match="from one gain bound to another"):
        eq.identify(data, eq.Contracting(), warm=curve.fits[1.0], steps=0, restarts=1)
    with pytest.raises(eq.InputError, match="very same records"):
        many = eq.read([(data.records[0].u, data.records[0].y)] * 2, dt=0.1)
        eq.identify(many, eq.Lipschitz(1.0), warm=curve.fits[1.0], steps=0, restarts=1)
