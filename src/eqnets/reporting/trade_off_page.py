"""The page of a trade-off: its curve, its table, and what it takes to make them again."""

from __future__ import annotations

import os
from pathlib import Path

from eqnets.identification.data import Data
from eqnets.identification.trade_off import TradeOff
from eqnets.reporting import contents, gather, page
from eqnets.reporting.comparison import trade
from eqnets.reporting.sections import Album
from eqnets.reporting.words import clean, count, number


def trade_off_report(
    result: TradeOff, path: str | os.PathLike, *, test: Data | None = None, command: str = "", force: bool = False
) -> Path:
    """Write one HTML file that shows a trade-off. It needs no network, then or later.

    Args:
        result: what `eqnets.trade_off` gave.
        path: where the file goes; its folder must exist.
        test: the records it was scored on, to be listed.
        command: how it was made, to be shown.
        force: replace an existing file.

    Returns:
        The path of the file.

    Raises:
        InputError: the file exists and `force` is not given, or its folder does not exist.
    """  # noqa: DOC502
    path = page.new_file(path, force)
    fit = next(iter(result.fits.values()))
    of = gather.channels_of(fit)
    album = Album()
    body = [trade(album, result)]
    facts = contents.reproduce(fit, test)
    scales = {"scale of the inputs": result.u_scale, "scale of the outputs": result.y_scale}
    facts["command"] = clean(command) if command else f"eqnets.trade_off(data, {sorted(result.fits)})"
    facts["settings"] = [(name, ", ".join(number(value) for value in scale)) for name, scale in scales.items()]
    facts["settings"] += [(key, str(fit.settings[key])) for key in ("nx", "nv", "seed") if key in fit.settings]
    facts["digests"] = [(f"Network, γ = {gamma:g}", one.system.digest()) for gamma, one in result.fits.items()]
    text = page.render(
        "trade_off.html.jinja", album, title=f"Accuracy against robustness: {contents.title(of)}",
        lead=f"{count(len(result.fits), 'gain bound')}, from {max(result.fits):g} down to {min(result.fits):g}: "
        "every network keeps its bound with a certificate, and stands beside linear models under the same promise.",
        body=body, reproduce=facts,
    )  # fmt: skip
    page.write(path, text)
    return path
