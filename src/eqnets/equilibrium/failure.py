"""What happens when a solve fails: warn, raise, or ignore, with one sentence for each kind of failure."""

from __future__ import annotations

import warnings

import torch

from eqnets.equilibrium.solution import Statistics, Status
from eqnets.errors import InputError, NotConverged, NotConvergedWarning

POLICIES = ("warn", "raise", "ignore")


def check_policy(on_failure: str) -> None:
    """Refuse an unknown failure policy.

    Args:
        on_failure: what the caller asked for.

    Raises:
        InputError: it is none of "warn", "raise", "ignore".
    """
    if on_failure not in POLICIES:
        raise InputError(f"on_failure must be one of {', '.join(POLICIES)}; got {on_failure!r}.")


def report(statistics: Statistics, on_failure: str, what: str = "the equilibrium z = f(z)") -> None:
    """Apply the failure policy to a finished solve.

    Args:
        statistics: of the solve.
        on_failure: "warn", "raise" or "ignore".
        what: names the solve in the message.

    Raises:
        NotConverged: a sample failed and the policy is "raise"; carries the status per sample.
    """
    if on_failure == "ignore":
        return
    failed = torch.nonzero(statistics.status.reshape(-1)).flatten().tolist()
    if not failed:
        return
    message = describe(statistics, failed, what)
    if on_failure == "raise":
        raise NotConverged(message, statistics.status)
    warning = NotConvergedWarning(message)
    warning.status = statistics.status  # type: ignore[attr-defined]
    warnings.warn(warning, stacklevel=4)


def describe(statistics: Statistics, failed: list[int], what: str) -> str:
    """One message for all failed samples: which, how far they got, and what to try.

    Args:
        statistics: of the solve.
        failed: the samples that failed, at least one.
        what: names the solve.

    Returns:
        The message.
    """
    status, residual = statistics.status.reshape(-1), statistics.residual.reshape(-1)
    shown = ", ".join(str(i) for i in failed[:8]) + (", …" if len(failed) > 8 else "")
    worst = float(residual[failed].max())
    kinds = [Status(code) for code in sorted({int(c) for c in status[failed]})]
    return (
        f"{what} was not found for {len(failed)} of {status.numel()} samples ({shown}); the largest residual is "
        f"{worst:.3g} times the tolerance. " + " ".join(f"{kind.name}: {kind.sentence}" for kind in kinds)
    )
