"""Compared models behind the verb identify: the same data, loop and score; no certificate, and it says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eqnets as eq
from eqnets.errors import CertificateError, InputError, NotCertified, NotConverged
from eqnets.identification.data import Data
from eqnets.identification.dynamics import linearised, roll, trajectory
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.guarantee import NOTHING
from eqnets.identification.initial_state import Prior, estimate_x0
from eqnets.identification.kinds import KINDS
from eqnets.identification.moments import moments
from eqnets.identification.record import Record

DT = 0.05
MODELS = list(KINDS)
BLACK = ("gru", "lstm", "neural_ode")
CLASSES = {"ren": eq.FreeREN, "linear": eq.FreeREN, "rnn": eq.RNN, "gru": eq.GRU, "lstm": eq.LSTM,
           "neural_ode": eq.NeuralODE}  # fmt: skip


def options(model: str, **more: Any) -> dict[str, Any]:
    sizes: dict[str, Any] = {"nx": 2} if KINDS[model].states else {}
    sizes |= {"nv": 4} if KINDS[model].neurons else {}
    return {"guarantee": "none", "model": model, "steps": 4, "restarts": 2, "seed": 3, **sizes, **more}


@pytest.fixture(scope="module")
def data() -> Data:
    plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=4.0)
    pairs = plant.records(torch.Generator().manual_seed(1), n_records=2, duration=4.0, dt=DT)
    return eq.read(pairs, u=["torque"], y=["angle"], dt=DT, units={"torque": "N·m", "angle": "rad"})


@pytest.fixture(scope="module")
def fits(data: Data) -> dict[str, eq.Fit]:
    return {model: eq.identify(data, **options(model)) for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
def test_it_is_scored_like_every_other_and_nothing_is_certified(model: str, fits, data: Data) -> None:
    fit = fits[model]
    assert type(fit.model) is CLASSES[model] and fit.certificate is None and fit.guarantee == "none"
    assert NOTHING in fit.notes and fit.settings["model"] == model and fit.settings["guarantee"] == "none"
    assert fit.system.dt == DT and fit.system.y_units == ("rad",) and fit.system.u_names == ("torque",)
    record = data.records[0]
    score = fit.score(data, n_init=20)
    mine = [fit.simulate(r.u, r.y[:20]) for r in data.records]
    errors = np.concatenate([(y - r.y)[20:] for y, r in zip(mine, data.records, strict=True)])
    assert score.rmse == pytest.approx(np.sqrt(np.mean(errors**2, axis=0)), rel=1e-12)
    assert fit.simulate(record.u[None].repeat(2, 0)).shape == (2, len(record), 1)


@pytest.mark.parametrize("model", MODELS)
def test_training_lowers_its_error(model: str, data: Data) -> None:
    more = {"steps": 30, "restarts": 1, "refit": False, "learning_rate": 1e-2}
    history = eq.identify(data, **options(model, **more)).history
    errors = [row["train_rmse"] for row in history if np.isfinite(row["train_rmse"])]
    assert len(errors) > 3 and errors[-1] < errors[0]


@pytest.mark.parametrize("model", MODELS)
def test_physical_units_are_folded_in(model: str, fits, data: Data) -> None:
    """The deployed system between N·m and rad is the trained one between normalised signals."""
    fit, record = fits[model], data.records[0]
    x0 = fit.prior.mean
    u = torch.from_numpy(fit.normaliser.normalise_u(record.u))[None]
    with torch.no_grad():
        inner = fit.model(u, x0)[0][0].numpy()
        outer = roll(fit.system, torch.from_numpy(record.u.copy())[None], x0[None])[0][0].numpy()
    assert np.allclose(outer, fit.normaliser.physical_y(inner), rtol=1e-9, atol=1e-12)
    assert np.allclose(fit.simulate(record.u), outer, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_command_gives_the_same_model(model: str, fits, data: Data) -> None:
    assert eq.identify(data, **options(model)).system.digest() == fits[model].system.digest()
    other = eq.identify(data, **options(model, seed=10)).system.digest()
    assert (other == fits[model].system.digest()) == (model == "linear")  # which begins without chance


@pytest.mark.parametrize("model", MODELS)
def test_interrupted_and_resumed_is_the_same_to_the_bit(model: str, fits, data: Data, tmp_path: Path) -> None:
    def kill(event: dict[str, Any]) -> None:
        if event["phase"] == "train" and event.get("restart") == 2 and event["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eq.identify(data, **options(model), progress=kill, keeper=Checkpoint(tmp_path, {"a": 1}))
    resumed = eq.identify(data, **options(model), keeper=Checkpoint(tmp_path, {"a": 1}, resume=True))
    assert resumed.system.digest() == fits[model].system.digest()


@pytest.mark.parametrize("model", MODELS)
def test_a_model_folder_reads_back_as_it_was(model: str, fits, data: Data, tmp_path: Path) -> None:
    fit = fits[model]
    folder = fit.save(tmp_path / "m")
    assert not (folder / "certificate.json").exists()
    again = eq.load(folder)
    assert again.system.digest() == fit.system.digest() and again.certificate is None and again.guarantee == "none"
    assert again.notes == fit.notes and again.settings == fit.settings
    assert np.array_equal(again.score(data, n_init=20).rmse, fit.score(data, n_init=20).rmse)
    assert again.system.y_names == fit.system.y_names


@pytest.mark.parametrize("model", BLACK)
def test_a_model_without_an_lfr_says_so(model: str, fits, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no LFR"):
        _ = fits[model].lfr
    folder = fits[model].save(tmp_path / "m")
    (folder / "certificate.json").write_text("{}", encoding="utf-8")
    with pytest.raises((InputError, CertificateError)):
        eq.load(folder)


@pytest.mark.parametrize("model", MODELS)
def test_the_initial_state_is_found_from_the_first_outputs(model: str, fits) -> None:
    fit = fits[model]
    system, nx = fit.system, fit.system.nx
    g = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(fit.prior.covariance)
    u = 0.1 * torch.randn(40, 1, generator=g, dtype=torch.float64)
    x0 = fit.prior.mean + root @ torch.randn(nx, generator=g, dtype=torch.float64)
    with torch.no_grad():
        y = roll(system, u[None], x0[None])[0][0]
    sharp = Prior(fit.prior.mean, fit.prior.covariance, 1e-6 * fit.prior.noise)
    with torch.no_grad():
        again = roll(system, u[None], estimate_x0(system, u, y, sharp)[None])[0][0]
        untold = roll(system, u[None], fit.prior.mean[None])[0][0]
    assert float((again - y).abs().max()) < 1e-3 * float((untold - y).abs().max())


@pytest.mark.parametrize("model", MODELS)
def test_its_states_and_its_linear_part_are_those_of_its_steps(model: str, fits) -> None:
    system = fits[model].system
    g = torch.Generator().manual_seed(0)
    u = torch.randn(5, 1, generator=g, dtype=torch.float64)
    x = torch.randn(system.nx, generator=g, dtype=torch.float64)
    y, states = trajectory(system, u, x)
    with torch.no_grad():
        whole, _ = roll(system, u[None], x[None])
        _, third = roll(system, u[None, :3], x[None])
    torch.testing.assert_close(y, whole[0])
    torch.testing.assert_close(states[3], third[0])
    lti, h = linearised(system, x, u[0]), 1e-6

    def step(dx: torch.Tensor, du: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            out, last = roll(system, (u[0] + du)[None, None], (x + dx)[None])
        return torch.cat([last[0], out[0, 0]])

    dx, du = (torch.randn(n, generator=g, dtype=torch.float64) for n in (system.nx, 1))
    slope = (step(h * dx, h * du) - step(-h * dx, -h * du)) / (2 * h)
    torch.testing.assert_close(
        torch.cat([lti.A @ dx + lti.B @ du, lti.C @ dx + lti.D @ du]), slope, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("guarantee", [eq.Contracting(), eq.Contracting(0.98), eq.Lipschitz(3.0)])
def test_the_linear_start_keeps_the_same_promise(guarantee: Any, data: Data) -> None:
    fit = eq.identify(data, guarantee, model="linear", nx=2, steps=6)
    assert fit.lfr.nv == 0 and fit.certificate is not None and fit.certificate.margin > 0
    assert eq.certify(guarantee, fit.lfr).claim == guarantee


def test_free_and_promised_begin_at_the_same_system(data: Data) -> None:
    """So that what the promise costs is measured, not the luck of a start."""
    same = {"nx": 2, "nv": 4, "steps": 0, "restarts": 1, "refit": False, "seed": 1}
    free, kept = (eq.identify(data, guarantee, **same) for guarantee in ("none", eq.Contracting()))
    for name, block in kept.lfr.blocks().items():
        torch.testing.assert_close(free.lfr.blocks()[name], block, rtol=1e-9, atol=1e-9)
    assert free.certificate is None and kept.certificate is not None


def test_the_default_promise_is_the_models_own(data: Data) -> None:
    quick = {"steps": 1, "restarts": 1}
    assert eq.identify(data, model="linear", nx=1, **quick).guarantee == eq.Contracting()
    assert eq.identify(data, model="gru", nv=2, **quick).guarantee == "none"


def test_an_old_certificate_does_not_stay_beside_a_model_without(data: Data, fits, tmp_path: Path) -> None:
    eq.identify(data, model="linear", nx=1, steps=1).save(tmp_path / "m")
    assert (tmp_path / "m" / "certificate.json").exists()
    fits["gru"].save(tmp_path / "m", force=True)
    assert not (tmp_path / "m" / "certificate.json").exists() and eq.load(tmp_path / "m").certificate is None


def test_a_certificate_that_is_proved_later_is_verified_when_it_is_read(data: Data, tmp_path: Path) -> None:
    fit = eq.identify(data, **options("linear", steps=0))
    folder = fit.save(tmp_path / "m")
    eq.certify(eq.Contracting(), fit.lfr).save(folder / "certificate.json")
    again = eq.load(folder)
    assert again.certificate is not None and again.certificate.claim == eq.Contracting() and again.guarantee == "none"


@pytest.mark.parametrize(
    ("more", "word"),
    [({"model": "transformer"}, "neural_ode"), ({"model": "gru", "guarantee": eq.Contracting()}, "'none'"),
     ({"model": "lstm", "nx": 3}, "hidden units"), ({"model": "linear", "nv": 3}, "no neurons"),
     ({"model": "gru", "nv": 0}, "at least one hidden unit"), ({"model": "rnn", "activation": "relu"}, "activation"),
     ({"guarantee": "None"}, "promise"), ({"guarantee": eq.WellPosed()}, "promise")],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_time_is_spent(more: dict, word: str, data: Data) -> None:
    with pytest.raises(InputError, match=word):
        eq.identify(data, **{"steps": 1, "restarts": 1, **more})


def test_an_integrator_is_no_reason_to_refuse_a_model_without_a_promise() -> None:
    g = np.random.default_rng(0)
    u = g.standard_normal((2, 300, 1))
    y = np.cumsum(u, axis=1) + 1e-3 * g.standard_normal(u.shape)
    records = [(u[i], y[i]) for i in range(2)]
    with pytest.raises(InputError, match="integrator"):
        eq.identify(records, dt=0.1, steps=1, nx=1, nv=2)
    assert eq.identify(records, "none", dt=0.1, steps=1, nx=1, nv=2, restarts=1).certificate is None


def test_a_model_that_runs_away_is_said() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    runaway = eq.FreeREN.from_lfr(eq.LFR(A=3 * one, B2=one, C2=one, D22=one))
    data = Data((Record(np.ones((900, 1)) * np.arange(900)[:, None], np.ones((900, 1)), "r"),), dt=1.0)
    with pytest.raises(NotConverged, match="runs away"):
        moments(runaway.explicit().detach(), data)
    system = runaway.explicit().detach()
    with pytest.raises(NotCertified):
        eq.certify(eq.Contracting(), system)
    u = torch.ones(900, 1, dtype=torch.float64)
    prior = Prior(torch.zeros(1).double(), torch.eye(1).double(), torch.ones(1).double())
    assert bool(torch.isfinite(estimate_x0(system, u, u, prior)).all())


def test_training_comes_back_from_a_step_too_far(data: Data) -> None:
    """A learning rate at which nothing holds: the model is left at its best, and every number of it is finite."""
    fit = eq.identify(data, **options("ren", steps=60, restarts=1, refit=False, learning_rate=30.0))
    assert all(bool(value.isfinite().all()) for value in fit.model.state_dict().values())
    first = fit.history[0]["val_rmse"]
    assert min(row["val_rmse"] for row in fit.history) <= first < np.inf
