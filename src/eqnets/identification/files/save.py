"""Write the model folder: model.safetensors, model.json, certificate.json, history.csv. No pickle anywhere.

`model.safetensors` holds the deployed physical LFR (`lfr.*`), the linear start (`linear.*`), the free parameters
(`theta.*`), the priors and the initial states; `model.json` everything that is not a tensor. The stored LFR is never
folded again, so that its digest, which the certificate carries, stays the same. A model without an LFR has no `lfr.*`
blocks and no activation there: it is its parameters and the normalisation. Without a guarantee there is no certificate.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from eqnets.errors import InputError
from eqnets.identification.files.whole import CERTIFICATE, FORMAT, HISTORY, META, MODEL, write_bytes, write_tensors
from eqnets.identification.guarantee import guarantee_to_json
from eqnets.system.lfr import LFR

if TYPE_CHECKING:
    from eqnets.identification.fit import Fit

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
        raise InputError(
            f"{folder} already holds {', '.join(standing)}; choose another folder, or overwrite with --force."
        )
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {f"theta.{name}": value for name, value in fit.model.state_dict().items()}
    for prefix, system in (("lfr", fit), ("linear", fit.linear)):
        if isinstance(system.system, LFR):
            tensors |= {f"{prefix}.{name}": block for name, block in system.system.blocks().items()}
        tensors |= {f"{prefix}.prior.{name}": getattr(system.prior, name) for name in ("mean", "covariance", "noise")}
    if fit.x0 is not None:
        tensors["x0"] = fit.x0
    write_tensors(folder / MODEL, {name: value.detach().contiguous().clone() for name, value in tensors.items()})
    activation = fit.system.activation.name if isinstance(fit.system, LFR) else None
    meta = {
        "format": FORMAT, "model": type(fit.model).__name__, "model_settings": fit.model.settings(),  # type: ignore[operator]
        "lfr": {"activation": activation, "dt": fit.system.dt, **{k: getattr(fit.system, k) for k in _LABELS}},
        "guarantee": guarantee_to_json(fit.guarantee), "digest": fit.system.digest(),
        "weights": hashlib.sha256((folder / MODEL).read_bytes()).hexdigest(),
        "normaliser": {k: getattr(fit.normaliser, k).tolist() for k in ("u_offset", "u_scale", "y_offset", "y_scale")},
        "data": fit.data_info, "settings": fit.settings, "environment": fit.environment, "notes": list(fit.notes),
    }  # fmt: skip
    write_bytes(folder / META, json.dumps(meta, indent=2, ensure_ascii=False).encode())
    if fit.certificate is None:
        (folder / CERTIFICATE).unlink(missing_ok=True)  # of the model that stood there before
    else:
        fit.certificate.save(folder / CERTIFICATE)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(fit.history[0]) if fit.history else ["step"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(fit.history)
    write_bytes(folder / HISTORY, text.getvalue().encode())
    return folder
