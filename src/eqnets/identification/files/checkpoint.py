"""Checkpoints of a training run, so that it can be interrupted and resumed with nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eqnets.errors import DataError
from eqnets.identification.files.whole import FORMAT, write_tensors


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

    def begin(self) -> None:
        """Delete what another run left, its parts too, unless this one resumes: else the next `--resume` meets both."""
        if not self.resume:
            for pattern in ("", "-*"):
                for path in self.path.parent.glob(f"{self.path.stem}{pattern}.safetensors"):
                    path.unlink()

    def save(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Store a checkpoint; the one before stays until the new one is whole.

        Args:
            tensors: by name.
            meta: everything else; fits in JSON.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = {"eqnets": json.dumps({"format": FORMAT, "fingerprint": self.fingerprint, "training": meta})}
        write_tensors(self.path, tensors, header)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The stored checkpoint.

        Returns:
            Its tensors and what `save` was given with them; None where there is none, or where it is not to be taken up.

        Raises:
            DataError: it is damaged, or belongs to other data or settings.
        """  # noqa: E501
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

    def part(self, name: int | str) -> Checkpoint:
        """The checkpoint of one of several runs, or of one of its phases, in a file of its own."""
        other = Checkpoint(self.path.parent, self.fingerprint, self.resume)
        other.path = self.path.with_name(f"{self.path.stem}-{name}.safetensors")
        return other

    def clear(self) -> None:
        """Delete the checkpoints; the run is complete."""
        for path in self.path.parent.glob("checkpoint*.safetensors"):
            path.unlink()
