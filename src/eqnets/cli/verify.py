"""`eqnets verify`: check a certificate file against a model folder: the digest, and the whole proof again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eqnets.certification.artefact import proved
from eqnets.errors import InputError
from eqnets.identification.files.load import read_model


def verify(
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="The certificate file.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The model folder.")],
) -> None:
    """Check a certificate against a model. Exit code 1 when it does not hold."""
    fit = read_model(folder)
    if not certificate.is_file():
        if fit.guarantee == "none":
            raise InputError(
                f"'{certificate}' is no file; {folder} was fitted without a guarantee, nothing is certified."
            )
        raise InputError(f"'{certificate}' is no file; name a certificate, such as {folder / 'certificate.json'}.")
    found = proved(certificate, fit.lfr)
    typer.echo(f"holds: {found.sentence}")
    typer.echo(f"model sha256 {found.digest}")
