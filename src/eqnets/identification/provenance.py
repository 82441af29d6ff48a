"""What a result depends on: the data's files and split, and the versions of the libraries."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import numpy as np

from eqnets.identification.data import Data


def describe_data(data: Data, ends: list[int], val: float) -> dict[str, Any]:
    """Names, units, sample time, records, the channels' ranges and sources, as JSON can hold them.

    Args:
        data: the training records.
        ends: where the training part of every record stops.
        val: the share of every record that is its validation tail.

    Returns:
        The description.
    """
    records = zip(data.records, ends, strict=True)
    signals = (np.concatenate([getattr(r, letter) for r in data.records]) for letter in ("u", "y"))
    u, y = ([[float(low), float(high)] for low, high in zip(x.min(0), x.max(0), strict=True)] for x in signals)
    return {
        "u_names": list(data.u_names), "y_names": list(data.y_names),
        "u_units": list(data.u_units), "y_units": list(data.y_units), "dt": data.dt, "val": val,
        "records": [{"name": r.name, "samples": len(r), "train": end} for r, end in records],
        "u_ranges": u, "y_ranges": y,
        "sources": [{"file": s.file, "sha256": s.sha256} for s in data.sources],
    }  # fmt: skip


def environment() -> dict[str, str]:
    """The versions that a result depends on."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("eqnets", "torch", "numpy", "scipy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions
