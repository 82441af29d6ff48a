"""An identified model with its evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eqnets.certification import Certificate, Contracting
from eqnets.identification.files.save import save_fit
from eqnets.identification.guarantee import Promise
from eqnets.identification.identified import Identified
from eqnets.identification.normaliser import Normaliser


@dataclass(frozen=True, eq=False)
class Fit(Identified):
    """An identified model with its evidence.

    Args:
        system: the deployed system, physical units, float64; the certificate speaks of it. `lfr` where it is one.
        prior: of its initial state.
        model: the trained module, between normalised signals.
        certificate: the proof of the guarantee; None where none was asked for.
        linear: the linear start, whose scores stand beside every score.
        guarantee: the claim that was asked for, in physical units, or "none".
        normaliser: learned on the training part of the records.
        history: one row a validation: step, seconds, train_rmse and val_rmse (normalised), learning_rate.
        data_info: names, units, sample time, sources with sha256, and how the records were split.
        settings: everything `identify` was asked for, and what it chose.
        environment: versions of Python and of the libraries.
        x0: (record, nx) the trained initial states of the training records.
        notes: sentences a user must read, such as what a guarantee cost.
    """

    model: nn.Module = field(default=None)  # type: ignore[assignment]
    certificate: Certificate | None = None
    linear: Identified = field(default=None)  # type: ignore[assignment]
    guarantee: Promise = field(default_factory=Contracting)
    normaliser: Normaliser = field(default=None)  # type: ignore[assignment]
    history: list[dict[str, float]] = field(default_factory=list)
    data_info: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    x0: Tensor | None = None
    notes: tuple[str, ...] = ()

    def save(self, folder: str | Path, force: bool = False) -> Path:
        """Write the model folder: model.safetensors, model.json, certificate.json, history.csv.

        Args:
            folder: where to; it is made if it does not exist.
            force: whether existing files may be replaced.

        Returns:
            The folder.

        Raises:
            InputError: a file exists and `force` is not given.
        """  # noqa: DOC502
        return save_fit(self, folder, force=force)
