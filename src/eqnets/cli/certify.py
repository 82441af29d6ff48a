"""`eqnets certify`: prove a claim about a stored model, from its matrices alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqnets.cli import common, folders
from eqnets.errors import InputError
from eqnets.identification.files.load import read_model
from eqnets.identification.proved import certify_again


def certify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The model folder.")],
    guarantee: Annotated[
        str | None,
        typer.Option(
            "--guarantee",
            metavar="CLAIM",
            help="contracting[:RATE], lipschitz:GAMMA, passive[:INPUT,OUTPUT], dissipative:Q,S,R or well-posed.",
        ),
    ] = None,
    u_scale: Annotated[str | None, typer.Option("--u-scale", metavar="A,B,…", help="One size per input.")] = None,
    y_scale: Annotated[str | None, typer.Option("--y-scale", metavar="A,B,…", help="One size per output.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the certificate there.")
    ] = None,
    attack: Annotated[
        bool, typer.Option("--attack", help="Also say what was attained, and what the best frozen slopes reach.")
    ] = False,
    force: common.Force = False,
) -> None:
    """Prove a claim about the stored model anew. Exit code 1 when it does not hold."""
    if output is not None:
        folders.new_file(output, force=force)
    fit = read_model(folder)
    claim = common.claim(guarantee, u_scale, y_scale) if guarantee is not None else fit.guarantee
    _ = fit.lfr  # a model without one is refused in words
    if claim == "none":
        given = "it was fitted without a guarantee" if guarantee is None else "'none' claims nothing"
        raise InputError(
            f"there is nothing to certify: {given}. Name a claim to try on its matrices: --guarantee contracting, "
            "lipschitz:GAMMA or well-posed."
        )
    certificate = certify_again(fit, claim)
    certificate = certificate.attacked() if attack else certificate
    typer.echo(certificate.summary())
    if output is not None:
        certificate.save(output)
        typer.echo(f"written to {output}")
