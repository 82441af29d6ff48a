"""Chosen inputs and chosen outputs of a system, so that a claim can speak of them alone."""

from __future__ import annotations

from collections.abc import Sequence

from eqnets.errors import InputError
from eqnets.system.lfr import LFR


def channels(lfr: LFR, inputs: Sequence[str | int] | None = None, outputs: Sequence[str | int] | None = None) -> LFR:
    """The system from some of its inputs to some of its outputs: certify a `Lipschitz` gain of it, and it is theirs.

    The other inputs are 0 here. What (★) proves of two runs is true for any values of them that both runs share: they
    enter as biases do, and the inequality does not see a bias. A certificate has the digest of the smaller system.

    Args:
        lfr: the system.
        inputs: names or numbers from 0; None: all.
        outputs: likewise.

    Returns:
        The system, with the names and units of the chosen channels, in the given order.

    Raises:
        InputError: a channel is not there, or stands twice.
    """  # noqa: DOC502
    u = _chosen("input", inputs, lfr.u_names, lfr.nu)
    y = _chosen("output", outputs, lfr.y_names, lfr.ny)
    labels = {
        name: None if kept is None else tuple(kept[i] for i in at)
        for name, kept, at in (
            ("u_names", lfr.u_names, u), ("u_units", lfr.u_units, u),
            ("y_names", lfr.y_names, y), ("y_units", lfr.y_units, y),
        )
    }  # fmt: skip
    return lfr.replace(
        B2=lfr.B2[:, u], D12=lfr.D12[:, u], C2=lfr.C2[y], D21=lfr.D21[y], D22=lfr.D22[y][:, u], by=lfr.by[y], **labels
    )


def _chosen(what: str, given: Sequence[str | int] | None, names: tuple[str, ...] | None, count: int) -> list[int]:
    if given is None:
        return list(range(count))
    found = []
    for channel in [given] if isinstance(given, str) else given:
        at = names.index(channel) if isinstance(channel, str) and names and channel in names else channel
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < count or at in found:
            there = ", ".join(names) if names else f"0 … {count - 1}"
            raise InputError(f"{channel!r} is no {what} of this system, or stands twice; it has {there}.")
        found.append(at)
    return found
