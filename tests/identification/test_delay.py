"""A delay taken out before training and put back as states: the deployed model is late by exactly that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.identification.conftest import random_lti, records_of

import eqnets as eq
from eqnets.errors import DataError, InputError
from eqnets.identification.delay import settle_delay, undelayed
from eqnets.identification.describe import describe
from eqnets.identification.proved import certify_again
from eqnets.identification.record import Record

QUICK = {"steps": 20, "nx": 2, "nv": 4, "restarts": 1, "seed": 0}
LATE = (7, 0)


def late(lengths: list[int], seed: int = 0) -> eq.Data:
    """Records of a linear plant whose first input is felt after LATE[0] samples."""
    longest = max(LATE)
    data = records_of(random_lti(2, 2, 1, seed=3), [n + longest for n in lengths], seed, noise=0.02)
    records = []
    for r in data.records:
        n = len(r)
        u = np.stack([np.roll(r.u[:, j], -d)[: n - longest] for j, d in enumerate(LATE)], axis=1)
        records.append(Record(u, r.y[: n - longest], r.name))
    return eq.Data(tuple(records), dt=data.dt)


@pytest.fixture(scope="module")
def data() -> eq.Data:
    return late([400, 300])


@pytest.mark.parametrize("guarantee", [eq.Contracting(), eq.Lipschitz(30.0)])
def test_the_certificate_the_file_and_the_scores_speak_of_the_delayed_model(data, guarantee, tmp_path: Path) -> None:
    fit = eq.identify(data, guarantee, delay=LATE, **QUICK)
    assert fit.lfr.nx == 2 + sum(LATE) and fit.settings["delay"] == list(LATE)
    fit.save(tmp_path / "m")
    assert eq.verify(tmp_path / "m" / "certificate.json", fit.lfr) == guarantee
    assert certify_again(eq.load(tmp_path / "m"), guarantee).summary() == fit.certificate.summary()
    assert certify_again(fit, eq.Lipschitz(1e4)).claim == eq.Lipschitz(1e4)  # another claim is searched for
    pulse = np.tile(fit.normaliser.u_offset, (40, 1))
    still = fit.simulate(pulse)
    pulse[0, 0] += 1.0
    moved = fit.simulate(pulse) - still
    assert (moved[: LATE[0]] == 0).all() and np.abs(moved[LATE[0] : LATE[0] + 3]).max() > 1e-3
    loaded, test = eq.load(tmp_path / "m"), late([300], seed=9)
    assert np.array_equal(loaded.score(test).rmse, fit.score(test).rmse)
    assert fit.linear.score(test).nrmse[0] < 0.1


def test_a_model_without_the_delay_is_worse(data) -> None:
    test = late([300], seed=9)
    blind = eq.identify(data, eq.Contracting(), **QUICK)
    seeing = eq.identify(data, eq.Contracting(), delay=LATE, **QUICK)
    assert seeing.score(test).nrmse[0] < 0.3 * blind.score(test).nrmse[0]


def test_auto_leaves_one_sample_to_the_model() -> None:
    data = late([3000])
    lags = {g.input: g.samples for g in describe(data).delays}
    found, doubts = settle_delay("auto", data, "ren", eq.Contracting())
    assert doubts == []
    assert found == tuple(max((lags[name] or 0) - 1, 0) for name in data.u_names)
    assert LATE[0] - 1 <= found[0] <= LATE[0] and found[1] == 0


def test_outputs_stand_beside_the_inputs_that_they_answer() -> None:
    t = np.arange(30.0)
    data = eq.Data((Record(np.stack([t, t], axis=1), t[:, None], "r"),), dt=0.1)
    found = undelayed(data, (5, 2)).records[0]
    assert np.array_equal(found.y[:, 0] - found.u[:, 0], np.full(25, 5.0))
    assert np.array_equal(found.y[:, 0] - found.u[:, 1], np.full(25, 2.0))
    assert undelayed(data, (0, 0)) is data


@pytest.mark.parametrize("delay", [-1, 1.5, True, (1,), (1, 2, 3), "late"])
def test_what_is_no_delay_is_refused(data, delay) -> None:
    with pytest.raises(InputError, match="whole number of samples"):
        settle_delay(delay, data, "ren", eq.Contracting())


def test_what_a_delay_breaks_is_refused_before_any_time_is_spent(data) -> None:
    with pytest.raises(InputError, match="does not keep Passive"):
        settle_delay(2, data, "ren", eq.Passive())
    with pytest.raises(InputError, match="GRU has no states"):
        settle_delay(2, data, "gru", "none")
    with pytest.raises(DataError, match="too few"):
        settle_delay(299, data, "ren", eq.Contracting())
    assert settle_delay(0, data, "gru", "none") == ((0, 0), [])


def test_an_input_that_nothing_answers_is_named() -> None:
    """Its delay is 0, and the fit and its file say that it is a guess."""
    record = late([3000]).records[0]
    idle = np.random.default_rng(5).standard_normal((len(record), 1))
    u = np.hstack([record.u, idle])
    data = eq.Data((Record(u, record.y, "r"),), dt=0.1, u_names=("felt", "prompt", "idle"))
    delays, doubts = settle_delay("auto", data, "ren", eq.Contracting())
    assert delays[0] > 0 and delays[2] == 0
    assert len(doubts) == 1 and "'idle' stands out" in doubts[0] and "taken as 0" in doubts[0]
    fit = eq.identify(data, delay="auto", **QUICK | {"steps": 1})
    assert fit.notes[0] == doubts[0]
    assert not any("stands out" in note for note in eq.identify(data, delay=(7, 0, 0), **QUICK | {"steps": 1}).notes)


def test_outputs_that_answer_the_time_before_the_record_set_no_state(data, tmp_path: Path) -> None:
    fit = eq.identify(data, delay=LATE, **QUICK | {"steps": 1})
    test = late([300], seed=9)
    fit.save(tmp_path / "m")
    for model in (fit, fit.linear, eq.load(tmp_path / "m"), eq.load(tmp_path / "m").linear):
        for few in (1, LATE[0]):
            with pytest.raises(InputError, match="felt after 7 samples.*more than 7"):
                model.score(test, n_init=few)
        assert np.isfinite(model.score(test, n_init=LATE[0] + 1).rmse).all()
        assert np.isfinite(model.score(test, n_init=0).rmse).all()
