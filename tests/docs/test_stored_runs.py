"""The long examples become pages: prose as prose, code as code, the stored figure at the end."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def runs(extension):
    return extension("stored_runs")


def test_cells_become_prose_and_code(runs, tmp_path: Path) -> None:
    script = tmp_path / "three_cells.py"
    script.write_text(
        "# %% [markdown]\n# # A title\n#\n# 1. one,\n#\n#     python x.py\n\n# %%\nx = 1\n", encoding="utf-8"
    )
    text = runs.page(script)
    assert text == "# A title\n\n1. one,\n\n```console\npython x.py\n```\n\n\n```python\nx = 1\n```\n"


def test_a_docstring_is_the_head_of_a_page(runs, tmp_path: Path) -> None:
    script = tmp_path / "some_name.py"
    script.write_text('"""What it does."""\n\nimport math\n\n# %%\nmath.pi\n', encoding="utf-8")
    text = runs.page(script)
    assert text.startswith("# some name\n\nWhat it does.\n\n```python\nimport math\n```")


def test_every_example_has_a_title_and_its_stored_figure(runs) -> None:
    scripts = [path for path in EXAMPLES.glob("*.py") if runs.is_example(path)]
    assert {"deq_lecture", "monotone_tables", "deq_mnist"} <= {path.stem for path in scripts}
    assert not runs.is_example(EXAMPLES / "record.py")
    for path in scripts:
        text = runs.page(path)
        assert text.startswith("# "), path
        stored = text.find("## Stored result")
        assert stored < text.find("```python"), path  # the figure before the program
        assert (stored >= 0) == (EXAMPLES / "results" / f"{path.stem}.json").exists(), path


def test_the_time_is_the_stored_one(runs, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(runs, "EXAMPLES", tmp_path)

    def stored(**content) -> str:
        (tmp_path / "results" / "one.json").write_text(json.dumps(content), encoding="utf-8")
        return runs.long_run("one")

    assert runs.long_run("one") == "no stored run"
    assert stored(environment={"cpu_seconds": 42}, part={"seconds": 7}) == "42 s"
    assert stored(environment={}, part={"seconds": 70}, rows=[{"seconds": 500.0}]).startswith("10 min of wall time")
    assert (
        stored(environment={}, part={"seconds": 70, "cpu_seconds": 9})
        == "9.0 s of processor time in the parts that it timed"
    )
    assert stored(environment={"cpu_seconds": None}) == "not recorded"


def test_every_example_is_in_the_table_of_times(runs, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "lecture").mkdir()
    for name, cost in (("lecture_01_forward", 1.25), ("lecture_00_gone", 5.0)):
        (tmp_path / "lecture" / f"{name}.cost.json").write_text(json.dumps({"time": cost}), encoding="utf-8")
    runs.write_times(SimpleNamespace(srcdir=tmp_path))
    text = (tmp_path / "runs" / "times.md").read_text(encoding="utf-8")
    assert "{doc}`/lecture/lecture_01_forward` | 1.2 s |" in text and "gone" not in text
    scripts = [path.stem for path in EXAMPLES.glob("*.py") if runs.is_example(path)]
    assert all(f"{{doc}}`{name}` |" in text for name in scripts)
