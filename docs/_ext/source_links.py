"""The role `src`: a link from a sentence or a formula to the line that implements it; a dangling one fails the build.

    {src}`system/lfr.py::LFR`                          the line where the symbol begins
    {src}`models/monotone.py::MonotoneLinear.weight::A.mT @ A`   the first line of the symbol that holds this text

Paths count from `src/eqnets`, or from the root of the repository. Every file that is linked is shown as a page of the
documentation, so that links work offline and show the code that was documented.
"""

from __future__ import annotations

import ast
import html
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import SphinxRole

ROOT = Path(__file__).resolve().parents[2]


class DanglingLink(SphinxError):
    """A link to a file, a symbol or a line that does not exist."""

    category = "Dangling source link"


def resolve(target: str) -> tuple[str, int]:
    """Where a target stands.

    Args:
        target: `file::symbol` or `file::symbol::text`; a symbol may be dotted, `Class.method`.

    Returns:
        The file relative to the root of the repository, and the line, from 1.

    Raises:
        DanglingLink: there is no such file, symbol or text in it.
    """
    file, _, rest = target.partition("::")
    symbol, _, text = rest.partition("::")
    path = next((base / file for base in (ROOT / "src" / "eqnets", ROOT) if (base / file).is_file()), None)
    if path is None or not symbol:
        raise DanglingLink(f"'{target}': there is no file '{file}'" if symbol else f"'{target}' names no symbol")
    if path.suffix != ".py":
        raise DanglingLink(f"'{target}': only symbols of Python files can be resolved")
    nodes_ = symbols(path)
    if symbol not in nodes_:
        raise DanglingLink(f"'{target}': '{file}' has no symbol '{symbol}'")
    first, last = nodes_[symbol]
    lines = path.read_text(encoding="utf-8").splitlines()
    found = next((n for n in range(first, last + 1) if text in lines[n - 1]), None)
    if found is None:
        raise DanglingLink(f"'{target}': no line of '{symbol}' holds '{text}'")
    return path.relative_to(ROOT).as_posix(), found


@cache
def symbols(path: Path) -> dict[str, tuple[int, int]]:
    """The first and last line of every class, function and assigned name of a file, by dotted name.

    Args:
        path: the file.

    Returns:
        (first, last), from 1; the file itself is `*`.
    """
    source = path.read_text(encoding="utf-8")
    return {"*": (1, source.count("\n") + 1), **dict(_walk(ast.parse(source), ""))}


def _walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for child in getattr(node, "body", []):
        span = (child.lineno, child.end_lineno)
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield prefix + child.name, span
            yield from _walk(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from ((prefix + target.id, span) for target in targets if isinstance(target, ast.Name))


class SourceRole(SphinxRole):
    """The role itself."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The link, as the name of the file and the symbol."""
        path, line = resolve(self.text)
        self.env.__dict__.setdefault("linked_sources", set()).add(path)
        symbol = self.text.split("::")[1]
        name = Path(path).name if symbol == "*" else f"{Path(path).name} · {symbol}"
        up = "../" * self.env.docname.count("/")
        reference = nodes.reference("", "", refuri=f"{up}_source/{path}.html#L-{line}", internal=True)
        reference += nodes.literal("", name, classes=["source-link"])
        return [reference], []


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page for every linked file, with an anchor for every line."""
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True, cssclass="highlight")
    for path in sorted(getattr(app.env, "linked_sources", ())):
        code = highlight((ROOT / path).read_text(encoding="utf-8"), get_lexer_for_filename(path), formatter)
        body = f"<h1><code>{html.escape(path)}</code></h1>{code}"
        yield f"_source/{path}", {"title": path, "body": body}, "page.html"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role and the pages."""
    app.add_role("src", SourceRole())
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": False, "version": "1"}
