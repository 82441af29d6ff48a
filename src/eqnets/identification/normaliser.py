"""The normalisation of a model's signals: learned once, on training data, and then only applied."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.record import Record, is_constant

LARGEST = 1e75
"""A signal of this size, or a spread of one over it, still has a fourth power: spectra and errors are squared."""


def refuse_sizes(data: Data) -> None:
    """Refuse signals whose squares float64 does not hold, before anything is computed from them.

    Args:
        data: the records.

    Raises:
        DataError: a channel is too large or moves too little.
    """
    for letter, names in (("u", data.u_names), ("y", data.y_names)):
        samples = np.concatenate([getattr(record, letter) for record in data.records])
        largest, spread = np.abs(samples).max(axis=0), samples.max(axis=0) / 2 - samples.min(axis=0) / 2
        for name, size, moves in zip(names, largest, spread, strict=True):
            if size > LARGEST or 0 < moves < 1 / LARGEST:
                words = f"reaches {size:.3g}" if size > LARGEST else f"moves by {2 * moves:.3g} only"
                raise DataError(
                    f"channel '{name}' {words}, and squares of that are no float64 numbers; correct its samples, or "
                    "give it in another unit."
                )


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Per-channel offset and scale: u_n = (u − u_offset)/u_scale, y_n = (y − y_offset)/y_scale.

    Args:
        u_offset: (nu,), in the units of u.
        u_scale: (nu,), positive, in the units of u.
        y_offset: (ny,), in the units of y.
        y_scale: (ny,), positive, in the units of y.

    Raises:
        DataError: a value is not finite, a scale is not positive, or offset and scale differ in length.
    """

    u_offset: np.ndarray
    u_scale: np.ndarray
    y_offset: np.ndarray
    y_scale: np.ndarray

    def __post_init__(self) -> None:
        for name in ("u_offset", "u_scale", "y_offset", "y_scale"):
            vector = np.array(getattr(self, name), dtype=np.float64).reshape(-1)
            if not np.isfinite(vector).all() or (name.endswith("scale") and (vector <= 0).any()):
                raise DataError(f"{name} is {vector.tolist()}; offsets must be finite, and scales positive too.")
            vector.setflags(write=False)
            object.__setattr__(self, name, vector)
        if self.u_offset.shape != self.u_scale.shape or self.y_offset.shape != self.y_scale.shape:
            raise DataError("the normaliser's offsets and scales differ in length; give one of each per channel.")

    @classmethod
    def learn(cls, data: Data) -> Normaliser:
        """Mean and standard deviation of every channel over all records of `data` (the training data, nothing else).

        Args:
            data: the training data.

        Returns:
            The normaliser that gives these channels mean 0 and standard deviation 1.

        Raises:
            DataError: a channel is constant.
        """
        vectors = []
        for letter, names in (("u", data.u_names), ("y", data.y_names)):
            samples = np.concatenate([getattr(record, letter) for record in data.records])
            low, high = samples.min(axis=0), samples.max(axis=0)
            still = is_constant(samples)
            if still.any():
                name = names[int(np.flatnonzero(still)[0])]
                raise DataError(f"channel '{name}' is constant in the training data; leave it out.")
            # shifted and divided by the span first: no overflow at 1e200, no underflow at 1e-200
            span = high - low
            unit = (samples - low) / span
            vectors += [low + span * unit.mean(axis=0), span * unit.std(axis=0)]
        return cls(*vectors)

    def normalise(self, data: Data) -> Data:
        """The same records in normalised signals; units become "".

        Args:
            data: physical signals with nu inputs and ny outputs.

        Returns:
            The normalised data.

        Raises:
            DataError: the numbers of channels differ.
        """
        if (data.nu, data.ny) != (len(self.u_scale), len(self.y_scale)):
            raise DataError(
                f"the normaliser knows {len(self.u_scale)} inputs and {len(self.y_scale)} outputs, the data has "
                f"{data.nu} and {data.ny}; read the channels that it was learned on."
            )
        records = tuple(
            Record(self.normalise_u(record.u), self.normalise_y(record.y), record.name) for record in data.records
        )
        return replace(data, records=records, u_units=("",) * data.nu, y_units=("",) * data.ny)

    def normalise_u(self, u: np.ndarray) -> np.ndarray:
        """(u − u_offset)/u_scale; u (…, nu)."""
        return (u - self.u_offset) / self.u_scale

    def normalise_y(self, y: np.ndarray) -> np.ndarray:
        """(y − y_offset)/y_scale; y (…, ny)."""
        return (y - self.y_offset) / self.y_scale

    def physical_y(self, y: np.ndarray) -> np.ndarray:
        """y_offset + y_scale·y, from normalised to physical; y (…, ny)."""
        return self.y_offset + self.y_scale * y
