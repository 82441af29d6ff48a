"""How long a wrong state shows: from a proved contraction rate to seconds, and to the units of the outputs.

Two trajectories under one input satisfy |Δx_t|_P ≤ ᾱᵗ |Δx_0|_P (e^{−ct} in continuous time), and each output differs by
|Δy_i| ≤ c_i |Δx|_P, which the slopes of the neurons prove. So a wrong initial state, an outlier, a restart, a set-point
that was changed, or an observer's first guess are forgotten in a time that can be stated beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.certification.artefact import Certificate
from eqnets.errors import InputError
from eqnets.system.chunked import output_gain


@dataclass(frozen=True, eq=False)
class Recovery:
    """The envelope that a certificate proves around every trajectory.

    Rate and P are proved exactly; the output gains are computed from them in float64, with 1e-9 to spare.

    Args:
        rate: ᾱ per step, or c in 1/s in continuous time.
        dt: the sample time in seconds, None in continuous time.
        P: (nx, nx), of |Δx|²_P = ΔxᵀPΔx.
        gains: (ny,) the c_i of |Δy_i| ≤ c_i |Δx|_P, in the outputs' units.
    """

    rate: float
    dt: float | None
    P: Tensor
    gains: Tensor

    @classmethod
    def of(cls, certificate: Certificate) -> Recovery:
        """The envelope of a certificate.

        Args:
            certificate: with a proved rate: `Contracting`, or a gain or supply of a system with states.

        Returns:
            The envelope.

        Raises:
            InputError: it proves no rate below 1 (above 0 in continuous time), or the system has no state.
        """
        lfr, rate, dt = certificate.lfr, certificate.rate, certificate.dt
        if lfr.nx == 0 or rate is None or not (rate > 0 if dt is None else 0 < rate < 1):
            raise InputError(
                f"this certificate proves no rate with which a state is forgotten (rate {rate}); certify or tighten "
                "Contracting() of a system with states."
            )
        lfr = lfr.to("cpu", torch.float64)
        gains = []
        for i in range(lfr.ny):
            rows = {name: getattr(lfr, name)[i : i + 1] for name in ("C2", "D21", "D22", "by")}
            gains.append(output_gain(lfr.replace(**rows, y_names=None, y_units=None), certificate.witness))
        return cls(rate, dt, certificate.witness.P, torch.tensor(gains, dtype=torch.float64))

    def distance(self, dx: Tensor) -> Tensor:
        """|Δx|_P of wrong states dx (…, nx), in float64, (…)."""
        return torch.linalg.vector_norm(dx.to(torch.float64) @ torch.linalg.cholesky(self.P), dim=-1)

    def output_bound(self, dx: Tensor, time: Tensor) -> Tensor:
        """The largest error that a wrong initial state can make on each output, at given times.

        Args:
            dx: (nx,) the wrong initial state minus the right one.
            time: (k,) seconds since then, multiples of dt in discrete time.

        Returns:
            (k, ny), in the outputs' units.
        """
        time = torch.as_tensor(time, dtype=torch.float64)
        return torch.exp(-self._decay * time)[:, None] * self.gains * self.distance(dx)

    def time_to_fraction(self, fraction: float) -> float:
        """Seconds until the distance |Δx|_P from any wrong state is at most this fraction of what it was.

        Raises:
            InputError: the fraction does not lie between 0 and 1.
        """  # noqa: DOC201
        if not 0 < fraction < 1:
            raise InputError(f"a fraction of the first error lies between 0 and 1, got {fraction}.")
        return self._until(-math.log(fraction))

    def time_within(self, dx: Tensor, within: float | Tensor) -> float:
        """Seconds after which every output stays within a tolerance of the right one.

        Args:
            dx: (nx,) or (batch, nx), the wrong initial states minus the right ones; the worst counts.
            within: one tolerance for all outputs, or (ny,), in the outputs' units.

        Returns:
            The time, a multiple of dt in discrete time.

        Raises:
            InputError: a tolerance is not positive.
        """
        within = torch.as_tensor(within, dtype=torch.float64).expand(len(self.gains))
        if not bool((within > 0).all()):
            raise InputError(f"a tolerance must be positive, got {within.tolist()}.")
        first = float(self.distance(dx).max()) * float((self.gains / within).max())
        return self._until(math.log(first)) if first > 1 else 0.0

    @property
    def _decay(self) -> float:
        """Per second."""
        return self.rate if self.dt is None else -math.log(self.rate) / self.dt

    def _until(self, nepers: float) -> float:
        seconds = nepers / self._decay
        return seconds if self.dt is None else math.ceil(seconds / self.dt) * self.dt


__all__ = ["Recovery"]
