"""Formulas as MathML: no script, no font and no network are needed to read them."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.writers.html5 import HTML5Translator


def mathml(latex: str, display: str) -> str:
    """A formula as MathML.

    Args:
        latex: the formula.
        display: "inline" or "block".

    Returns:
        The element.

    Raises:
        SphinxError: a command that the converter does not know and would show as text.
    """
    element = convert(latex, display=display)
    if "\\" in element or ">&amp;<" in element:  # an unknown command, an unknown environment
        raise SphinxError(f"the formula '{latex}' holds a command that cannot be shown as MathML")
    return element


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _display(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math-block">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "version": "1"}
