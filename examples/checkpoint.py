"""A training run's state in one safetensors file, so that an interrupted script goes on where its last epoch ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from eqnets.identification.files.checkpoint import Checkpoint


def keep(path: Path, network: nn.Module, optimiser: Optimizer, schedule: LRScheduler, told: Any) -> None:
    """Write the state; the file before stays until the new one is whole.

    Args:
        path: the file.
        network: its state_dict is kept.
        optimiser: its state and options are kept.
        schedule: of the learning rate.
        told: anything that fits in JSON.
    """
    state = optimiser.state_dict()
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for i, values in state["state"].items():
        tensors |= {f"optimiser.{i}.{name}": value for name, value in values.items()}
    meta = {"groups": state["param_groups"], "schedule": schedule.state_dict(), "told": told}
    _at(path).save({name: value.contiguous() for name, value in tensors.items()}, meta)


def take_up(
    path: Path, network: nn.Module, optimiser: Optimizer | None = None, schedule: LRScheduler | None = None
) -> Any:
    """Put a kept state into a network and, to go on with the training, its optimiser and its schedule.

    Args:
        path: the file.
        network: as it was built before.
        optimiser: likewise, or None.
        schedule: likewise, or None.

    Returns:
        What was told.
    """
    kept = _at(path).load()
    if kept is None:
        raise FileNotFoundError(path)
    tensors, meta = kept
    parts: dict[str, Any] = {"network": {}, "optimiser": {}}
    for key, value in tensors.items():
        kind, name = key.split(".", 1)
        parts[kind][name] = value
    state: dict[int, dict[str, Any]] = {}
    for key, value in parts["optimiser"].items():
        i, name = key.split(".", 1)
        state.setdefault(int(i), {})[name] = value
    network.load_state_dict(parts["network"])
    if optimiser is not None:
        optimiser.load_state_dict({"state": state, "param_groups": meta["groups"]})
    if schedule is not None:
        schedule.load_state_dict(meta["schedule"])
    return meta["told"]


def _at(path: Path) -> Checkpoint:
    """The library's checkpoint, in this file."""
    found = Checkpoint(path.parent, {}, resume=True)
    found.path = path
    return found
