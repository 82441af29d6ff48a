"""A training run's state in one safetensors file, so that an interrupted script goes on where its last epoch ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


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
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    for i, values in state["state"].items():
        tensors |= {f"optimiser.{i}.{name}": value.contiguous() for name, value in values.items()}
    meta = {"groups": state["param_groups"], "schedule": schedule.state_dict(), "told": told}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part, {"training": json.dumps(meta)})
    part.replace(path)


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
    parts: dict[str, Any] = {"network": {}, "optimiser": {}}
    device = str(next(network.parameters()).device)
    with safe_open(path, "pt", device=device) as file:
        meta = json.loads(file.metadata()["training"])
        for key in file.keys():  # noqa: SIM118
            kind, name = key.split(".", 1)
            parts[kind][name] = file.get_tensor(key)
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
