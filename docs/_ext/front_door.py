"""The API reference follows the hand-written list of `eqnets/__init__.py`: its groups, its names, its order."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import eqnets

FRONT_DOOR = Path(eqnets.__file__)
SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):$")


def groups(source: str) -> dict[str, list[str]]:
    """The names of `__all__` under the comments that head them.

    Args:
        source: of the file that holds the list.

    Returns:
        Names by comment, in the order of the file.
    """
    node = next(
        node for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    )  # fmt: skip
    found: dict[str, list[str]] = {}
    heading = "names"
    for line in source.splitlines()[node.lineno : node.end_lineno]:
        text = line.strip()
        if text.startswith("#"):
            heading = text.lstrip("# ")
        elif text.startswith('"'):
            found.setdefault(heading, []).append(text.strip('",'))
    return found


def write(app: Sphinx) -> None:
    """Write one page a group into `docs/api`, which is not under version control."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    listed = groups(FRONT_DOOR.read_text(encoding="utf-8"))
    for heading, names in listed.items():
        text = f"{heading.capitalize()}\n{'=' * len(heading)}\n\n" + "\n".join(map(_entry, names))
        page = folder / f"{_slug(heading)}.rst"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
    for stale in set(folder.glob("*.rst")) - {folder / f"{_slug(heading)}.rst" for heading in listed}:
        stale.unlink()


def _slug(heading: str) -> str:
    return heading.replace(" ", "_")


def _entry(name: str) -> str:
    value = getattr(eqnets, name)
    if inspect.ismodule(value):
        kind, options = "automodule", "   :members:\n"
        name = value.__name__.removeprefix("eqnets.")
    elif inspect.isclass(value):
        kind, options = "autoclass", "   :members:\n"
    else:
        kind, options = "autofunction", ""
    return f".. {kind}:: eqnets.{name}\n{options}"


def plain(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with Google's sections and back-ticks: what else reStructuredText reads is escaped.

    Args:
        app: not used.
        what: not used.
        name: not used.
        obj: not used.
        options: not used.
        lines: of the docstring; changed in place.
    """
    del app, what, name, obj, options
    result: list[str] = []
    in_section = in_block = False
    for line in lines:
        in_section = in_section or bool(SECTION.match(line))
        indented = line.startswith("    ") and not in_section
        if indented and not in_block and (not result or not result[-1].strip()):
            result += ["::", ""]
            in_block = True
        elif line.strip() and not indented:
            in_block = False
        result.append(line if in_block or SECTION.match(line) else escaped(line))
    lines[:] = result


def escaped(line: str) -> str:
    """A line of text in which only back-ticks mean anything.

    Args:
        line: of a docstring.

    Returns:
        The same line for reStructuredText.
    """
    parts = line.split("`")
    if len(parts) % 2 == 0:  # a back-tick whose partner stands on another line
        return re.sub(r"([*|])", r"\\\1", line)
    parts[::2] = [re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    return "".join(part if i % 2 == 0 else f"``{part}``" for i, part in enumerate(parts)).replace("````", "``")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both; before napoleon reads the docstrings."""
    app.connect("builder-inited", write, priority=100)
    app.connect("autodoc-process-docstring", plain, priority=100)
    return {"parallel_read_safe": True, "version": "1"}
