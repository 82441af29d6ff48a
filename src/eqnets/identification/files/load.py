"""Read the model folder back."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eqnets.certification import Certificate
from eqnets.errors import DataError
from eqnets.identification.dynamics import Physical
from eqnets.identification.files.whole import CERTIFICATE, FORMAT, HISTORY, META, MODEL
from eqnets.identification.fit import Fit
from eqnets.identification.guarantee import guarantee_from_json
from eqnets.identification.identified import Identified
from eqnets.identification.initial_state import Prior
from eqnets.identification.normaliser import Normaliser
from eqnets.models import GRU, LSTM, RNN, BlackBox, ContractingREN, DissipativeREN, FreeREN, LipschitzREN, NeuralODE
from eqnets.system.lfr import BLOCKS, LFR

_MODELS = {
    cls.__name__: cls for cls in (ContractingREN, LipschitzREN, DissipativeREN, FreeREN, RNN, GRU, LSTM, NeuralODE)
}
_LABELS = ("u_names", "y_names", "u_units", "y_units")


def load(folder: str | Path) -> Fit:
    """Read a model folder back.

    Args:
        folder: the folder that `Fit.save` or `eqnets fit` wrote.

    Returns:
        The fit, with the certificate verified anew against the stored LFR; `certificate` None where the fit asked for
        no guarantee and none lies there.

    Raises:
        DataError: a file is missing, damaged or altered, or of a newer format.
        CertificateError: the certificate does not hold for the stored LFR.
    """  # noqa: DOC502
    folder = Path(folder)
    fit, meta = _read(folder)
    if (folder / CERTIFICATE).exists():
        object.__setattr__(fit, "certificate", Certificate.load(folder / CERTIFICATE, fit.lfr))
    elif fit.guarantee != "none":
        raise DataError(
            f"{folder} has no {CERTIFICATE}, though its model was fitted with a guarantee; restore it, or prove it "
            f"anew: eqnets certify {folder} -o {folder / CERTIFICATE}."
        )
    weights = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    digest = fit.system.digest()
    if meta.get("weights", weights) != weights or meta.get("digest", digest) != digest:
        raise DataError(  # the certificate speaks of the LFR alone: not of the linear model, nor of initial states
            f"{folder / MODEL} or the numbers in {META} are not those that were saved there (sha256 {weights[:12]}…); "
            "restore the folder, or fit again."
        )
    return fit


def read_model(folder: str | Path) -> Fit:
    """The fit of a model folder without its certificate, which is neither read nor checked.

    Args:
        folder: the model folder.

    Returns:
        The fit, `certificate` None.

    Raises:
        DataError: a file is missing or damaged, or of a newer format.
    """  # noqa: DOC502
    return _read(Path(folder))[0]


def _read(folder: Path) -> tuple[Fit, dict[str, Any]]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a model folder; name the folder that `eqnets fit -o` wrote.")
    for name in (MODEL, META):
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}; name the folder that `eqnets fit -o` wrote.")
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        tensors = load_file(folder / MODEL)
        if meta["format"] > FORMAT:
            raise DataError(
                f"{folder / META} has format {meta['format']}; this version reads up to {FORMAT}: update eqnets."
            )
        return _assemble(meta, tensors, folder), meta
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise DataError(f"{folder} is damaged and cannot be read ({error}); restore it, or fit again.") from error
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"{folder} lacks or garbles an entry ({error}); restore it, or fit again.") from error


def _assemble(meta: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Fit:
    labels = {k: tuple(meta["lfr"][k]) if meta["lfr"][k] is not None else None for k in _LABELS}

    def lfr(prefix: str, activation: str) -> LFR:
        blocks = {name: tensors[f"{prefix}.{name}"] for name in BLOCKS}
        fields: dict[str, Any] = {**blocks, **labels, "activation": activation, "dt": meta["lfr"]["dt"]}
        return LFR(**fields)

    def prior(prefix: str) -> Prior:
        known = (tensors[f"{prefix}.prior.{name}"] for name in ("mean", "covariance", "noise"))
        return Prior(*known, delay=max(meta["settings"].get("delay") or [0]))

    model = _MODELS[meta["model"]](**meta["model_settings"])
    model.to(torch.float64)
    model.load_state_dict({k.removeprefix("theta."): v for k, v in tensors.items() if k.startswith("theta.")})
    normaliser = Normaliser(**{k: np.array(v) for k, v in meta["normaliser"].items()})
    if isinstance(model, BlackBox):
        deployed, own = Physical(model, normaliser, **labels), prior("lfr")
    else:
        deployed, own = lfr("lfr", meta["lfr"]["activation"]), prior("lfr")
    return Fit(
        system=deployed, prior=own, model=model, linear=Identified(lfr("linear", "relu"), prior("linear")),
        guarantee=guarantee_from_json(meta["guarantee"]), x0=tensors.get("x0"), history=_history(folder / HISTORY),
        normaliser=normaliser, data_info=meta["data"],
        settings=meta["settings"], environment=meta["environment"], notes=tuple(meta["notes"]),
    )  # fmt: skip


def _history(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows: Iterable[dict[str, str]] = csv.DictReader(file)
            return [{k: int(v) if k == "step" else float(v) for k, v in row.items()} for row in rows]
    except ValueError as error:
        raise DataError(
            f"{path} is damaged ({error}); restore it, or delete it to do without the training curve."
        ) from error
