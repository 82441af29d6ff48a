from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from eqnets.certification import Lipschitz
from eqnets.errors import InputError
from eqnets.identification.data import Record
from eqnets.identification.metrics import score
from eqnets.reporting import contents, report
from eqnets.reporting.gather import channels_of
from eqnets.reporting.report import CREED
from eqnets.reporting.thin import MOST_POINTS
from eqnets.reporting.words import quantity

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The elements of a page, its visible text, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[tuple[dict, str]] = []
        self.words: list[str] = []
        self.open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        if self.open == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self.open != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def figures(self) -> dict:
        return json.loads(next(text for attrs, text in self.scripts if attrs.get("id") == "figures"))

    def plotly(self) -> str:
        """The library, unpacked as the browser does it."""
        packed = next(text for attrs, text in self.scripts if attrs.get("id") == "plotly")
        return gzip.decompress(base64.b64decode(packed)).decode()


@pytest.fixture(scope="module")
def written(case, tmp_path_factory) -> Path:
    return report(case.fit, tmp_path_factory.mktemp("report") / "report.html", case.train, case.test)


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_it_is_one_file_that_names_no_other(written: Path, page: Page) -> None:
    assert [p.name for p in written.parent.iterdir()] == ["report.html"]
    assert written.stat().st_size < 4e6
    loads = [
        (tag, attrs) for tag, attrs in page.tags if "src" in attrs or (tag == "link" and attrs["href"] != "data:,")
    ]
    assert not loads
    assert page.plotly() == get_plotlyjs()
    outside = re.compile(r"https?://")
    assert not outside.search(page.text)
    style = re.search(r"<style>(.*?)</style>", written.read_text(encoding="utf-8"), re.S)[1]
    assert "url(" not in style and "@import" not in style


def test_only_its_own_scripts_may_run(page: Page) -> None:
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    allowed = re.search(r"script-src ([^;]+)", policy)[1].split()
    scripts = [page.plotly(), *(text for attrs, text in page.scripts if "type" not in attrs)]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]
    assert allowed == hashes
    assert "default-src 'none'" in policy


def test_the_numbers_are_those_of_the_scores(case, page: Page) -> None:
    own, rival = case.fit.score(case.test), case.fit.linear.score(case.test)
    assert f"{quantity(own.rmse[0], 'm/s²')}" in " ".join(page.words)
    assert f"{quantity(rival.rmse[0], 'm/s²')}" in " ".join(page.words)
    card = contents.error_card(channels_of(case.fit), own, rival, 1)
    assert card["tone"] == "good" and own.rmse[0] < rival.rmse[0]
    share = round(100 * (1 - own.rmse[0] / rival.rmse[0]))
    assert f"{share} % below the linear model’s" in page.text.replace("\u00a0", " ")
    assert CREED in page.text


def test_a_model_worse_than_the_linear_one_is_said_to_be_worse(case) -> None:
    own, rival = case.fit.linear.score(case.test), case.fit.score(case.test)
    card = contents.error_card(channels_of(case.fit), own, rival, 1)
    assert card["tone"] == "bad"
    assert "above" in card["rows"][0]["change"]


def test_every_section_is_there(page: Page) -> None:
    ids = [attrs["id"] for tag, attrs in page.tags if tag == "section" and "id" in attrs]
    assert ids == ["scores", "data", "fit", "residuals", "frequency", "error", "static", "worst", "training",
                   "certificate", "reproduce"]  # fmt: skip
    keys = {attrs["data-key"] for tag, attrs in page.tags if "data-key" in attrs}
    assert keys == {"data-0", "fit-0", "residuals-0", "frequency-0", "error-0", "static-0", "worst-0", "training-0",
                    "starts-0"}  # fmt: skip
    assert keys <= set(page.figures)
    options = {attrs["value"] for tag, attrs in page.tags if tag == "option"}
    assert options <= set(page.figures)


def test_the_figures_hold_the_data(case, page: Page) -> None:
    figures = page.figures
    assert np.allclose(_decoded(figures["data-0"]["data"][0]["y"]), case.test.records[0].u[:, 0], atol=1e-5)
    traces = {trace["name"]: _decoded(trace["y"]) for trace in figures["fit-0"]["data"] if trace.get("yaxis") != "y2"}
    simulated = case.fit.simulate(case.test.records[0].u, case.test.records[0].y[:50])
    assert np.allclose(traces["measured"], case.test.records[0].y[:, 0], atol=1e-4)
    assert np.allclose(traces["model"], simulated[:, 0], atol=1e-4)
    assert set(traces) == {"measured", "model", "linear model"}


def test_it_says_how_to_reproduce_it(case, page: Page) -> None:
    text = page.text
    assert case.fit.lfr.digest() in text
    assert "a" * 64 in text and "b" * 64 in text
    assert "2.13.0" in text
    assert "eqnets.identify(data, guarantee=eqnets.Contracting(rate=1.0), nx=4, nv=12, steps=580, seed=0)" in text


def test_the_proved_rate_and_the_claim_are_on_the_page(case, page: Page) -> None:
    joined = re.sub(r"\s", "", page.text)
    assert "|Δxt|P" in joined  # with real subscripts
    assert re.sub(r"\s", "", "from all initial states and for every input") in joined
    places = [page.text.index(f" {name} ") for name in ("The model", "The run", "The deployed program")]
    assert places == sorted(places) and "No equation is solved" in page.text
    rate = float(re.search(r"Rate ᾱ = ([\d.]+) per step", page.text)[1])
    assert case.fit.certificate.rate <= rate < case.fit.certificate.rate + 1e-3


def test_without_test_data_it_says_so(case, tmp_path: Path) -> None:
    page = Page(report(case.fit, tmp_path / "r.html", case.train).read_text(encoding="utf-8"))
    assert "No test data" in page.text and "no evidence about the plant" in page.text
    assert "little about the plant" in page.text
    assert CREED in page.text


def test_without_any_data_the_rest_is_there(case, tmp_path: Path) -> None:
    page = Page(report(case.fit, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "No data were given" in page.text
    assert set(page.figures) == {"frequency-0", "static-0", "worst-0", "training-0",
                    "starts-0"}  # fmt: skip


def test_without_a_certificate_it_says_so(build, tmp_path: Path) -> None:
    bare = build(certified=False)
    page = Page(report(bare.fit, tmp_path / "r.html", test=bare.test).read_text(encoding="utf-8"))
    assert "No certificate" in page.text and "No proved rate" in page.text
    assert not any(key.startswith("starts") for key in page.figures)


def test_names_from_the_data_are_text(build, tmp_path: Path) -> None:
    case = build(u_names=[EVIL], y_names=["</script><b>y & z</b>"], u_units=["<i>N"], y_units=['" onload="x'])
    records = tuple(Record(r.u, r.y, EVIL) for r in case.test.records)
    path = report(case.fit, tmp_path / "r.html", case.train, replace(case.test, records=records))
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.scripts) == 3
    assert not [tag for tag, attrs in page.tags if tag in ("b", "i") or "onload" in attrs]
    assert EVIL in page.text
    titles = [a["text"] for f in page.figures.values() for a in f["layout"].get("annotations", [])]
    named = [t for t in titles if "alert" in t]
    assert named and all("<script" not in t for t in named)
    assert any(unescape(t.replace("<b>", "").replace("</b>", "")).startswith(EVIL) for t in named)


def test_long_records_stay_small_and_say_so(build, tmp_path: Path) -> None:
    case = build(length=100_000, records=2)
    path = report(case.fit, tmp_path / "r.html", case.train, case.test)
    assert path.stat().st_size < 4e6
    page = Page(path.read_text(encoding="utf-8"))
    assert "so no peak is lost" in page.text and "100000" in page.text
    for figure in page.figures.values():
        for trace in figure["data"]:
            assert len(_decoded(trace["y"])) <= MOST_POINTS


def test_nothing_is_overwritten_unasked(case, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists and is not overwritten"):
        report(case.fit, path)
    assert path.read_text() == "mine"
    report(case.fit, path, force=True)
    assert "mine" != path.read_text(encoding="utf-8")
    with pytest.raises(InputError, match="no such folder"):
        report(case.fit, tmp_path / "nowhere" / "r.html")
    with pytest.raises(InputError, match="it is a folder"):
        report(case.fit, tmp_path, force=True)


def test_data_of_another_system_are_refused(case, mimo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inputs"):
        report(case.fit, tmp_path / "r.html", test=mimo.test)
    with pytest.raises(InputError, match="resample"):
        report(case.fit, tmp_path / "r.html", test=replace(case.test, dt=0.03))
    assert not list(tmp_path.iterdir())


def test_a_gain_is_stated_for_every_pair_with_units(mimo) -> None:
    claim = Lipschitz(2.0, u_scale=(1.0, 4.0), y_scale=(1.0, 2.0, 3.0))
    certificate = replace(mimo.fit.certificate, claim=claim)
    facts = contents.certificate_facts(replace(mimo.fit, certificate=certificate), 0.9)
    cells = [[cell.replace("\u00a0", " ") for cell in row["cells"]] for row in facts["gains"]["rows"]]
    assert [c.split(" ", 1)[1] for c in cells[0]] == ["m/N", "(m/s)/N", "rad/N"]
    numbers = np.array([[float(c.split()[0]) for c in row] for row in cells])
    exact = 2.0 * np.array([1.0, 2.0, 3.0]) / np.array([[1.0], [4.0]])
    assert (numbers >= exact).all() and np.allclose(numbers, exact, rtol=2e-3)
    card = contents.certificate_card(replace(mimo.fit, certificate=certificate))
    assert card["headline"].startswith("Gain γ ≤ 2.0")
    assert len(card["sentence"]) < 340 and "under Certificate below" in card["note"]


def test_scores_of_several_outputs_stand_beside_the_linear_ones(mimo) -> None:
    simulated = [mimo.fit.simulate(r.u, r.y[:50]) for r in mimo.train.records]
    linear = [mimo.fit.linear.simulate(r.u, r.y[:50]) for r in mimo.train.records]
    own, rival = score(mimo.train, simulated), score(mimo.train, linear)
    table = contents.score_table(channels_of(mimo.fit), "training", own, rival)
    assert [row["name"] for row in table["rows"]] == ["acceleration1 [m]", "acceleration2 [m/s]", "acceleration3 [rad]"]
    for i, row in enumerate(table["rows"]):
        best = [cell["best"] for cell in row["cells"]]
        assert best[:2] == [own.rmse[i] < rival.rmse[i], own.rmse[i] > rival.rmse[i]]
        assert best[4:6] == [own.fit_percent[i] > rival.fit_percent[i], own.fit_percent[i] < rival.fit_percent[i]]
    assert len(table["records"]) == 2 * 3
    assert contents.error_card(channels_of(mimo.fit), own, rival, 2)["rows"][1]["model"].endswith("m/s")


def test_records_too_short_for_residuals_say_so(case, tmp_path: Path) -> None:
    short = replace(case.test, records=tuple(r.cut(0, 80) for r in case.test.records))
    page = Page(report(case.fit, tmp_path / "r.html", test=short).read_text(encoding="utf-8"))
    assert "No residual analysis" in page.text


def _decoded(values) -> np.ndarray:
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=np.dtype(values["dtype"]))
    return np.asarray(values, dtype=float)


def test_it_warns_where_the_test_leaves_the_training_range_and_shows_the_order_curve(case, tmp_path: Path) -> None:
    curve = [{"nx": 4, "val_rmse": 0.5}, {"nx": 6, "val_rmse": 0.25}]
    neurons = [{"nv": 5, "val_rmse": 0.4}, {"nv": 12, "val_rmse": 0.125}]
    info = case.fit.data_info | {"u_ranges": [[-0.5, 0.5]], "y_ranges": [[-1e9, 1e9]]}
    fit = replace(
        case.fit, data_info=info, settings=case.fit.settings | {"order_curve": curve, "neuron_curve": neurons}
    )
    page = Page(report(fit, tmp_path / "r.html", test=case.test).read_text(encoding="utf-8"))
    text = page.text
    assert "leaves the range of the training data, -0.5 to 0.5" in text and "the model extrapolates there" in text
    assert "6 states 0.25" in text and "12 neurons 0.125" in text
    for key, sizes in (("sizes-0", [4, 6]), ("sizes-1", [5, 12])):
        trials = page.figures[key]["data"][0]
        np.testing.assert_array_equal(_decoded(trials["x"]), sizes)
        assert sizes[int(np.argmax(trials["marker"]["size"]))] in (case.fit.settings["nx"], case.fit.settings["nv"])
