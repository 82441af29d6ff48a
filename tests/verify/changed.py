"""A certificate's file with one thing in it changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def change(path: Path, *keys: Any, to: Any) -> None:
    """Write the file again, with what stands under `keys` replaced."""
    document = json.loads(path.read_text(encoding="utf-8"))
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    path.write_text(json.dumps(document), encoding="utf-8")
