"""What stands beside one fit: where it settles, its worst input, other models, the price of a promise."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eqnets.certification import Lipschitz, Recovery, certify
from eqnets.errors import InputError
from eqnets.identification.trade_off import TradeOff, TradeRow
from eqnets.models import LipschitzREN
from eqnets.reporting import contents, report
from eqnets.reporting.attack_section import worst_input
from eqnets.reporting.comparison import comparison, trade
from eqnets.reporting.gather import channels_of
from eqnets.reporting.model_error_section import frequency_error
from eqnets.reporting.sections import Album
from eqnets.reporting.steady_section import steady
from eqnets.reporting.words import number
from eqnets.system.simulate import simulate


def test_the_model_error_is_drawn_below_its_weight(mimo) -> None:
    album, of = Album(), channels_of(mimo.fit)
    notes = frequency_error(album, of, mimo.fit, None, mimo.train, 50)["notes"]
    assert "not a proof" in notes[0] and "give test records" in notes[1]
    for figure in album.figures.values():
        estimate, bound, weight = (np.asarray(trace.y) for trace in figure.data)
        assert (estimate <= bound).all() and (bound <= weight).all()
    short = replace(mimo.test, records=tuple(r.cut(0, 300) for r in mimo.test.records))
    found = frequency_error(Album(), of, mimo.fit, short, None, 50)
    assert not found["figures"] and "too short" in found["notes"][0]


@pytest.mark.parametrize("name", ["case", "mimo"])
def test_the_static_characteristic_is_where_long_simulations_end(name, request) -> None:
    case = request.getfixturevalue(name)
    album, of, lfr = Album(), channels_of(case.fit), case.fit.lfr
    found = steady(album, of, case.fit)
    assert len(found["figures"][0]["choices"]) == lfr.nu * lfr.ny == len(album.figures)
    steps = math.ceil(math.log(1e-10) / math.log(case.fit.certificate.rate))
    for (i, j), figure in zip(of.pairs(), _by_pair(album, lfr.nu, lfr.ny), strict=True):
        curve = next(trace for trace in figure.data if trace.name == "model")
        for k in (0, 37, 100):
            u = torch.from_numpy(case.fit.normaliser.u_offset.copy())
            u[j] = float(curve.x[k])
            y = simulate(lfr, u.expand(1, steps, lfr.nu).contiguous())[0][0, -1, i]
            assert float(y) == pytest.approx(curve.y[k], abs=1e-7)


def _by_pair(album: Album, nu: int, ny: int) -> list:
    figures = list(album.figures.values())  # drawn input by input
    return [figures[j * ny + i] for i in range(ny) for j in range(nu)]


def test_without_a_proof_no_static_characteristic_is_drawn(build) -> None:
    fit = build(certified=False).fit
    assert steady(Album(), channels_of(fit), fit) is None


def test_the_worst_input_drawn_has_the_gain_that_is_printed(case) -> None:
    album, of, n = Album(), channels_of(case.fit), case.fit.normaliser
    notes = worst_input(album, of, case.fit)["notes"]
    du, dy = (np.asarray(trace.y) for trace in album.figures["worst-0"].data)
    gain = np.linalg.norm(dy / n.y_scale) / np.linalg.norm(du / n.u_scale)
    assert f"a gain of {number(gain)} between" in notes[0]
    assert "No gain is certified" in notes[1]


def test_no_worst_input_exceeds_the_certified_gain(case) -> None:
    ren = LipschitzREN(1, 3, 6, 1, gamma=2.0, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    lfr = ren.explicit().detach().replace(dt=case.fit.lfr.dt)
    fit = replace(case.fit, system=lfr, certificate=certify(Lipschitz(2.0), lfr, ren.witness()))
    album = Album()
    notes = worst_input(album, channels_of(fit), fit)["notes"]
    du, dy = (np.asarray(trace.y) for trace in album.figures["worst-0"].data)
    assert np.linalg.norm(dy) <= 2.0 * np.linalg.norm(du)
    assert f"reaches {50 * np.linalg.norm(dy) / np.linalg.norm(du):.3g} %" in notes[1]
    pattern = float(notes[2].split("neurons reach ")[1].split(":")[0])
    assert 0 < pattern <= 2.0


def test_the_memory_holds_for_every_start_of_the_spread(mimo) -> None:
    fit = mimo.fit
    seconds = dict(contents.certificate_facts(fit, fit.certificate.rate)["facts"])["Memory"]
    assert "at most" in seconds
    recovery, generator = Recovery.of(fit.certificate), torch.Generator().manual_seed(0)
    z = torch.randn(500, fit.lfr.nx, generator=generator, dtype=torch.float64)
    dx = z / z.norm(dim=1, keepdim=True) @ torch.linalg.cholesky(fit.prior.covariance).T
    tolerance = 0.01 * torch.from_numpy(fit.normaliser.y_scale.copy())
    worst = recovery.time_within(dx, tolerance)
    printed = float(seconds.split("at most")[1].replace("\u00a0", " ").split()[0])
    assert 0.5 * worst <= printed and printed >= worst * (1 - 1e-9)


def test_models_are_compared_on_the_same_records(case, build, tmp_path: Path) -> None:
    other = replace(case.fit, system=build(seed=5).fit.system, certificate=None)
    page = report(case.fit, tmp_path / "r.html", test=case.test, compare={"rival <b>": other})
    assert "rival &lt;b&gt;" in page.read_text(encoding="utf-8")
    table = comparison(channels_of(case.fit), case.fit, {"rival": other}, case.test, None, 50)["table"]
    rows = {row["cells"][0]: row for row in table["rows"]}
    assert list(rows) == ["this model", "its linear model", "rival"]
    for name, model in zip(rows, (case.fit, case.fit.linear, other), strict=True):
        assert rows[name]["cells"][-1] == number(float(model.score(case.test).nrmse[0]), 4)
    assert [row["strong"] for row in table["rows"]] == [True, False, False]
    assert rows["rival"]["cells"][1] == "nothing"


def test_a_comparison_needs_records_and_names_of_its_own(case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give test="):
        report(case.fit, tmp_path / "r.html", compare={"rival": case.fit})
    with pytest.raises(InputError, match="another name"):
        report(case.fit, tmp_path / "r.html", test=case.test, compare={"this model": case.fit})
    assert not list(tmp_path.iterdir())


def test_a_trade_off_is_drawn_and_listed(case, tmp_path: Path) -> None:
    rows = [
        TradeRow(model, gamma, model != "linear, scaled", 0.9 * min(gamma, 50.0), error / min(gamma, 50.0), (1.0,), 1.0)
        for gamma in (math.inf, 10.0, 2.0)
        for model, error in (("REN", 1.0), ("linear, trained", 2.0), ("linear, scaled", 3.0))
    ]
    table = TradeOff(tuple(rows), {}, (1.0,), (1.0,), "test records", ("y",), ("",))
    album = Album()
    found = trade(album, table)
    assert [row["cells"][0] for row in found["table"]["rows"]] == [row.model for row in rows]
    assert found["table"]["rows"][0]["cells"][1] == "none"
    assert {trace.name for trace in album.figures["trade-0"].data} == {"REN", "linear, trained", "linear, scaled"}
    text = report(case.fit, tmp_path / "r.html", trade_off=table).read_text(encoding="utf-8")
    assert "Accuracy against robustness" in text
