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
