"""A page: a template, its figures and everything they need in one HTML file that loads nothing and sends nothing.

plotly.js, 4.8 MB, lies in it compressed (2 MB as text), and the browser unpacks it; only a script with one of the
hashes in the page's policy may run, the unpacked one too.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import os
import re
import tempfile
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from eqnets.errors import InputError
from eqnets.reporting.sections import Album


def render(template: str, album: Album, **values: Any) -> str:
    """The text of a page.

    Args:
        template: its name; it extends `base.html.jinja`.
        album: its figures.
        **values: what the template needs.

    Returns:
        The HTML.
    """
    script, (plotly, unpacked) = _asset("page.js"), _plotly()
    return _environment().get_template(template).render(
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), version=_version(), css=Markup(_asset("page.css")),
        figures_json=Markup(_json(album)), plotly_js=plotly, page_js=Markup(script),
        script_hashes=f"{unpacked} {_hash(script)}", **values,
    )  # fmt: skip


def new_file(path: str | os.PathLike, force: bool) -> Path:
    """The path of a page that can be written, before anything is computed for it.

    Args:
        path: where it goes.
        force: replace an existing file.

    Returns:
        The path.

    Raises:
        InputError: it exists and `force` is not given, or its folder does not exist.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written: " + ("it is a folder." if path.is_dir() else "no such folder."))
    if path.exists() and not force:
        raise InputError(f"'{path}' exists and is not overwritten; remove it, or ask for force (--force).")
    return path


def write(path: Path, text: str) -> None:
    """Write a page beside and rename: no reader ever sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _json(album: Album) -> str:
    """The figures as one JSON object that cannot end the script element it stands in."""
    text = "{" + ",".join(f'"{key}":{figure.to_json()}' for key, figure in album.figures.items()) + "}"
    for character in "<>\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@functools.cache
def _plotly() -> tuple[str, str]:
    """plotly.js as the base64 of its gzip, the same every time, and its hash; half a second's work, done once."""
    script = get_plotlyjs()
    return base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode(), _hash(script)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return resources.files("eqnets.reporting").joinpath(name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["maths"] = _maths
    return environment


def _maths(text: str) -> Markup:
    """|Δx_t|_P and rate^t of a sentence with real subscripts and exponents; everything else is escaped."""
    escaped = str(escape(text))
    escaped = re.sub(r"\|Δx(?:_(\w))?(\([\w]\))?\|_P", _norm, escaped)
    escaped = escaped.replace("|²_P", "|²<sub>P</sub>")
    escaped = re.sub(r"\bS_([uy])", r"S<sub>\1</sub>", escaped)
    return Markup(re.sub(r"(?<=\d)\^t\b", "<sup>t</sup>", escaped))


def _norm(match: re.Match[str]) -> str:
    index = f"<sub>{match[1]}</sub>" if match[1] else ""
    return f"|Δx{index}{match[2] or ''}|<sub>P</sub>"


def _version() -> str:
    try:
        return metadata.version("eqnets")
    except metadata.PackageNotFoundError:
        return "(not installed)"
