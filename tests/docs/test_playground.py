"""The playground in a browser: it loads offline, a turned slider changes the numbers, and the numbers are right."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch

import eqnets as eq

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; install Debian's package chromium"),
]
PAGE = Path(__file__).parents[2] / "docs" / "playground" / "playground.html"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
A0 = torch.tensor([[0.8, 0.5], [-0.3, 0.9]], dtype=torch.float64)
B0 = torch.tensor([[0.2, 1.6], [-0.9, 0.1]], dtype=torch.float64)


@pytest.fixture(scope="module")
def page() -> Iterator:
    wrongs: list[str] = []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = chromium.new_context(viewport={"width": 1280, "height": 800}, offline=True).new_page()
        opened.on("console", lambda m: wrongs.append(m.text) if m.type in ("error", "warning") else None)
        opened.on("pageerror", lambda error: wrongs.append(str(error)))
        opened.on("request", lambda r: wrongs.append(r.url) if urlparse(r.url).scheme not in ("file", "data") else None)
        opened.goto(PAGE.as_uri())
        opened.wait_for_selector("body[data-ready=yes]", timeout=60_000)
        yield opened
        chromium.close()
    assert not wrongs


def turn(page, slider: str, value: float) -> None:
    page.locator(f"#{slider}").fill(str(value))


def read(page, name: str) -> float:
    text = page.locator(f"#{name}").inner_text().split()[0]
    return math.inf if text == "∞" else float(text)


def test_the_scale_of_the_weights_decides_whether_iteration_converges(page) -> None:
    turn(page, "scale", 0.3)
    assert read(page, "plain-residual") < 1e-6
    assert "equilibrium" in page.locator("#plain-verdict").inner_text()
    small = page.locator("#plain-canvas").evaluate("c => c.toDataURL()")
    turn(page, "scale", 2.5)
    assert read(page, "plain-residual") > 1e-2
    assert page.locator("#plain-verdict").inner_text() == "depth leads nowhere"
    assert page.locator("#plain-canvas").evaluate("c => c.toDataURL()") != small


@pytest.mark.parametrize("m", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_the_monotone_panel_says_what_eqnets_says(page, m: float, scale: float) -> None:
    turn(page, "scale", scale)
    turn(page, "margin", m)
    layer = eq.MonotoneDEQ(1, 2, m, "tanh", dtype=torch.float64)
    with torch.no_grad():
        layer.linear.A.copy_(scale * A0)
        layer.linear.B.copy_(scale * B0)
    W = layer.linear.weight().detach()
    assert read(page, "split-radius") == pytest.approx(float(torch.linalg.eigvals(W).abs().max()), abs=2e-3)
    lowest = torch.linalg.eigvalsh(torch.eye(2, dtype=torch.float64) - (W + W.T) / 2)[0]
    assert read(page, "split-margin") == pytest.approx(float(lowest), abs=2e-3)
    assert read(page, "split-margin") >= m - 1e-3
    assert read(page, "split-steps") < 500
    assert read(page, "split-bound") < 1e-5


@pytest.mark.parametrize("kp", [0, 20, 30, 40, 60])
def test_the_pendulum_contracts_where_eqnets_says_so(page, kp: int) -> None:
    turn(page, "gain", kp)
    plant = eq.plants.Pendulum(mass=1.0, length=0.4, gravity=9.81, damping=0.25 * 0.16, kp=float(kp), kd=0.1 * kp)
    assert ("contracts: proved" in page.locator("#pendulum-verdict").inner_text()) == plant.is_contracting()
    assert read(page, "pendulum-threshold") == pytest.approx(plant.contraction_threshold(), abs=2e-3)
    ends = plant.simulate(torch.zeros(2, 400, 1), torch.tensor([[1.2, 0.0], [-0.4, 0.0]]), 0.01)[1][:, 0]
    assert read(page, "pendulum-distance") == pytest.approx(float((ends[0] - ends[1]).abs()), abs=2e-3, rel=0.06)


def test_it_fits_a_phone(page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 800})
