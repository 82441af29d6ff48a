"""The page in a real browser: no error, no request, every figure drawn, zooming works."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest

from eqnets.reporting import report
from eqnets.reporting.report import CREED

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; install Debian's package chromium"),
]
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser) -> Iterator:
    """Opens a file and collects everything that a page must not do; at the end, nothing may have been collected."""
    wrongs: list[str] = []
    context = browser.new_context(viewport={"width": 1366, "height": 768}, offline=True)

    def opened(path: Path):
        page = context.new_page()
        page.on("console", lambda m: wrongs.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrongs.append(str(error)))
        page.on("dialog", lambda dialog: (wrongs.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: _judge(request.url, wrongs))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
        return page

    yield opened
    context.close()
    assert not wrongs


def _judge(url: str, wrongs: list[str]) -> None:
    if urlparse(url).scheme not in ("file", "data", "blob"):
        wrongs.append(f"request: {url}")


@pytest.fixture(scope="module")
def path(case, tmp_path_factory) -> Path:
    return report(case.fit, tmp_path_factory.mktemp("browser") / "report.html", case.train, case.test)


def test_the_first_screen_says_what_counts(open_page, path: Path) -> None:
    page = open_page(path)
    assert page.locator("h1").inner_text() == "force1 [N] → acceleration1 [m/s²]"
    for selector in ("#creed", ".cards"):
        box = page.locator(selector).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 768, selector
    assert page.locator("#creed").inner_text() == CREED
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366


def test_every_figure_is_drawn_and_every_choice_works(open_page, path: Path) -> None:
    page = open_page(path)
    canvases = page.locator(".canvas")
    assert canvases.count() == 9
    for k in range(canvases.count()):
        assert _drawn(canvases.nth(k)) > 0, k
    choices = page.locator("#figure-fit select option").evaluate_all("options => options.map(o => o.value)")
    assert len(choices) == 3
    curve = page.locator("#figure-fit .scatterlayer .trace path").first
    before = curve.get_attribute("d")
    page.select_option("#figure-fit select", choices[1])
    page.wait_for_timeout(200)
    assert _drawn(page.locator("#figure-fit .canvas")) > 0
    assert curve.get_attribute("d") != before


def _drawn(canvas) -> int:
    """How many traces left a mark: an SVG path with something in it."""
    return canvas.evaluate(
        "c => [...c.querySelectorAll('.scatterlayer .trace path, .barlayer .point path')]"
        ".filter(p => (p.getAttribute('d') || '').length > 3 && p.getBoundingClientRect().width > 0).length"
    )


def test_a_drag_zooms_and_a_double_click_returns(open_page, path: Path) -> None:
    page = open_page(path)
    page.locator("#figure-fit").scroll_into_view_if_needed()
    whole = _range(page)
    box = page.locator("#figure-fit .nsewdrag").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.3 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], middle, steps=8)
    page.mouse.up()
    page.wait_for_timeout(400)
    near = _range(page)
    assert near[1] - near[0] == pytest.approx(0.3 * (whole[1] - whole[0]), rel=0.05)
    assert page.evaluate("document.querySelector('#figure-fit .canvas')._fullLayout.xaxis2.range") == pytest.approx(
        near
    )
    page.mouse.dblclick(box["x"] + 0.5 * box["width"], middle)
    page.wait_for_timeout(600)
    assert _range(page) == pytest.approx(whole)


def _range(page, axis: str = "xaxis") -> list[float]:
    return page.evaluate(f"document.querySelector('#figure-fit .canvas')._fullLayout.{axis}.range")


def test_names_cannot_become_code(build, open_page, tmp_path: Path) -> None:
    case = build(u_names=[EVIL], y_names=["<img src=x onerror=alert(2)>"], u_units=["<b>N</b>"], y_units=["%{y}"])
    page = open_page(report(case.fit, tmp_path / "evil.html", case.train, case.test))
    assert EVIL in page.locator("h1").inner_text()
    assert page.locator("img").count() == 0
    titles = page.locator("#figure-data .annotation-text").all_text_contents()
    assert titles[0] == f"{EVIL} [<b>N</b>]"
    page.locator("#figure-data").hover()
    page.wait_for_timeout(200)


def test_a_page_without_data_is_whole(build, open_page, tmp_path: Path) -> None:
    bare = build(certified=False)
    page = open_page(report(bare.fit, tmp_path / "bare.html"))
    assert "No certificate" in page.locator(".cards").inner_text()
    assert "No test data" in page.locator(".cards").inner_text()
    box = page.locator("#creed").bounding_box()
    assert box["y"] + box["height"] <= 768


def test_it_fits_a_narrow_screen(open_page, mimo, tmp_path: Path) -> None:
    page = open_page(report(mimo.fit, tmp_path / "mimo.html", mimo.train, mimo.test))
    page.set_viewport_size({"width": 420, "height": 800})
    for _ in range(50):  # the figures are drawn anew one after the other
        page.wait_for_timeout(200)
        if page.evaluate("document.documentElement.scrollWidth") <= 420:
            break
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
