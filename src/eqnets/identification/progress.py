"""The one callback of long work: events that a progress bar, a log or a tracker may show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Progress = Callable[[dict[str, Any]], None]
"""Called with an event: phase, step, steps, seconds, eta_seconds, train_loss, val_rmse."""


def tell(progress: Progress | None, **event: Any) -> None:
    """Report an event; what it does not say is None (0 for step and seconds)."""
    if progress is not None:
        nothing = dict.fromkeys(("phase", "steps", "eta_seconds", "train_loss", "val_rmse"))
        progress({**nothing, "step": 0, "seconds": 0.0, **event})


def part_of(
    progress: Progress | None, own: float, later: float, phase: str | None = None, **more: Any
) -> Progress | None:
    """Events of one training among several: its time to come counts those that follow, at the pace it has itself.

    Args:
        progress: called with the events, or None.
        own: what this training costs, in any unit.
        later: what all that follow cost, in the same unit.
        phase: what it is called, in place of "train" and "validate".
        **more: entries that every event gets.

    Returns:
        What to hand to the training.
    """
    if progress is None:
        return None

    def relay(event: dict[str, Any]) -> None:
        eta = event["eta_seconds"]
        if eta is not None:
            eta = max(0.0, eta + (event["seconds"] + eta) * later / own)
        progress({**event, "eta_seconds": eta, **more, **({} if phase is None else {"phase": phase})})

    return relay
