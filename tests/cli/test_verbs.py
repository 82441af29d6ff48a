"""The verbs on a small real fit: what they print, what they write, and their exit codes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import eqnets as eq
from eqnets.cli import common, progress
from eqnets.cli.app import _answer
from eqnets.errors import InputError

DT = 0.05


def test_fit_writes_a_model_folder(fitted: Path) -> None:
    names = {path.name for path in fitted.iterdir()}
    assert names == {"model.safetensors", "model.json", "certificate.json", "report.html", "history.csv"}
    fit = eq.load(fitted)
    assert fit.lfr.u_names == ("torque",) and fit.lfr.y_units == ("rad",) and fit.lfr.dt == DT
    assert fit.settings["command"].startswith("eqnets ")


def test_check(eqnets, measured: Path) -> None:
    outcome = eqnets("check", measured / "train*.csv", "--u", "torque", "--y", "angle", "--dt", DT)
    assert outcome.code == 0, outcome.err
    assert "2 records, 600 samples" in outcome.out and "rad" in outcome.out and "sha256" in outcome.out


def test_check_tells_noise_drift_and_jitter(eqnets, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    u = np.resize(rng.standard_normal(300), 1500)
    y = np.convolve(u, [0.5, 0.3])[:1500] + 0.1 * rng.standard_normal(1500)
    t = 0.1 * np.arange(1500) + 5e-4 * rng.uniform(-0.5, 0.5, 1500)
    words = ["--u", "u", "--y", "y", "--time", "t", "--units", "y=V"]
    for extra, said in ((0.0, False), (np.linspace(0, 3, 1500), True)):
        table = np.stack([t, u, y + extra], 1)
        np.savetxt(tmp_path / "r.csv", table, delimiter=",", header="t,u,y", comments="", fmt="%.9g")
        outcome = eqnets("check", tmp_path / "r.csv", *words)
        assert outcome.code == 0, outcome.err
        assert ("a trend of" in outcome.out) == said and "each step within 0.00" in outcome.out
        assert "5 periods of 300 samples" in outcome.out
    assert re.search(r"noise of 0\.\d+ V", outcome.out)


def test_test_prints_the_linear_model_beside(eqnets, fitted: Path, measured: Path) -> None:
    outcome = eqnets("test", fitted, measured / "other.csv", "--u", "in", "--y", "out", "--n-init", 20)
    assert outcome.code == 0, outcome.err
    data = common.like_model(
        eq.load(fitted), [str(measured / "other.csv")], ["in"], ["out"], dt=None, clock=None, gaps="raise"
    )
    fit = eq.load(fitted)
    for label, part in (("model", fit), ("linear model", fit.linear)):
        shown = re.search(rf" {label} +([\d.e-]+)  rad", outcome.out)
        assert shown and float(shown[1]) == pytest.approx(part.score(data, n_init=20).rmse[0], rel=1e-4)


def test_test_says_where_the_model_extrapolates(eqnets, fitted: Path, measured: Path, tmp_path: Path) -> None:
    words = ["--u", "torque", "--y", "angle", "--n-init", 20]
    assert "extrapolates" not in eqnets("test", fitted, measured / "train1.csv", *words).out
    header, *rows = (measured / "train1.csv").read_text(encoding="utf-8").splitlines()
    table = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    names = [name.split()[0] for name in header.split(",")]
    table[:, names.index("torque")] *= 3
    np.savetxt(tmp_path / "loud.csv", table, delimiter=",", header=header, comments="", encoding="utf-8")
    assert "torque leaves the range" in eqnets("test", fitted, tmp_path / "loud.csv", *words).out


def test_long_channel_names_stand_apart_from_what_follows(eqnets, capsys, fitted: Path, measured: Path, tmp_path: Path):
    name = "an angle whose name is longer than a column"
    text = (measured / "other.csv").read_text(encoding="utf-8").replace("out [rad]", f"{name} [rad]")
    (tmp_path / "long.csv").write_text(text, encoding="utf-8")
    assert f"  {name}  output" in eqnets("check", tmp_path / "long.csv", "--u", "in", "--y", name, "--dt", DT).out
    data = eq.read(str(measured / "other.csv"), u=["in"], y=["out"], dt=DT)
    score = eq.load(fitted).score(data)
    capsys.readouterr()
    common.say_scores("title", score, score, [name], ["rad"])
    _, head, own, linear = capsys.readouterr().out.splitlines()
    assert own.startswith(f"  {name}  model") and own.index("rad ") == linear.index("rad ") == head.index("unit")


def test_test_needs_the_columns(eqnets, fitted: Path, measured: Path) -> None:
    eqnets("test", fitted, measured / "other.csv").refused("torque", "other.csv")
    eqnets("test", fitted, measured / "other.csv", "--u", "in,out", "--y", "out").refused("--u", "torque")
    eqnets("test", fitted, measured / "other.csv", "--u", "in", "--y", "out", "--dt", 0.1).refused("0.05")
    eqnets("test", fitted, measured / "other.csv", "--u", "in", "--y", "out", "--n-init", 1000).refused("n_init")


def test_certify_and_verify(eqnets, fitted: Path, tmp_path: Path) -> None:
    outcome = eqnets("certify", fitted, "-o", tmp_path / "c.json")
    assert outcome.code == 0 and "trajectories" in outcome.out and "margin" in outcome.out
    assert eqnets("verify", tmp_path / "c.json", fitted).code == 0
    assert eqnets("verify", fitted / "certificate.json", fitted).out.startswith("holds: ")
    beside = json.loads((fitted / "certificate.json").read_text(encoding="utf-8"))["unchecked"]["diagnostics"]
    attained, frozen, certified = beside["L1 attained"], beside["L2 frozen slopes"], beside["U certified"]
    assert 0 < attained <= frozen * (1 + 1e-9) <= certified * (1 + 2e-9) < 1
    assert "L1 attained" not in outcome.out
    assert f"L1 attained {attained:.3g}"[:16] in eqnets("certify", fitted, "--attack").out
    eqnets("certify", fitted, "-o", tmp_path / "c.json").refused("--force")
    assert eqnets("certify", fitted, "-o", tmp_path / "c.json", "--force").code == 0


def test_certify_says_what_the_fit_said_and_searches_for_another_claim(eqnets, fitted: Path) -> None:
    fit = eq.load(fitted)
    own, again = eqnets("certify", fitted).out, fit.certificate.summary().replace("from the file", "given")
    assert own.splitlines() == again.splitlines()
    with pytest.raises(eq.NotCertified):  # the training's own P and Λ prove less than a search does
        eq.certify(gain := eq.tighten(eq.Lipschitz(1.0), fit.lfr).claim, fit.lfr, fit.model.witness())
    outcome = eqnets("certify", fitted, "--guarantee", f"lipschitz:{1.001 * gain.gamma!r}")
    assert outcome.code == 0, outcome.err


def test_verify_reads_claims_around_one_equilibrium(eqnets, measured: Path, tmp_path: Path) -> None:
    """As `eqnets-verify` and `eq.verify` do: the model is a linear one, whose D11 is empty."""
    folder, words = tmp_path / "linear", ["--u", "torque", "--y", "angle", "--dt", DT, "--steps", 0, "--nx", 2]
    assert eqnets("fit", measured / "train1.csv", *words, "--model", "linear", "-o", folder).code == 0
    lfr = eq.load(folder).lfr
    for name, claim in {
        "stable": eq.AbsoluteStability(),
        "storage": eq.DissipativeAround([[-1.0]], [[0.0]], [[1e4]]),
    }.items():
        eq.certify(claim, lfr).save(tmp_path / name)
        outcome = eqnets("verify", tmp_path / name, folder)
        assert outcome.code == 0 and "an equilibrium" in outcome.out, (outcome.out, outcome.err)
        assert lfr.digest() in outcome.out
        text = (tmp_path / name).read_text(encoding="utf-8").replace(lfr.digest(), "0" * 64)
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert eqnets("verify", tmp_path / name, folder).code == 1


def test_a_claim_that_does_not_hold_is_exit_code_1(eqnets, fitted: Path) -> None:
    outcome = eqnets("certify", fitted, "--guarantee", "contracting:0.01")
    assert outcome.code == 1 and outcome.err.count("\n") == 1 and "Traceback" not in outcome.err


def test_changed_weights_are_rejected(eqnets, fitted: Path, tmp_path: Path) -> None:
    """By the hash; and with the hash made right, exactly when the inequality fails."""
    codes = {}
    for factor in (1.0 + 1e-9, 1.5):
        folder = tmp_path / f"by{factor}"
        shutil.copytree(fitted, folder)
        tensors = load_file(folder / "model.safetensors")
        tensors["lfr.A"] = tensors["lfr.A"] * factor
        save_file(tensors, folder / "model.safetensors")
        by_hash = eqnets("verify", folder / "certificate.json", folder)
        assert by_hash.code == 1 and "sha256" in by_hash.err
        content = json.loads((folder / "certificate.json").read_text())
        old = eq.load(fitted).lfr
        new = old.replace(A=tensors["lfr.A"])
        assert torch.linalg.eigvals(new.A).abs().max() > 1 or factor < 1.1
        text = json.dumps(content).replace(old.digest(), new.digest())
        (folder / "certificate.json").write_text(text)
        codes[factor] = eqnets("verify", folder / "certificate.json", folder).code
    assert list(codes.values()) == [0, 1]


def test_report(eqnets, fitted: Path, measured: Path, tmp_path: Path) -> None:
    eqnets("report", fitted).refused("report.html", "--force")
    page = tmp_path / "page.html"
    test = [measured / "other.csv", "--u", "in", "--y", "out"]
    assert eqnets("report", fitted, *test, "--train", measured / "train1.csv", "-o", page).code == 0
    content = page.read_text(encoding="utf-8")
    assert "The certificate is about the model, not the plant" in content and "other.csv" in content


def test_interrupted_is_130_and_resumable(eqnets, measured: Path, tmp_path: Path, monkeypatch) -> None:
    class Interrupting(progress.Bar):
        def __call__(self, event: dict) -> None:
            if event["phase"] == "train" and event["step"] >= 2:
                raise KeyboardInterrupt

    options = ["--u", "torque", "--y", "angle", "--dt", DT, "--steps", 4, "--nx", 2, "--nv", 4]
    words = ["fit", measured / "train1.csv", *options, "-o"]
    with monkeypatch.context() as patch:
        patch.setattr(progress, "Bar", Interrupting)
        outcome = eqnets(*words, tmp_path / "m")
    assert outcome.code == 130 and "--resume" in outcome.err
    eqnets(*words, tmp_path / "m").refused("--force")
    eqnets(*words[:-1], "--seed", 1, "-o", tmp_path / "m", "--resume").refused("seed")
    assert eqnets(*words, tmp_path / "m", "--resume").code == 0
    assert not list((tmp_path / "m").glob("checkpoint*"))
    assert eqnets(*words, tmp_path / "whole").code == 0
    resumed, whole = eq.load(tmp_path / "m"), eq.load(tmp_path / "whole")
    assert resumed.lfr.digest() == whole.lfr.digest()


def test_debug_shows_the_traceback(eqnets, tmp_path: Path) -> None:
    outcome = eqnets("check", tmp_path / "none.csv", "--u", "a", "--y", "b", "--debug")
    assert outcome.code == 2 and "Traceback" in outcome.err


def test_an_unexpected_error_is_one_sentence() -> None:
    answer = _answer(ZeroDivisionError("a\nb"))
    assert answer is not None and answer[0] == 1 and "ZeroDivisionError: a b" in answer[1]
    assert _answer(SystemExit(3)) is None


def test_the_command_is_installed_or_runs_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "eqnets.cli", "--version"], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0 and result.stdout == f"eqnets {eq.__version__}\n", result.stderr


def test_names_and_claims() -> None:
    assert common.names(["a, b", "c"]) == ["a", "b", "c"] and common.names(None) == []
    assert common.claim("contracting:0.9") == eq.Contracting(0.9)
    assert common.claim("lipschitz:2", "1,3", None) == eq.Lipschitz(2.0, (1.0, 3.0), None)
    with pytest.raises(InputError, match="positive"):
        common.claim("lipschitz:2", "1,0", None)


def test_units_that_the_file_does_not_say(eqnets, measured: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text((measured / "train1.csv").read_text(encoding="utf-8").replace(" [Nm]", "").replace(" [rad]", ""))
    words = ["check", plain, "--u", "torque", "--y", "angle", "--dt", DT]
    shown = eqnets(*words, "--units", "torque=N·m, angle=rad")
    assert shown.code == 0 and "N·m" in shown.out and "rad" in shown.out
    eqnets(*words, "--units", "torque").refused("NAME=UNIT")
    eqnets(*words, "--units", "torque=N,torque=Nm").refused("each name once")
    eqnets(*words, "--units", "force=N").refused("force")
    eqnets("check", measured / "train1.csv", *words[2:], "--units", "angle=deg").refused("rad", "deg")


def test_an_integrator_is_refused_and_its_rate_is_not(eqnets, tmp_path: Path) -> None:
    u = torch.randn(600, 1, generator=torch.Generator().manual_seed(0)).double().numpy()
    path = tmp_path / "drive.csv"
    np.savetxt(path, np.hstack([u, DT * u.cumsum(axis=0)]), delimiter=",", header="voltage,position [mm]", comments="")
    words = [path, "--u", "voltage", "--y", "position", "--dt", DT]
    assert "position: behaves like an integrator" in eqnets("check", *words).out
    assert "Δposition/Δt: forgets its past" in eqnets("check", *words, "--difference", "position").out
    fit = ["fit", *words, "--steps", 1, "--nx", 1, "--nv", 2]
    eqnets(*fit, "-o", tmp_path / "no").refused("position", "integrator", "--difference")
    assert not (tmp_path / "no").exists()
    assert eqnets(*fit, "-o", tmp_path / "rate", "--difference", "position").code == 0
    assert eq.load(tmp_path / "rate").lfr.y_units == ("mm/s",)
    assert eqnets(*fit, "-o", tmp_path / "yes", "--ignore-integrator").code == 0
    eqnets(*fit, "-o", tmp_path / "m", "--difference", "speed").refused("speed", "position")


def test_a_rate_is_scored_as_a_rate_and_as_what_it_integrates_to(eqnets, tmp_path: Path) -> None:
    """v⁺ = 0.7 v + u, position = Δt Σ v."""
    u = torch.randn(500, generator=torch.Generator().manual_seed(0)).double().numpy()
    v = np.zeros(500)
    for t in range(499):
        v[t + 1] = 0.7 * v[t] + u[t]
    position = np.concatenate([[0.0], DT * np.cumsum(v)[:-1]])
    path = tmp_path / "drive.csv"
    np.savetxt(path, np.stack([u, position], 1), delimiter=",", header="voltage [V],position [mm]", comments="")
    fit = ["fit", path, "--u", "voltage", "--y", "position", "--dt", DT, "--difference", "position"]
    assert eqnets(*fit, "--steps", 0, "--nx", 1, "--nv", 2, "-o", tmp_path / "m").code == 0
    shown = eqnets("test", tmp_path / "m", path)
    assert shown.code == 0, shown.err
    rows = re.findall(r" linear model +([\d.e-]+)  (\S+)", shown.out)
    linear = eq.load(tmp_path / "m").linear
    rate = linear.simulate(u[:-1, None], np.diff(position)[:50, None] / DT)[:, 0]
    e = position[50] + DT * np.concatenate([[0.0], np.cumsum(rate[50:])]) - position[50:]
    expected = {"mm/s": np.sqrt(np.mean((rate[50:] - v[50:-1]) ** 2)), "mm": np.sqrt(np.mean(e**2))}
    assert {unit: float(rmse) for rmse, unit in rows} == pytest.approx(expected, rel=1e-3)
    assert "no certificate covers" in shown.out
    page = tmp_path / "page.html"
    assert eqnets("report", tmp_path / "m", path, "-o", page).code == 0


def test_a_delay_that_cannot_be_told_is_said(eqnets, tmp_path: Path) -> None:
    u, y = torch.randn(2, 400, 1, generator=torch.Generator().manual_seed(0)).double().numpy()
    path = tmp_path / "noise.csv"
    np.savetxt(path, np.hstack([u, y]), delimiter=",", header="in,out", comments="")
    words = [path, "--u", "in", "--y", "out", "--dt", DT]
    assert "out answers in: no answer stands out from the noise" in eqnets("check", *words).out
    fitted = eqnets("fit", *words, "--delay", "auto", "--steps", 1, "--nx", 1, "--nv", 2, "-o", tmp_path / "m")
    assert fitted.code == 0 and "note: No answer to the input 'in' stands out" in fitted.out


def test_a_delay_longer_than_the_first_samples_is_fitted_tested_and_reported(eqnets, tmp_path: Path) -> None:
    u = torch.randn(700, 1, generator=torch.Generator().manual_seed(0)).double().numpy()
    y = 0.5 * np.roll(u, 60)
    path = tmp_path / "late.csv"
    np.savetxt(path, np.hstack([u, y])[60:], delimiter=",", header="in,out", comments="")
    words = [path, "--u", "in", "--y", "out", "--dt", DT]
    fitted = eqnets("fit", *words, "--delay", 60, "--steps", 1, "--nx", 1, "--nv", 2, "-o", tmp_path / "m")
    assert fitted.code == 0, fitted.err
    eqnets("test", tmp_path / "m", path).refused("after 60 samples", "--n-init")
    assert eqnets("test", tmp_path / "m", path, "--n-init", 61).code == 0
