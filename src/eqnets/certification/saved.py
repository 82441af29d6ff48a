"""Certificate files on disk: written whole or not at all, with the weights beside them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from eqnets.certification import document
from eqnets.certification.claim import Claim
from eqnets.certification.enclosure import Array
from eqnets.certification.labels import Labels, label_entries
from eqnets.certification.proof import Factor
from eqnets.certification.weights import safetensors_bytes
from eqnets.system.lfr import LFR

SUFFIX = ".cert.json"


def write_files(
    path: str | os.PathLike[str],
    lfr: LFR,
    claim: Claim | document.Around,
    P: Array,
    Lambda: Array,
    factors: dict[str, Factor],
    *,
    rate: float | None,
    unchecked: dict[str, Any],
) -> None:
    """Write a certificate, and beside one that ends in `.cert.json` the weights that it is bound to.

    Args:
        path: of the certificate; a file that is there is replaced.
        lfr: that it is about.
        claim: what it claims.
        P: (nx, nx), symmetric.
        Lambda: (nv,).
        factors: of the exact proof.
        rate: proved besides, or None.
        unchecked: for the reader's eye.
    """
    target, weights = Path(path), None
    if target.name.endswith(SUFFIX):
        data, beside = safetensors_bytes(lfr), target.with_name(target.name.removesuffix(SUFFIX) + ".safetensors")
        _replace(beside, data)
        weights = {"file": beside.name, "sha256": hashlib.sha256(data).hexdigest()}
    entries = {
        "rate": rate, "activation": lfr.activation.name, "dt": lfr.dt, "digest": lfr.digest(), "weights": weights,
        "labels": label_entries(Labels.of(lfr)), "unchecked": unchecked,
    }  # fmt: skip
    _replace(target, document.write(entries, claim, P, Lambda, factors).encode())


def _replace(target: Path, data: bytes) -> None:
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    scratch.write_bytes(data)
    scratch.replace(target)
