"""The model folder: model.safetensors, model.json, certificate.json, history.csv; and checkpoints. No pickle anywhere.

`model.safetensors` holds the deployed physical LFR (`lfr.*`), the linear start (`linear.*`), the free parameters
(`theta.*`), the priors and the initial states; `model.json` everything that is not a tensor. The stored LFR is never
folded again, so that its digest, which the certificate carries, stays the same.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from eqnets.certification import Certificate, Contracting, Lipschitz
from eqnets.errors import DataError, InputError
from eqnets.identification.fit import Fit, Guarantee
from eqnets.identification.identified import Identified
from eqnets.identification.initial_state import Prior
from eqnets.identification.normaliser import Normaliser
from eqnets.models import ContractingREN, LipschitzREN
from eqnets.system.lfr import BLOCKS, LFR

FORMAT = 1
"""The version of the folder's format; a reader refuses newer ones and reads older ones."""

MODEL, META, CERTIFICATE, HISTORY = "model.safetensors", "model.json", "certificate.json", "history.csv"
_MODELS = {"ContractingREN": ContractingREN, "LipschitzREN": LipschitzREN}
_LABELS = ("u_names", "y_names", "u_units", "y_units")


def save_fit(fit: Fit, folder: str | Path, *, force: bool = False) -> Path:
    """Write a fit as a model folder.

    Args:
        fit: the fit.
        folder: where to; it is made if it does not exist.
        force: whether existing files of these names may be replaced.

    Returns:
        The folder.

    Raises:
        InputError: a file of these names exists and `force` is not given, or `folder` is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the model.")
    standing = [name for name in (MODEL, META, CERTIFICATE, HISTORY) if (folder / name).exists()]
    if standing and not force:
        raise InputError(f"{folder} already holds {', '.join(standing)}; choose another folder, or overwrite with --force.")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {f"theta.{name}": value for name, value in fit.model.state_dict().items()}
    for prefix, system in (("lfr", fit), ("linear", fit.linear)):
        tensors |= {f"{prefix}.{name}": block for name, block in system.lfr.blocks().items()}
        tensors |= {f"{prefix}.prior.{name}": getattr(system.prior, name) for name in ("mean", "covariance", "noise")}
    if fit.x0 is not None:
        tensors["x0"] = fit.x0
    _write(folder / MODEL, {name: value.detach().contiguous().clone() for name, value in tensors.items()})
    meta = {
        "format": FORMAT, "model": type(fit.model).__name__, "model_settings": fit.model.settings(),  # type: ignore[operator]
        "lfr": {"activation": fit.lfr.activation.name, "dt": fit.lfr.dt, **{k: getattr(fit.lfr, k) for k in _LABELS}},
        "guarantee": _guarantee_to_json(fit.guarantee), "digest": fit.lfr.digest(),
        "normaliser": {k: getattr(fit.normaliser, k).tolist() for k in ("u_offset", "u_scale", "y_offset", "y_scale")},
        "data": fit.data_info, "settings": fit.settings, "environment": fit.environment, "notes": list(fit.notes),
    }  # fmt: skip
    _replace(folder / META, json.dumps(meta, indent=2, ensure_ascii=False).encode())
    fit.certificate.save(folder / CERTIFICATE)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(fit.history[0]) if fit.history else ["step"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(fit.history)
    _replace(folder / HISTORY, text.getvalue().encode())
    return folder


def load(folder: str | Path) -> Fit:
    """Read a model folder back.

    Args:
        folder: the folder that `Fit.save` or `eqnets fit` wrote.

    Returns:
        The fit, with the certificate verified anew against the stored LFR.

    Raises:
        DataError: a file is missing or damaged, or of a newer format.
        CertificateError: the certificate does not hold for the stored LFR.
    """
    folder = Path(folder)
    fit = read_model(folder)
    certificate = Certificate.load(folder / CERTIFICATE, fit.lfr)
    object.__setattr__(fit, "certificate", certificate)
    return fit


def read_model(folder: str | Path) -> Fit:
    """The fit of a model folder without its certificate, which is neither read nor checked.

    Args:
        folder: the model folder.

    Returns:
        The fit, `certificate` None.

    Raises:
        DataError: a file is missing or damaged, or of a newer format.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a model folder; name the folder that `eqnets fit -o` wrote.")
    for name in (MODEL, META):
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}; name the folder that `eqnets fit -o` wrote.")
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        tensors = load_file(folder / MODEL)
        if meta["format"] > FORMAT:
            raise DataError(f"{folder / META} has format {meta['format']}; this version reads up to {FORMAT}: update eqnets.")
        return _assemble(meta, tensors, folder)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise DataError(f"{folder} is damaged and cannot be read ({error}); restore it, or fit again.") from error
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"{folder} lacks or garbles an entry ({error}); restore it, or fit again.") from error


def _assemble(meta: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Fit:
    labels = {k: tuple(meta["lfr"][k]) if meta["lfr"][k] is not None else None for k in _LABELS}

    def system(prefix: str, activation: str) -> tuple[LFR, Prior]:
        blocks = {name: tensors[f"{prefix}.{name}"] for name in BLOCKS}
        prior = Prior(*(tensors[f"{prefix}.prior.{name}"] for name in ("mean", "covariance", "noise")))
        return LFR(**blocks, activation=activation, dt=meta["lfr"]["dt"], **labels), prior

    lfr, prior = system("lfr", meta["lfr"]["activation"])
    model = _MODELS[meta["model"]](**meta["model_settings"], dtype=torch.float64)
    model.load_state_dict({k.removeprefix("theta."): v for k, v in tensors.items() if k.startswith("theta.")})
    return Fit(
        lfr=lfr, prior=prior, model=model, linear=Identified(*system("linear", "relu")),
        guarantee=_guarantee_from_json(meta["guarantee"]), x0=tensors.get("x0"), history=_history(folder / HISTORY),
        normaliser=Normaliser(**{k: np.array(v) for k, v in meta["normaliser"].items()}),
        data_info=meta["data"], settings=meta["settings"], environment=meta["environment"], notes=tuple(meta["notes"]),
    )  # fmt: skip


def _history(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows: Iterable[dict[str, str]] = csv.DictReader(file)
            return [{k: int(v) if k == "step" else float(v) for k, v in row.items()} for row in rows]
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); restore it, or delete it to do without the training curve.") from error


def _guarantee_to_json(guarantee: Guarantee) -> dict[str, Any]:
    if isinstance(guarantee, Contracting):
        return {"kind": "contracting", "rate": guarantee.rate}
    scales = {k: None if getattr(guarantee, k) is None else list(getattr(guarantee, k)) for k in ("u_scale", "y_scale")}
    return {"kind": "lipschitz", "gamma": guarantee.gamma, **scales}


def _guarantee_from_json(value: dict[str, Any]) -> Guarantee:
    options = {k: v for k, v in value.items() if k != "kind"}
    return {"contracting": Contracting, "lipschitz": Lipschitz}[value["kind"]](**options)


class Checkpoint:
    """Keeps the state of a training run in a folder, so that it can be interrupted and resumed.

    Args:
        folder: where `checkpoint.safetensors` goes.
        fingerprint: what must be the same for a resumed run (the data's digests, the settings); fits in JSON.
        resume: whether a stored checkpoint is taken up; else it is replaced.
    """

    def __init__(self, folder: str | Path, fingerprint: dict[str, Any], resume: bool = False) -> None:
        self.path = Path(folder) / "checkpoint.safetensors"
        self.fingerprint = json.loads(json.dumps(fingerprint))
        self.resume = resume

    def save(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Store a checkpoint; the one before stays until the new one is whole.

        Args:
            tensors: by name.
            meta: everything else; fits in JSON.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = {"eqnets": json.dumps({"format": FORMAT, "fingerprint": self.fingerprint, "training": meta})}
        _write(self.path, tensors, header)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The stored checkpoint.

        Returns:
            Its tensors and what `save` was given with them; None where there is none, or where it is not to be taken up.

        Raises:
            DataError: it is damaged, or belongs to other data or settings.
        """
        if not self.resume or not self.path.is_file():
            return None
        try:
            with self.path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]["eqnets"]
            kept = json.loads(header)
            tensors = load_file(self.path)
            fingerprint, training = kept["fingerprint"], kept["training"]
        except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, MemoryError) as error:
            raise DataError(f"{self.path} is damaged ({error}); delete it and start again without --resume.") from error
        if fingerprint != self.fingerprint:
            changed = sorted(
                k for k in {*fingerprint, *self.fingerprint} if fingerprint.get(k) != self.fingerprint.get(k)
            )
            raise DataError(
                f"{self.path} belongs to another run ({', '.join(changed)} changed); resume with the same data and "
                "options, or start again with --force."
            )
        return tensors, training

    def clear(self) -> None:
        """Delete the checkpoint; the run is complete."""
        self.path.unlink(missing_ok=True)


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str] | None = None) -> None:
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata=header)
    os.replace(part, path)


def _replace(path: Path, content: bytes) -> None:
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(content)
    os.replace(part, path)
