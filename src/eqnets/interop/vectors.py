"""Stored vectors: what the model answers to a few inputs, so that an export can be held against it before use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from eqnets.errors import EqnetsError, InputError
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate

TOLERANCE = {"float64": 1e-12, "float32": 1e-4}
"""The largest difference of an output, as a share of the largest value it takes, by the dtype of the export."""

_RECORDS, _SAMPLES = 2, 50


@dataclass(frozen=True)
class Agreement:
    """How far an export is from the model on the stored vectors.

    Args:
        error: the largest difference over all outputs and states, as a share of the largest value of each; None where
            it was not measured.
        tolerance: what it had to stay within.
        samples: how many samples were compared.
    """

    error: float | None
    tolerance: float
    samples: int

    @property
    def sentence(self) -> str:
        """The figure in words."""
        if self.error is None:
            return "not compared with the model here; the stored vectors are in the export"
        return f"equal to the model to {self.error:.1e} of full scale on {self.samples} stored samples"


@dataclass(frozen=True, eq=False)
class Vectors:
    """Inputs and what the model answers, float64.

    Args:
        u: (batch, time, nu).
        x0: (nx,) the state that every record starts from.
        y: (batch, time, ny).
        x_last: (batch, nx).
    """

    u: np.ndarray
    x0: np.ndarray
    y: np.ndarray
    x_last: np.ndarray

    @classmethod
    def of(cls, lfr: LFR, x0: np.ndarray, u: np.ndarray | None = None) -> Vectors:
        """The model's answers.

        Args:
            lfr: a discrete LFR, float64 on the CPU.
            x0: (nx,) the start.
            u: (batch, time, nu) or (time, nu) inputs; None draws standard normal ones, the same at every call.

        Returns:
            The vectors.

        Raises:
            InputError: u has another shape or no samples, or the answers are not finite.
        """
        if u is None:
            generator = torch.Generator().manual_seed(0)
            u = torch.randn(_RECORDS, _SAMPLES, lfr.nu, generator=generator, dtype=torch.float64).numpy()
        u = np.array(u, dtype=np.float64)
        u = u[None] if u.ndim == 2 else u
        if u.ndim != 3 or u.shape[2] != lfr.nu or 0 in u.shape[:2]:
            raise InputError(f"the check inputs u must be (time, {lfr.nu}) or (batch, time, {lfr.nu}); got {u.shape}.")
        with torch.no_grad():
            y, last = simulate(lfr, torch.from_numpy(u), torch.from_numpy(x0), method="reference")
        if not (bool(torch.isfinite(y).all()) and bool(torch.isfinite(last).all())):
            raise InputError(
                "the model's answers to the check inputs are not finite, so that nothing can be compared with them; "
                "give inputs u of the size that the model sees."
            )
        return cls(u, x0, y.numpy(), last.numpy())

    def scales(self) -> tuple[np.ndarray, np.ndarray]:
        """The largest value that each output (ny,) and each last state (nx,) takes; 1 where it is always 0."""
        scales = (np.abs(self.y).max(axis=(0, 1)), np.abs(self.x_last).max(axis=0))
        return tuple(np.where(scale > 0, scale, 1.0) for scale in scales)  # type: ignore[return-value]

    def compare(self, y: np.ndarray, x_last: np.ndarray, dtype: str, what: str) -> Agreement:
        """Hold an export's answers against the model's.

        Args:
            y: (batch, time, ny) the export's outputs.
            x_last: (batch, nx) its last states.
            dtype: in which it computes.
            what: its name, for the error.

        Returns:
            The agreement.

        Raises:
            EqnetsError: the shapes differ, or the difference exceeds the tolerance.
        """  # noqa: DOC502
        shapes = (np.shape(y), np.shape(x_last))
        if shapes != (self.y.shape, self.x_last.shape):
            raise EqnetsError(f"{what} answers in shapes {shapes}, the model in {self.y.shape}, {self.x_last.shape}.")
        scale_y, scale_x = self.scales()
        parts = (np.abs(y - self.y) / scale_y, np.abs(x_last - self.x_last) / scale_x)
        return self.agreement(float(max(part.max(initial=0.0) for part in parts)), dtype, what)

    def agreement(self, error: float, dtype: str, what: str) -> Agreement:
        """The agreement that a measured difference makes; see `compare`.

        Args:
            error: the difference.
            dtype: in which the export computes.
            what: its name, for the error.

        Returns:
            The agreement.

        Raises:
            EqnetsError: the difference exceeds the tolerance, or is not a number.
        """
        tolerance = TOLERANCE[dtype]
        if math.isnan(error) or error > tolerance:
            raise EqnetsError(
                f"{what} differs from the model by {error:.3g} of full scale on the stored vectors, more than the "
                f"{tolerance:g} that {dtype} may lose; nothing was written. Please report it, with the model."
            )
        return Agreement(error, tolerance, self.u.shape[0] * self.u.shape[1])
