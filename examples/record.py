"""What the examples share when they measure: saved bytes, the environment, and where results go."""

from __future__ import annotations

import json
import os
import platform
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SMOKE = os.environ.get("EQNETS_SMOKE") == "1"
"""Shrink everything, to see that the example runs; its numbers then mean nothing and are not stored."""

RESULTS = Path(__file__).parent / "results"


class _Saved:
    """One tensor that a graph holds, for as long as the graph lives."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def saved_bytes(forward: Callable[[], Tensor], parameters: list[Tensor]) -> int:
    """The memory that autograd keeps between a forward pass and its backward pass.

    Args:
        forward: makes the graph; its result is kept alive while the bytes are counted.
        parameters: not counted, they are there anyway.

    Returns:
        Bytes of the distinct storages that the graph still holds when the forward pass is over.
    """
    held: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Saved:
        saved = _Saved(tensor.detach())  # an output with its graph would keep that graph alive
        held.add(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        output = forward()
    storages = {saved.tensor.untyped_storage().data_ptr(): saved.tensor.untyped_storage().nbytes() for saved in held}
    for parameter in parameters:
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    del output
    return sum(storages.values())


def environment() -> dict[str, Any]:
    """What the numbers depend on, and the processor time, children's included, that the script has taken so far."""
    return {
        "python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(),
        "threads": torch.get_num_threads(), "cpu_seconds": round(sum(os.times()[:4])),
    }  # fmt: skip


def store(name: str, result: dict[str, Any], folder: Path | None, **known: Any) -> Path | None:
    """Write a result as JSON, with its environment.

    Args:
        name: of the example.
        result: plain numbers, strings, lists and dicts.
        folder: where to; None: examples/results for a full run, nowhere for a smoke run.
        known: parts of the environment that are not this process's own: the `cpu_seconds` of a run that was resumed.

    Returns:
        The file, or None if nothing was written.
    """
    if folder is None and SMOKE:
        return None
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    content = {"environment": environment() | known, "smoke": SMOKE, **result}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
