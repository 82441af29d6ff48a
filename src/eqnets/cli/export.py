"""`eqnets export`: hand a stored model to C, MATLAB, python-control or ONNX, compared with it first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from eqnets import interop
from eqnets.cli import common
from eqnets.errors import InputError
from eqnets.identification.files.load import load
from eqnets.identification.fit import Fit
from eqnets.identification.guarantee import NOTHING

_TARGETS = ("onnx", "c", "mat", "control")
_WITH_DTYPE = ("onnx", "c")
_SAMPLES = 50


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The model folder.")],
    to: Annotated[str, typer.Option("--to", metavar="onnx|c|mat|control", help="What to write.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The folder to write; DIR/TARGET if left out.")
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the files and functions.")] = "model",
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="float64|float32", help="For onnx and c; float64 if left out.")
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="For c: write it though there is no compiler to check it with.")
    ] = False,
    force: common.Force = False,
) -> None:
    """Export a stored model with its claim, compared with the model. Says how equal the two are."""
    if to not in _TARGETS:
        raise InputError(f"there is no export to '{to}'; choose one of {', '.join(_TARGETS)}.")
    options: dict[str, Any] = {}
    if dtype is not None:
        if to not in _WITH_DTYPE:
            raise InputError(f"--dtype belongs to {' and '.join(_WITH_DTYPE)}; {to} is always float64: leave it out.")
        options["dtype"] = dtype
    if unchecked:
        if to != "c":
            raise InputError("--unchecked belongs to --to c; leave it out.")
        options["unchecked"] = True
    write = getattr(interop, f"to_{to}")
    fit = load(folder)
    exported = write(
        fit.lfr, folder / to if output is None else output, certificate=fit.certificate, x0=fit.prior.mean,
        u=_inputs(fit), name=name, force=force, **options,
    )  # fmt: skip
    typer.echo(f"claim    {NOTHING if fit.certificate is None else fit.certificate.sentence}")
    typer.echo(f"check    {exported.agreement.sentence}")
    for path in exported.files:
        typer.echo(f"written to {path}")


def _inputs(fit: Fit) -> np.ndarray:
    """Inputs (2, time, nu) of the offset and size that training had seen, the same at every call."""
    shape = (2, _SAMPLES, fit.lfr.nu)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    return fit.normaliser.u_offset + fit.normaliser.u_scale * noise
