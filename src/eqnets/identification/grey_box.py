"""Grey boxes: a system whose form is known, some of whose numbers are not, fitted to records with intervals.

The numbers θ and every record's initial state minimise the squared simulation error, by Levenberg–Marquardt on central
differences; all perturbed systems are simulated side by side. With J the Jacobian of the simulated outputs and e the
errors, the covariance of the estimate is the sandwich

    (JᵀJ)⁻¹ (Σ_|k|≤K (1 − |k|/(K+1)) Σ_t J_tᵀ e_t e_{t−k}ᵀ J_{t−k}) (JᵀJ)⁻¹,

which stays right where errors are correlated over time, as those of a simulation are (Newey & West, Econometrica 55,
1987; Ljung, System Identification, 1999, section 9.3). It measures noise, not a wrong form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from eqnets.errors import InputError, NotConverged
from eqnets.identification.data import Data
from eqnets.identification.metrics import Score, score
from eqnets.system.lfr import BLOCKS, LFR
from eqnets.system.nonlinearity import Activation
from eqnets.system.ode import steps

Build = Callable[[Mapping[str, float]], LFR]

_STEP = 1e-5  # of central differences, relative to a number or to a state's size
_RATIO = 0.5  # step times fastest rate of the integrator: an error of about 1e-8 of the motion
_QUANTILE = 1.959964  # of the normal distribution, for 95 %


@dataclass(frozen=True, eq=False)
class GreyFit:
    """What a grey box learned.

    Args:
        values: the numbers, by name.
        intervals: the 95 % interval (low, high) of each; it measures noise, not a wrong form.
        covariance: of the numbers, in the order of `values`.
        lfr: the system with these numbers, in the form that was given (continuous or discrete).
        x0: (record, nx) the records' initial states.
        score: of the simulation on the records that it was fitted to.
        steps: Levenberg–Marquardt steps that were made.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    covariance: np.ndarray
    lfr: LFR
    x0: np.ndarray
    score: Score
    steps: int


class GreyBox:
    """A system with unknown numbers.

    Args:
        system: an LFR, continuous (`dt=None`, then solved to about 1e-8 with the input held) or discrete, whose free
            entries start from their values; or a function from a mapping of numbers to such an LFR. D11 must be zero
            or strictly lower triangular.
        free: for an LFR the free entries by block, `{"A": [(1, 0), (1, 1)], "B2": [(1, 0)]}`; they are then named
            `A[1,0]`. For a function the start of each number, `{"stiffness": 20.0, "damping": 1.0}`.

    Raises:
        InputError: nothing is free, or there is no such entry.
    """

    def __init__(
        self, system: LFR | Build, free: Mapping[str, float] | Mapping[str, Sequence[tuple[int, int]]]
    ) -> None:
        if not free:
            raise InputError("a grey box needs at least one free number; otherwise simulate the system as it is.")
        self.build, self.start = _entries(system, free) if isinstance(system, LFR) else (system, _numbers(free))

    def fit(self, data: Data, *, max_steps: int = 100) -> GreyFit:
        """Find the numbers, and every record's initial state, that simulate the outputs best.

        Args:
            data: records in physical units; every output counts relative to its standard deviation.
            max_steps: the most Levenberg–Marquardt steps.

        Returns:
            The numbers with their intervals.

        Raises:
            InputError: the system has other channels or another sample time than the data, or a cyclic D11.
            NotConverged: the simulation is not finite at the start, or a number does not matter for the outputs.
        """  # noqa: DOC502
        return _Fitting(self, data).run(max_steps)


class _Fitting:
    """One fit: the records as arrays, and the residual with its Jacobian."""

    def __init__(self, box: GreyBox, data: Data) -> None:
        self.box, self.data, self.names = box, data, list(box.start)
        lfr = box.build(box.start)
        if (lfr.nu, lfr.ny) != (data.nu, data.ny):
            raise InputError(
                f"the system has {lfr.nu} inputs and {lfr.ny} outputs, the data {data.nu} and {data.ny}; name the "
                "matching columns."
            )
        if lfr.dt is not None and abs(lfr.dt - data.dt) > 1e-4 * data.dt:
            raise InputError(f"the system steps by {lfr.dt:g} s, the data by {data.dt:g} s; resample, or give dt=None.")
        if not lfr.is_acyclic:
            raise InputError("D11 must be zero or strictly lower triangular here: give the system in continuous time.")
        self.coupled = bool(lfr.D11.any()) or any(name.startswith("D11") for name in box.start)
        self.nx, self.count = lfr.nx, len(data.records)
        self.activation: Activation = lfr.activation
        self.longest = max(data.lengths)
        self.u = np.zeros((self.longest, self.count, data.nu))
        self.inside = np.zeros((self.longest, self.count), dtype=bool)
        for i, record in enumerate(data.records):
            self.u[: len(record), i], self.inside[: len(record), i] = record.u, True
        self.y = np.concatenate([record.y for record in data.records])
        self.weight = 1 / np.where(self.y.std(axis=0) > 0, self.y.std(axis=0), 1.0)
        self.state_size = 1.0

    def run(self, max_steps: int) -> GreyFit:
        theta = np.array([self.box.start[name] for name in self.names] + [0.0] * (self.count * self.nx))
        error, damping, made = self._errors(theta[None])[0], 1e-3, 0
        if not np.isfinite(error).all():
            raise NotConverged("the simulation is not finite at the start; start nearer, or from a stable system.")
        while made < max_steps:
            made += 1
            J = self._jacobian(theta)
            size = np.linalg.norm(J, axis=0)
            size = np.where(size > 0, size, 1.0)
            U, s, Vt = np.linalg.svd(J / size, full_matrices=False)
            before = float(error @ error)
            for _ in range(12):
                step = Vt.T @ (s / (s**2 + damping) * (U.T @ error)) / size
                trial = self._errors((theta + step)[None])[0]
                after = float(trial @ trial) if np.isfinite(trial).all() else math.inf
                if after < before:
                    break
                damping *= 4
            if not after < before:
                break
            theta, error, damping = theta + step, trial, damping / 10
            if before - after <= 1e-10 * before:
                break
        return self._result(theta, error, made)

    def _result(self, theta: np.ndarray, error: np.ndarray, made: int) -> GreyFit:
        p = len(self.names)
        J = self._jacobian(theta)
        size = np.linalg.norm(J, axis=0)
        if (size[:p] == 0).any():
            raise NotConverged(f"'{self.names[int(np.argmin(size[:p]))]}' does not matter for the outputs; fix it.")
        size = np.where(size > 0, size, 1.0)
        bread = np.linalg.pinv((J / size).T @ (J / size), hermitian=True)
        covariance = bread @ self._meat(J / size, error) @ bread / size[:, None] / size
        deviation = np.sqrt(np.diagonal(covariance)[:p])
        values = {name: float(theta[i]) for i, name in enumerate(self.names)}
        simulated = self._simulate(theta[None])[0]
        bounds = np.cumsum([0, *self.data.lengths])
        parts = [simulated[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
        return GreyFit(
            values=values, covariance=covariance[:p, :p], lfr=self.box.build(values),
            intervals={
                name: (float(theta[i] - _QUANTILE * deviation[i]), float(theta[i] + _QUANTILE * deviation[i]))
                for i, name in enumerate(self.names)
            },
            x0=theta[p:].reshape(self.count, self.nx), score=score(self.data, parts, n_init=0), steps=made,
        )  # fmt: skip

    def _meat(self, J: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Σ_k w_k Σ_t J_tᵀ e_t e_{t−k}ᵀ J_{t−k}, record by record, with K = N^(1/3)·4 lags."""
        ny, meat, first = self.y.shape[1], np.zeros((J.shape[1],) * 2), 0
        scores = (J * error[:, None]).reshape(-1, ny, J.shape[1]).sum(axis=1)  # Σ over outputs of J_tᵀ e_t
        for n in self.data.lengths:
            s, first = scores[first : first + n], first + n
            lags = min(n - 1, round(4 * n ** (1 / 3)))
            meat += s.T @ s
            for k in range(1, lags + 1):
                cross = s[k:].T @ s[:-k]
                meat += (1 - k / (lags + 1)) * (cross + cross.T)
        return meat

    def _errors(self, thetas: np.ndarray) -> np.ndarray:
        """(S, samples·outputs) weighted errors y − ŷ of S sets of numbers."""
        return ((self.y - self._simulate(thetas)) * self.weight).reshape(len(thetas), -1)

    def _jacobian(self, theta: np.ndarray) -> np.ndarray:
        """D ŷ/dθ, weighted, by central differences: all of them in one simulation."""
        p = len(self.names)
        h = np.concatenate([_STEP * np.maximum(np.abs(theta[:p]), 1e-6), np.full(len(theta) - p, _STEP)])
        shifts = np.concatenate([np.diag(h), -np.diag(h)])
        both = self._simulate(theta + shifts) * self.weight
        n = len(theta)
        return ((both[:n] - both[n:]) / (2 * h[:, None, None])).reshape(n, -1).T

    def _simulate(self, thetas: np.ndarray) -> np.ndarray:
        """(S, samples, ny): every set of numbers on all records, end to end."""
        p = len(self.names)
        lfrs = [self.box.build(dict(zip(self.names, theta[:p].tolist(), strict=True))) for theta in thetas]
        block = {name: np.stack([getattr(lfr, name).detach().numpy() for lfr in lfrs]) for name in BLOCKS}
        x = thetas[:, p:].reshape(len(thetas), self.count, self.nx)
        outputs = np.empty((self.longest, len(thetas), self.count, self.y.shape[1]))
        T = {name: np.ascontiguousarray(b.swapaxes(1, 2)) if b.ndim == 3 else b[:, None] for name, b in block.items()}
        continuous = lfrs[0].dt is None
        count = max(1, math.ceil(self.data.dt * self._fastest(block) / _RATIO)) if continuous else 0
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(self.longest):
                u = self.u[t]
                to_v, to_x = u @ T["D12"] + T["bv"], u @ T["B2"] + T["bx"]
                w = self._neurons(T, x, to_v)
                outputs[t] = x @ T["C2"] + w @ T["D21"] + u @ T["D22"] + T["by"]
                if continuous:
                    x = steps(lambda z, v=to_v, b=to_x: self._flow(T, z, v, b), x, self.data.dt, count)
                else:
                    x = x @ T["A"] + w @ T["B1"] + to_x
        return np.concatenate([outputs[: len(r), :, i] for i, r in enumerate(self.data.records)]).transpose(1, 0, 2)

    def _fastest(self, block: dict[str, np.ndarray]) -> float:
        """The fastest rate in 1/s of the systems, linearised with all slopes at either end of their interval."""
        rates = []
        for slopes in self.activation.slopes(block["D11"].shape[-1]):
            closed = block["A"] + (block["B1"] * slopes.numpy()) @ block["C1"]
            rates.append(np.abs(np.linalg.eigvals(closed)).max(initial=0.0))
        return max(rates)

    def _flow(self, T: dict[str, np.ndarray], x: np.ndarray, to_v: np.ndarray, to_x: np.ndarray) -> np.ndarray:
        return x @ T["A"] + self._neurons(T, x, to_v) @ T["B1"] + to_x

    def _neurons(self, T: dict[str, np.ndarray], x: np.ndarray, to_v: np.ndarray) -> np.ndarray:
        b = x @ T["C1"] + to_v
        w = self._phi(b)
        if self.coupled:
            for _ in range(b.shape[-1] - 1):  # exact: D11 is nilpotent
                w = self._phi(b + w @ T["D11"])
        return w

    def _phi(self, v: np.ndarray) -> np.ndarray:
        return self.activation.value(torch.from_numpy(np.ascontiguousarray(v))).numpy()


def _numbers(free: Mapping[str, object]) -> dict[str, float]:
    start = {}
    for name, value in free.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"free['{name}'] must be a number to start from; got {value!r}.")
        start[name] = float(value)
    return start


def _entries(lfr: LFR, free: Mapping[str, object]) -> tuple[Build, dict[str, float]]:
    """The function from entries `A[1,0]` to the LFR, and their values in it."""
    start: dict[str, float] = {}
    where: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, places in free.items():
        if name not in BLOCKS:
            raise InputError(f"an LFR has no block '{name}'; it has {', '.join(BLOCKS)}.")
        block = getattr(lfr, name)
        for place in places if isinstance(places, Sequence) else ():
            index = (place,) if isinstance(place, int) else tuple(place)
            if len(index) != block.ndim or not all(0 <= i < n for i, n in zip(index, block.shape, strict=True)):
                raise InputError(f"{name} {tuple(block.shape)} has no entry {place!r}.")
            label = f"{name}[{','.join(map(str, index))}]"
            start[label], where[label] = float(block[index]), (name, index)
    if not start:
        raise InputError('free names entries by block, such as {"A": [(1, 0)], "B2": [(1, 0)]}.')

    def build(values: Mapping[str, float]) -> LFR:
        changed: dict[str, torch.Tensor] = {}
        for label, (name, index) in where.items():
            if name not in changed:
                changed[name] = getattr(lfr, name).detach().double().clone()
            changed[name][index] = values[label]
        return lfr.to(torch.float64).replace(**changed)

    return build, start
