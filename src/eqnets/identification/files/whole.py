"""Write files whole or not at all: a new file replaces the old one only once it is complete."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

FORMAT = 1
"""The version of the formats written here; a reader refuses newer ones and reads older ones."""

MODEL, META, CERTIFICATE, HISTORY = "model.safetensors", "model.json", "certificate.json", "history.csv"
"""The files of a model folder."""


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str] | None = None) -> None:
    """Write a safetensors file; `header` becomes its metadata."""
    write_bytes(path, save(tensors, metadata=header))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of plain bytes."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(content)
    os.replace(part, path)
