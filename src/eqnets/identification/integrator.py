"""Does an output integrate its inputs? Then no model that forgets its past fits it, and no time should be spent on one.

The test is the pole of the best first-order output-error model of each output: it compares simulations, so that noise
on the measured output does not bias it (as it does the Dickey–Fuller regression). An integrator, or anything the
records cannot tell from one, has its pole at the largest radius they can show, a time constant of a tenth of the
longest record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.normaliser import Normaliser
from eqnets.identification.record import Record
from eqnets.identification.start import largest_radius, spectra, vector_fit

SHORTEST = 50
"""Samples of the longest record from which the test says something: below, its largest pole forgets in 5 samples."""


@dataclass(frozen=True)
class SlowestPole:
    """The pole of one output's first-order model.

    Args:
        output: its name.
        pole: real, at most `bound`; None where the records are too short to fit it.
        bound: the largest that the records can show.
        dt: the sample time in seconds.
    """

    output: str
    pole: float | None
    bound: float
    dt: float

    @property
    def integrates(self) -> bool:
        """Whether the pole is at the bound; False where nothing could be tested."""
        return self.pole is not None and self.pole >= self.bound * (1 - 1e-9)

    @property
    def time_constant(self) -> float | None:
        """−dt/ln pole in seconds; None without a positive pole."""
        return -self.dt / math.log(self.pole) if self.pole is not None and 0 < self.pole < 1 else None


def slowest_poles(data: Data) -> tuple[SlowestPole, ...]:
    """Fit a first-order model to every output by itself.

    Args:
        data: the records, with no constant channel.

    Returns:
        One result an output.
    """
    normal = Normaliser.learn(data).normalise(data)
    bound, found = largest_radius(normal), []
    if max(data.lengths) < SHORTEST:
        return tuple(SlowestPole(name, None, bound, data.dt) for name in data.y_names)
    for i, name in enumerate(data.y_names):
        records = tuple(Record(r.u, r.y[:, [i]], r.name) for r in normal.records)
        alone = replace(normal, records=records, y_names=(name,), y_units=("",))
        try:
            lti = vector_fit(spectra(alone, torch.Generator().manual_seed(0)), 1, bound, data.dt)
        except DataError:
            found.append(SlowestPole(name, None, bound, data.dt))
            continue
        found.append(SlowestPole(name, float(lti.A[0, 0]), bound, data.dt))
    return tuple(found)
