"""The long examples as pages: their prose, their code, and the stored output of a full run.

`examples/*.py` are scripts in cells (`# %% [markdown]`, `# %%`) whose full runs take minutes to hours and have left
`examples/results/NAME.json` and `NAME.png`. The test suite runs every one of them, shrunk.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
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
    return "\n\n".join([*parts, *_results(path.stem)]) + "\n"


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


def write(app: Sphinx) -> None:
    """Write the pages and their index into `docs/runs`, which is not under version control."""
    folder = Path(app.srcdir) / "runs"
    folder.mkdir(exist_ok=True)
    scripts = sorted(path for path in EXAMPLES.glob("*.py") if is_example(path))
    texts = {path.stem: page(path) for path in scripts}
    intro = (
        "# Longer runs, with stored results\n\nScripts in `examples/`. Their full runs take minutes to hours; the "
        "figures are those of stored runs, and the test suite runs every script, shrunk.\n\n"
        "```{toctree}\n:maxdepth: 1\n\n"
    )
    texts["index"] = intro + "\n".join(path.stem for path in scripts) + "\n```\n"
    for name, text in texts.items():
        target = folder / f"{name}.md"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
    for stale in {path for path in folder.glob("*.md") if path.stem not in texts}:
        stale.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it."""
    app.connect("builder-inited", write, priority=100)
    return {"parallel_read_safe": True, "version": "1"}
