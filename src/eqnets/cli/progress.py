"""Progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from tqdm import tqdm


class Bar:
    """A progress bar on stderr, fed with the events of `identify`; plain lines where stderr is no terminal."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.phase = ""
        self.val: float | None = None
        self.plain = not sys.stderr.isatty()
        self.due = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event.

        Args:
            event: phase, step, steps, seconds, eta_seconds, train_loss, val_rmse; of a trade-off gamma and model too.
        """
        phase = "training" if event["phase"] in ("train", "validate") else event["phase"]
        if "gamma" in event:  # one model of a trade-off
            phase = f"gain {event['gamma']:g}, {event['model']}: {phase}"
        if phase != self.phase:
            self.close()
            self.phase, self.due = phase, time.monotonic()
            sys.stderr.write(f"{phase} …\n")
        if event.get("steps") is not None:  # a training: the search, one of its trials, or the refit
            self.val = event["val_rmse"] if math.isfinite(event.get("val_rmse") or math.nan) else None
            self._show(event)

    def _show(self, event: dict[str, Any]) -> None:
        words = []
        if event.get("eta_seconds") is not None:
            words.append(f"ETA {_clock(event['eta_seconds'])}")
        if event.get("train_loss") is not None:
            words.append(f"training error {math.sqrt(max(event['train_loss'], 0.0)):.4f}")
        if self.val is not None:
            words.append(f"validation {self.val:.4f}")
        if self.plain:
            if time.monotonic() >= self.due and event.get("eta_seconds") is not None:  # at once, when it can be told
                self.due = time.monotonic() + 10
                total = f" of {event['steps']}" if event.get("steps") else ""
                sys.stderr.write(f"  step {event['step']}{total}, {', '.join(words)}\n")
                sys.stderr.flush()
            return
        if self.bar is None:
            layout = "  {percentage:3.0f}%|{bar:24}| step {n_fmt}/{total_fmt}{postfix}"
            self.bar = tqdm(total=event.get("steps"), file=sys.stderr, bar_format=layout, leave=True)
        self.bar.total = event.get("steps") or self.bar.total
        self.bar.n = event["step"]
        self.bar.set_postfix_str(", ".join(words))

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.refresh()
            self.bar.close()
            self.bar = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}"
