"""The demo's second part: a certified loop, its settling time, and a certificate that needs nothing but Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the command needs the extra 'identify'")

import eqnets_verify
from eqnets.certification import Contracting, certify
from eqnets.cli import demo, demo_loop
from eqnets.errors import NotCertified
from eqnets.system.lfr import LFR


def test_the_loop_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(demo_loop, "STEPS", 20)
    train, _ = demo.measure(0)
    demo_loop.say_loop(train.head(300), tmp_path, starts=10, seed=0)
    said = capsys.readouterr().out
    times = re.search(r"after ([\d.]+) s in simulation, after ([\d.]+) s at the latest", said)
    assert times is not None and 0 < float(times[1]) <= float(times[2])
    assert "10 wrong starts stay inside the proved envelope" in said
    assert re.findall(r"proved: ([\d.]+) per step", said) == re.findall(r"ᾱ = ([\d.]+),", said)
    # the sceptic's way: no site-packages (no torch, no numpy), only the folder that holds the checker
    root = str(Path(eqnets_verify.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {root!r}); sys.argv[1:] = [{str(tmp_path / 'loop.cert.json')!r}]\n"
        "import eqnets_verify.__main__ as m; assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "sys.exit(m.main())"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "approach each other" in done.stdout and "exact arithmetic" in done.stdout


def test_a_trajectory_that_leaves_its_envelope_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certify(Contracting(0.9), LFR(A=[[0.8]], B2=[[1.0]], C2=[[1.0]], D22=[[0.0]]))
    real = demo_loop.wrong_starts
    monkeypatch.setattr(
        demo_loop,
        "wrong_starts",
        lambda *args, **options: type(d := real(*args, **options))(1.1 * d.ratio, d.rate, d.dt),
    )
    with pytest.raises(NotCertified, match="left the proved envelope"):
        demo_loop.say_envelope(certificate, [[0.0]] * 50, 3, 0)  # type: ignore[arg-type]
