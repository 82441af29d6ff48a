"""An identified system in physical units: simulate it and score it; the nonlinear fit and its linear start alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from eqnets.errors import DataError, InputError
from eqnets.identification.data import Data
from eqnets.identification.dynamics import System, lfr_of, roll
from eqnets.identification.initial_state import Prior, estimate_x0
from eqnets.identification.metrics import Score, score
from eqnets.system.lfr import LFR


@dataclass(frozen=True, eq=False)
class Identified:
    """A system from physical inputs to physical outputs, and the prior of its initial state.

    Args:
        system: a discrete LFR, float64, with names and units; or a model that has none.
        prior: in the system's states and output units.
    """

    system: System
    prior: Prior

    @property
    def lfr(self) -> LFR:
        """The deployed LFR; an InputError where the model has none (GRU, LSTM, neural ODE)."""
        return lfr_of(self.system)

    def initial_state(self, u: np.ndarray, y_init: np.ndarray | None) -> torch.Tensor:
        """x0 (nx,) from the first samples of a record; the mean of the training states where y_init is None.

        Args:
            u: (time, nu) in physical units.
            y_init: (n_init, ny) the first measured outputs, or None.

        Returns:
            The state, float64.

        Raises:
            InputError: there are outputs, but no more than an input is late: they answer inputs before the record.
        """
        if y_init is None or len(y_init) == 0:
            return self.prior.mean.clone()
        n = len(y_init)
        if n <= self.prior.delay:
            raise InputError(
                f"an input is felt after {self.prior.delay} samples, so the first {n} outputs answer what it was "
                f"before the record; set the initial state with more than {self.prior.delay} (n_init, --n-init), or "
                "with 0."
            )
        return estimate_x0(self.system, _tensor(u[:n]), _tensor(y_init), self.prior)

    def simulate(self, u: np.ndarray, y_init: np.ndarray | None = None) -> np.ndarray:
        """Simulate from inputs alone; the first measured outputs, if given, only set the initial state.

        Args:
            u: (time, nu) or (batch, time, nu), physical units.
            y_init: (n_init, ny) or (batch, n_init, ny); None starts from the mean of the training states.

        Returns:
            y (time, ny) or (batch, time, ny), float64, physical units.

        Raises:
            InputError: a wrong shape, or a value that is not finite.
        """
        u = np.asarray(u, dtype=np.float64)
        single = u.ndim == 2
        batch = u[None] if single else u
        if batch.ndim != 3 or batch.shape[-1] != self.system.nu:
            nu = self.system.nu
            raise InputError(f"u must be (time, {nu}) or (batch, time, {nu}); got shape {u.shape}.")
        if not np.isfinite(batch).all():
            raise InputError("u holds a value that is not finite; remove it or cut the record there.")
        if y_init is not None:
            y_init = np.asarray(y_init, dtype=np.float64)
            y_init = y_init[None] if single else y_init
            ny = self.system.ny
            if y_init.ndim != 3 or y_init.shape[::2] != (len(batch), ny) or y_init.shape[1] > batch.shape[1]:
                raise InputError(
                    f"y_init must hold the first outputs (n_init, {ny}) of each of the {len(batch)} records, no "  # noqa: E501
                    f"more than u has samples; got shape {y_init.shape[1:] if single else y_init.shape}."
                )
        x0 = torch.stack(
            [self.initial_state(row, None if y_init is None else y_init[i]) for i, row in enumerate(batch)]
        )
        with torch.no_grad():
            y = roll(self.system, _tensor(batch), x0)[0].numpy()
        return y[0] if single else y

    def score(self, test: Data, n_init: int = 50) -> Score:
        """Simulation error on test records: from u and the first n_init outputs, which the score leaves out.

        Args:
            test: records with the model's channels, in its units and sample time.
            n_init: how many first outputs may set the initial state.

        Returns:
            The score, per channel and per record.

        Raises:
            DataError: other channels, another sample time, or a record that is not longer than n_init.
        """
        self.check(test)
        for record in test.records:
            if len(record) <= n_init:
                raise DataError(
                    f"{record.name} has {len(record)} samples, not more than n_init = {n_init}; lower n_init."
                )
        simulated = [self.simulate(record.u, record.y[:n_init]) for record in test.records]
        return score(test, simulated, n_init=n_init)

    def check(self, data: Data) -> None:
        """Raise where `data` does not speak of the same channels at the same rate.

        Args:
            data: the records to be simulated.

        Raises:
            DataError: the numbers of channels, the units or the sample times differ.
        """
        if (data.nu, data.ny) != (self.system.nu, self.system.ny):
            raise DataError(
                f"the model has {self.system.nu} inputs and {self.system.ny} outputs, the data {data.nu} and "
                f"{data.ny}; name the matching columns."
            )
        if self.system.dt is None or abs(data.dt - self.system.dt) > 1e-4 * self.system.dt:
            raise DataError(
                f"the model was identified at {self.system.dt:g} s a sample, the data has {data.dt:g} s; resample it."
            )
        for mine, theirs in ((self.system.u_units, data.u_units), (self.system.y_units, data.y_units)):
            for a, b in zip(mine or (), theirs, strict=False):
                if a and b and a != b:
                    raise DataError(f"the model speaks {a} where the data has {b}; convert the column.")


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))
