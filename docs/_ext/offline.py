"""Pages that work offline and ask nobody else: matplotlib's animations would fetch their buttons' icons from elsewhere.

The style sheet draws the buttons with ordinary characters instead.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

FOREIGN = re.compile(r"<(link|script)\b[^>]*\b(?:href|src)=\"https?://[^>]*>(?:\s*</script>)?")


def without_foreign(html: str) -> str:
    """A page's body without style sheets and scripts of other hosts.

    Args:
        html: the body.

    Returns:
        The body.
    """
    return FOREIGN.sub("", html)


def clean(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Clean a page as Sphinx writes it."""
    del app, page, template, doctree
    if "body" in context:
        context["body"] = without_foreign(context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it."""
    app.connect("html-page-context", clean)
    return {"parallel_read_safe": True, "version": "1"}
