"""The figures of the benchmarks are those of the stored files: on their page, and in the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmarks(extension):
    return extension("benchmark_page")


def test_every_stored_benchmark_stands_on_the_page(benchmarks):
    text = benchmarks.page()
    for path in (benchmarks.RESULTS / "identification").glob("*.json"):
        shown = benchmarks.measured(benchmarks.stored(f"identification/{path.stem}"))
        assert f"### {benchmarks.MEASURED[path.stem]}\n\n{shown}" in text


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("Wiener–Hammerstein, mV", "wh2009"),
        ("Silverbox multisine, mV", "silverbox"),
        ("Cascaded Tanks, V", "cascaded_tanks"),
    ],
)
def test_the_readme_quotes_the_stored_figures(benchmarks, row, name):
    found = re.search(rf"^\| {row} \| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    result = benchmarks.stored(f"identification/{name}")
    model = next(m for m in result["models"] if m["guarantee"].startswith("Contracting"))
    gru = next(published for published in result["published"] if published["model"] == "GRU")
    assert len(model["runs"]) == 5
    assert all(run["certificate"] for run in model["runs"])
    expected = [model["median"][0], model["linear_median"][0], gru["values"][0]]
    assert found[1].split(" | ") == [benchmarks.number(value) for value in expected]
