"""The long examples become pages: prose as prose, code as code, the stored figure at the end."""

from pathlib import Path

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
        assert ("## Stored result" in text) == (EXAMPLES / "results" / f"{path.stem}.json").exists(), path
