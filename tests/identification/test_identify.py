"""The verb identify, on a pendulum: honest about data, exact about units, the same every time."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.identification.conftest import random_lti, records_of

import eqnets as eq
from eqnets.errors import CertificateError, DataError, InputError
from eqnets.identification.fit import Fit
from eqnets.identification.record import Record

DT = 0.05
QUICK = {"steps": 30, "nx": 2, "nv": 6, "restarts": 2, "seed": 3}


def pendulum(n_records: int = 3) -> eq.Data:
    plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=4.0)
    pairs = plant.records(torch.Generator().manual_seed(1), n_records=n_records, duration=15.0, dt=DT)
    return eq.read(pairs, u=["torque"], y=["angle"], dt=DT, units={"torque": "N·m", "angle": "rad"})


@pytest.fixture(scope="module")
def data() -> eq.Data:
    return pendulum()


@pytest.fixture(scope="module")
def fit(data: eq.Data) -> Fit:
    return eq.identify(data, eq.Contracting(0.97), steps=200, nx=2, nv=10, restarts=1, seed=0)


def test_it_beats_the_linear_model_on_a_record_it_has_not_seen(fit: Fit) -> None:
    plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=4.0)
    pairs = plant.records(torch.Generator().manual_seed(99), n_records=1, duration=20.0, dt=DT)
    test = eq.read(pairs, u=["torque"], y=["angle"], dt=DT, units={"torque": "N·m", "angle": "rad"})
    assert fit.score(test).rmse[0] < 0.5 * fit.linear.score(test).rmse[0]


def test_the_certificate_speaks_of_the_physical_system(fit: Fit, tmp_path: Path) -> None:
    assert fit.certificate.claim == eq.Contracting(0.97)
    fit.certificate.save(tmp_path / "c.json")
    assert eq.verify(tmp_path / "c.json", fit.lfr) == eq.Contracting(0.97)
    with pytest.raises(CertificateError):
        eq.verify(tmp_path / "c.json", fit.model.explicit().detach())
    assert fit.lfr.u_units == ("N·m",) and fit.lfr.y_names == ("angle",) and fit.lfr.dt == DT


def test_the_proved_rate_is_near_what_the_model_does(data: eq.Data) -> None:
    """Of a promise that any rate below 1 would keep: the printed time constant is of use."""
    fit = eq.identify(data, eq.Contracting(), **QUICK)
    assert fit.certificate.claim == eq.Contracting()
    given = eq.certify(eq.Contracting(), fit.lfr, fit.model.witness())
    assert fit.certificate.rate <= given.rate
    slowest = float(torch.linalg.eigvals(eq.linearise(fit.lfr).A).abs().max())
    assert slowest <= fit.certificate.rate < 1
    assert fit.certificate.time_constant <= 5 * -DT / np.log(slowest)


def test_the_physical_system_is_the_model_in_other_units(fit: Fit, data: eq.Data) -> None:
    record = data.records[0]
    y = fit.simulate(record.u)
    n = fit.normaliser
    u = torch.from_numpy(n.normalise_u(record.u))[None]
    inner, _ = eq.simulate(fit.model.explicit().detach(), u, fit.prior.mean)
    assert np.allclose(y, n.physical_y(inner[0].numpy()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("guarantee", [eq.Contracting(0.98), eq.Lipschitz(3.0, u_scale=0.5, y_scale=2.0)])
def test_the_same_command_gives_the_same_model(data: eq.Data, guarantee: eq.Contracting | eq.Lipschitz) -> None:
    digests = {eq.identify(data, guarantee, **QUICK).lfr.digest() for _ in range(2)}
    assert len(digests) == 1
    assert eq.identify(data, guarantee, **{**QUICK, "seed": 9}).lfr.digest() not in digests


@pytest.mark.parametrize(("gamma", "costs"), [(8.0, False), (0.6, True)])
def test_a_gain_bound_holds_in_physical_units_and_says_what_it_costs(data: eq.Data, gamma: float, costs: bool) -> None:
    claim = eq.Lipschitz(gamma, u_scale=2.0, y_scale=0.5)
    fit = eq.identify(data, claim, **QUICK)
    assert eq.certify(claim, fit.lfr, fit.certificate.witness).margin > 0
    assert any("does not keep the guarantee" in note for note in fit.notes) == costs
    g = torch.Generator().manual_seed(0)
    u = torch.randn(32, 200, 1, generator=g, dtype=torch.float64)
    x0 = fit.prior.mean
    for size in (1e-3, 0.1, 3.0):
        du = size * torch.randn(u.shape, generator=g, dtype=torch.float64)
        dy = eq.simulate(fit.lfr, u + du, x0)[0] - eq.simulate(fit.lfr, u, x0)[0]
        gains = (dy / 0.5).square().sum((1, 2)).sqrt() / (du / 2.0).square().sum((1, 2)).sqrt()
        assert float(gains.max()) <= gamma * (1 + 1e-9)


def test_constants_are_learned_on_the_training_part_only(data: eq.Data) -> None:
    """Whatever stands in the validation tails, normalisation, linear order 2 and its poles stay."""
    cut = [len(r) - round(0.2 * len(r)) for r in data.records]
    spoiled = replace(data, records=tuple(
        Record(np.concatenate([r.u[:n], 7 * r.u[n:]]), np.concatenate([r.y[:n], 5 + r.y[n:]]), r.name)
        for r, n in zip(data.records, cut, strict=True)
    ))  # fmt: skip
    options = {**QUICK, "steps": 0, "restarts": 1, "refit": False}
    a, b = (eq.identify(d, **options) for d in (data, spoiled))
    assert np.array_equal(a.normaliser.y_scale, b.normaliser.y_scale)
    assert np.array_equal(a.normaliser.u_offset, b.normaliser.u_offset)
    assert torch.equal(a.linear.lfr.A, b.linear.lfr.A)


def test_no_training_is_the_linear_model_with_its_certificate(data: eq.Data) -> None:
    fit = eq.identify(data, steps=0, nx=2, nv=6, restarts=1, refit=False)
    own, linear = fit.score(data), fit.linear.score(data)
    assert np.allclose(own.rmse, linear.rmse, rtol=1e-3) and fit.certificate.margin > 0


def test_several_channels_and_lengths() -> None:
    data = records_of(random_lti(3, 2, 3, 0), [300, 170, 410], 0, noise=0.01)
    fit = eq.identify(data, steps=10, nx=3, nv=4, restarts=1)
    score = fit.score(data)
    assert score.rmse.shape == (3,) and (score.fit_percent > 90).all()


def test_pairs_of_arrays_need_a_sample_time() -> None:
    record = records_of(random_lti(1, 1, 1, 0), [200], 0).records[0]
    with pytest.raises(DataError, match="dt"):
        eq.identify([(record.u, record.y)], steps=1)
    assert eq.identify([(record.u, record.y)], dt=0.1, steps=1, nx=1, nv=2, restarts=1).lfr.dt == 0.1


@pytest.mark.parametrize(
    ("options", "word"),
    [({"nx": 0}, "nx"), ({"nv": -1}, "nv"), ({"steps": 1.5}, "steps"), ({"minutes": 0}, "minutes"),
     ({"restarts": 0}, "restarts"), ({"val": 1.0}, "val"), ({"guarantee": eq.WellPosed()}, "promise"),
     ({"activation": "gelu"}, "gelu")],
)  # fmt: skip
def test_options_out_of_range_are_refused(data: eq.Data, options: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        eq.identify(data, **{"steps": 1, "restarts": 1, **options})


def test_a_model_folder_reads_back_as_it_was(fit: Fit, data: eq.Data, tmp_path: Path) -> None:
    fit.save(tmp_path / "m")
    again = eq.load(tmp_path / "m")
    assert again.lfr.digest() == fit.lfr.digest() and again.linear.lfr.digest() == fit.linear.lfr.digest()
    assert again.model.explicit().digest() == fit.model.explicit().digest()
    assert again.guarantee == fit.guarantee and again.settings == fit.settings and again.notes == fit.notes
    assert [row["step"] for row in again.history] == [row["step"] for row in fit.history]
    assert np.array_equal(again.score(data).rmse, fit.score(data).rmse)
    with pytest.raises(InputError, match="overwrite"):
        fit.save(tmp_path / "m")
    fit.save(tmp_path / "m", force=True)


def test_a_damaged_folder_is_one_sentence(fit: Fit, tmp_path: Path) -> None:
    whole = fit.save(tmp_path / "whole")
    edits = {
        "format": lambda meta: meta.update(format=99), "lfr": lambda meta: meta.pop("lfr"),
        "model": lambda meta: meta.update(model="os.system"), "settings": lambda meta: meta["model_settings"].pop("nu"),
    }  # fmt: skip
    for name, edit in edits.items():
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        meta = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        edit(meta)
        (folder / "model.json").write_text(json.dumps(meta), encoding="utf-8")
        with pytest.raises(DataError):
            eq.load(folder)
    for file in ("model.json", "model.safetensors"):
        folder = tmp_path / f"cut {file}"
        shutil.copytree(whole, folder)
        (folder / file).write_bytes((folder / file).read_bytes()[:50])
        with pytest.raises(DataError, match="damaged"):
            eq.load(folder)
        (folder / file).unlink()
        with pytest.raises(DataError, match=file.replace(".", r"\.")):
            eq.load(folder)
    with pytest.raises(DataError, match="not a model folder"):
        eq.load(tmp_path / "nowhere")


@pytest.mark.parametrize("certified", [True, False])
def test_a_flipped_bit_anywhere_in_the_weights_is_noticed(fit: Fit, tmp_path: Path, certified: bool) -> None:
    """Also where no certificate speaks of them: in the linear model, the initial states and the free parameters."""
    whole = (fit if certified else replace(fit, guarantee="none", certificate=None)).save(tmp_path / "whole")
    content = (whole / "model.safetensors").read_bytes()
    header = json.loads(content[8 : (start := 8 + int.from_bytes(content[:8], "little"))])
    header.pop("__metadata__", None)
    folder = Path(shutil.copytree(whole, tmp_path / "flipped"))
    for name, entry in header.items():
        if entry["data_offsets"][0] == entry["data_offsets"][1]:
            continue
        at = start + entry["data_offsets"][0]
        (folder / "model.safetensors").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        error = CertificateError if certified and name.startswith("lfr.") and "prior" not in name else DataError
        with pytest.raises(error, match="other weights" if error is CertificateError else "not those that were saved"):
            eq.load(folder)
    assert {name.split(".")[0] for name in header} == {"lfr", "linear", "theta", "x0"}


def test_a_folder_without_its_certificate_says_how_to_get_one(fit: Fit, tmp_path: Path) -> None:
    folder = fit.save(tmp_path / "m")
    (folder / "certificate.json").unlink()
    with pytest.raises(DataError, match=r"no certificate.json.*eqnets certify"):
        eq.load(folder)


def test_every_file_of_a_folder_may_be_read_by_whom_the_umask_lets(fit: Fit, tmp_path: Path) -> None:
    folder = fit.save(tmp_path / "m")
    (folder / "plain.txt").write_text("x")
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
