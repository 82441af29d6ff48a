"""The long examples as pages: their prose, their code, and the stored output of a full run.

`examples/*.py` are scripts in cells (`# %% [markdown]`, `# %%`) whose full runs take up to half an hour and have left
`examples/results/NAME.json` and `NAME.png`. The test suite runs every one of them, shrunk. A last page lists the time
that every example takes: the stored one of a long run, the gallery's own of a page of the lecture.
"""

from __future__ import annotations

import ast
import json
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)


def is_example(path: Path) -> bool:
    """Whether a script is an example: it has cells, where a helper of the examples has none.

    Args:
        path: the script.

    Returns:
        Whether it is.
    """
    return CELL.search(path.read_text(encoding="utf-8")) is not None


def page(path: Path) -> str:
    """An example as Markdown.

    Args:
        path: the script.

    Returns:
        The page.
    """
    source = path.read_text(encoding="utf-8")
    parts: list[str] = []
    docstring = ast.get_docstring(ast.parse(source))
    head, *cells = re.split(r"^# %%", source, flags=re.MULTILINE)
    if docstring:
        parts.append(_titled(path, docstring))
        head = head.split('"""', 2)[2]
    if head.strip():
        parts.append(_code(head))
    for cell in cells:
        kind, _, body = cell.partition("\n")
        if "[markdown]" in kind:
            parts.append(
                _fenced("\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()))
            )
        elif body.strip():
            parts.append(_code(body))
    head = next((i for i, part in enumerate(parts) if part.startswith("```python")), len(parts))
    results = _results(path.stem)  # a reader wants the figure before the program
    return "\n\n".join([*parts[:head], *results, *(["## The script"] if results else []), *parts[head:]]) + "\n"


def _titled(path: Path, docstring: str) -> str:
    """A docstring as the head of a page; one without a heading gets the script's name."""
    return docstring if docstring.startswith("# ") else f"# {path.stem.replace('_', ' ')}\n\n{docstring}"


def _fenced(text: str) -> str:
    """Prose whose indented blocks are code, as Markdown means it outside of lists; after a list it would be an item."""
    return re.sub(
        r"(?<=\n\n)((?: {4}\S.*(?:\n|$))+)", lambda m: f"```console\n{textwrap.dedent(m[1]).strip()}\n```\n", text
    )


def _code(text: str) -> str:
    return f"```python\n{text.strip()}\n```"


def _results(name: str) -> list[str]:
    folder = EXAMPLES / "results"
    figure, data = folder / f"{name}.png", folder / f"{name}.json"
    if not data.exists():
        return []
    stored = json.loads(data.read_text(encoding="utf-8"))
    where = stored.get("environment", {})
    words = ", ".join(f"{key} {value}" for key, value in where.items() if isinstance(value, str | int))
    shown = ["## Stored result of a full run", f"Environment: {words}. All numbers: `examples/results/{name}.json`."]
    return [*shown, *([f"![the stored figure](../../examples/results/{figure.name})"] if figure.exists() else [])]


def long_run(name: str) -> str:
    """The processor time of a stored run, in words.

    Args:
        name: of the example.

    Returns:
        The time; of a run that only timed its parts, what those add up to, in processor time if it is there.
    """
    data = EXAMPLES / "results" / f"{name}.json"
    if not data.exists():
        return "no stored run"
    stored = json.loads(data.read_text(encoding="utf-8"))
    whole = stored.get("environment", {}).get("cpu_seconds")
    if whole is not None:
        return _duration(whole)
    for key, kind in (("cpu_seconds", "processor time"), ("seconds", "wall time")):
        parts = sum(_timed(stored, key))
        if parts:
            return f"{_duration(parts)} of {kind} in the parts that it timed"
    return "not recorded"


def _timed(stored: Any, wanted: str) -> Iterator[float]:
    """Every number of that name in a result."""
    if isinstance(stored, dict):
        yield from (value for key, value in stored.items() if key == wanted and isinstance(value, int | float))
    nested = stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list) else ()
    for value in nested:
        yield from _timed(value, wanted)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def write_times(app: Sphinx) -> None:
    """Write `docs/runs/times.md`, once the gallery has run."""
    docs = Path(app.srcdir)
    scripts = sorted(path for path in EXAMPLES.glob("*.py") if is_example(path))
    rows = [f"| {{doc}}`{path.stem}` | {long_run(path.stem)} |" for path in scripts]
    lecture = sorted((docs / "lecture").glob("lecture_*.cost.json"))
    costs = {path.name.split(".")[0]: json.loads(path.read_text(encoding="utf-8"))["time"] for path in lecture}
    pages = {name: cost for name, cost in costs.items() if (EXAMPLES / "lecture" / f"{name}.py").exists()}
    text = [
        "# How long each example takes", "",
        "Full runs, as stored: processor time on the machine that the page of the run names.", "",
        "| longer run | full run |", "|---|---|", *rows, "",
        "Pages of the lecture, when this documentation was built"
        + (" (shrunk, `EQNETS_SMOKE=1`)" if os.environ.get("EQNETS_SMOKE") == "1" else "") + ":", "",
        "| page | time |", "|---|---|",
        *(f"| {{doc}}`/lecture/{name}` | {_duration(cost)} |" for name, cost in pages.items()),
        f"| all | {_duration(sum(pages.values()))} |", "",
    ]  # fmt: skip
    _put(docs / "runs" / "times.md", "\n".join(text))


def _put(target: Path, text: str) -> None:
    """Write a file if it changes; an untouched one is not read anew by Sphinx."""
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def write(app: Sphinx) -> None:
    """Write the pages and their index into `docs/runs`, which is not under version control."""
    folder = Path(app.srcdir) / "runs"
    folder.mkdir(exist_ok=True)
    scripts = sorted(path for path in EXAMPLES.glob("*.py") if is_example(path))
    texts = {path.stem: page(path) for path in scripts}
    intro = (
        "# Longer runs, with stored results\n\nScripts in `examples/`. Their full runs take "
        "{doc}`seconds to half an hour <times>`; the figures are those of stored runs, and the test suite runs every "
        "script, shrunk.\n\n"
        "```{toctree}\n:maxdepth: 1\n\n"
    )
    texts["index"] = intro + "\n".join([*(path.stem for path in scripts), "times"]) + "\n```\n"
    for name, text in texts.items():
        _put(folder / f"{name}.md", text)
    for stale in {path for path in folder.glob("*.md") if path.stem not in {*texts, "times"}}:
        stale.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it."""
    app.connect("builder-inited", write, priority=100)
    app.connect("builder-inited", write_times, priority=900)  # after the gallery, which has the default, 500
    return {"parallel_read_safe": True, "version": "1"}
