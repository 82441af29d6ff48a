"""The one loop: it owns the tolerance, stopping, masks, statistics, compaction and the best finite iterate.

States are tensors. What is known of a sample besides is a few numbers, and they live on the host, as arrays, where an
operation costs a tenth of one on a tensor; the residuals come there once a step: the only wait for the device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solution import Status
from eqnets.equilibrium.solver import Point, Solver
from eqnets.equilibrium.tolerance import Tolerance

COMPACT_AT = 0.75  # drop finished samples when, with the next evaluation, they have cost this share of one
SIZE = Tolerance(rtol=0.0, atol=1.0)  # its residual is the RMS of f(z) − z
GROWTH = 100.0  # |f(z) − z| grew by this factor: the sample diverges rather than stalls


class Result(NamedTuple):
    """What the loop found: value (batch, n), and status, residual, steps (batch,)."""

    value: Tensor
    status: Tensor
    residual: Tensor
    steps: Tensor


def solve(map: Map, z0: Tensor, solver: Solver, tol: Tolerance, max_steps: int, first: Tensor | None = None) -> Result:
    """Find a fixed point of `map` for every sample. Gradients are recorded if they are enabled by the caller.

    Args:
        map: z ↦ f(z).
        z0: (batch, n), the start.
        solver: how to step.
        tol: when a sample has converged.
        max_steps: the most evaluations of the map for a sample, over all stages of the solver.
        first: f(z0), if it is known already; it counts as an evaluation.

    Returns:
        Per sample f(z_best) and its statistics; z0 for a sample that never was finite.
    """
    records = _Records(z0)
    stages = solver.stages(z0.shape[1])
    _run(_Work(map, tol, max_steps, records, np.ones(z0.shape[0], dtype=bool)), stages[0], first)
    for stage in stages[1:]:
        todo = (records.status != Status.CONVERGED) & (records.steps < max_steps) & np.isfinite(records.residual)
        if not todo.any():
            break
        _run(_Work(map, tol, max_steps, records, todo), stage, None)
    return records.result()


def _run(work: _Work, solver: Solver, first: Tensor | None) -> None:
    """Run one solver until every sample of the working batch has ended."""
    fz = work.map(work.z) if first is None else first
    state: dict[str, Any] = {}
    while True:
        point = work.look(fz, solver, state)
        if point is None:
            return
        kept = work.compact()
        if kept is not None:
            point = _take(point, kept)
            state = {name: _take(part, kept) for name, part in state.items()}
        if work.k == 1:
            state = solver.start(work.map, point)
        work.z = solver.step(work.map, point, state)
        fz = work.map(work.z)


class _Records:
    """What is known of every sample, written when it ends."""

    def __init__(self, z0: Tensor) -> None:
        batch = z0.shape[0]
        self.value = z0
        self.mine = False  # whether nobody else sees `value`, so that it may be written to
        self.status = np.full(batch, int(Status.MAX_STEPS), dtype=np.int64)
        self.residual = np.full(batch, np.inf)
        self.steps = np.zeros(batch, dtype=np.int64)

    def keep(self, rows: np.ndarray, value: Tensor, where: np.ndarray) -> None:
        """The values of the samples `rows` are the rows `where` of a working batch."""
        if len(rows) == len(self.value):
            self.value = value
            return
        part, index = _take(value, where), _index(rows, value)
        self.value = self.value.index_copy_(0, index, part) if self.mine else self.value.index_copy(0, index, part)
        self.mine = True

    def result(self) -> Result:
        """The records as tensors."""
        status, residual, steps = (torch.from_numpy(a) for a in (self.status, self.residual, self.steps))
        device = self.value.device
        return Result(self.value, status.to(device), residual.to(device, self.value.dtype), steps.to(device))


class _Work:
    """The working batch of a stage: the samples still carried, and the best that is known of them."""

    def __init__(self, map: Map, tol: Tolerance, max_steps: int, records: _Records, todo: np.ndarray) -> None:
        self.map, self.tol, self.records = map, tol, records
        records.mine = False  # from now on it is the start
        self.rows = np.arange(len(todo))  # which samples of the full batch are carried
        self.active, self.count = todo, int(np.count_nonzero(todo))  # and which of them are unfinished
        self.value, self.best = records.value, records.residual.copy()
        self.mark = self.best  # the best residual when progress was last checked
        self.growth = np.zeros_like(self.best)  # |f(z) − z| at the first evaluation
        self.left = max_steps - records.steps  # evaluations that a sample may still make
        self.soonest = int(self.left[todo].min())  # when the first one has made them all
        self.bad: np.ndarray | None = None  # whose last evaluation was not finite
        self.waste = 0.0 if self.count == len(todo) else COMPACT_AT  # evaluations made for finished samples
        self.k = 0
        self.compact()
        self.z = self.value

    def look(self, fz: Tensor, solver: Solver, state: dict[str, Any]) -> Point | None:
        """Judge an evaluation; None when no sample is left to work on."""
        self.k += 1
        point = self.tol.judge(self.z, fz)
        residual = point.residual
        better = residual < self.best
        if self.count < len(better):
            better &= self.active
        done = better & (residual < 1.0)
        n_better, before = np.count_nonzero(better), self.count
        if n_better == self.count:  # the finished ones have been written down
            self.value, self.best = fz, residual
        elif n_better:
            self.value, self.best = _replace(self.value, fz, better), np.where(better, residual, self.best)
        if np.count_nonzero(done):
            self._end(done, Status.CONVERGED, state)
        if n_better < before or self.bad is not None:
            self._nonfinite(residual, state)
        if self.k == 1:
            self.mark, self.growth = self.best, _sizes(point)
        elif self.count and (self.k % solver.patience == 0 or solver.one_shot):
            stalled = self.active & (self.best > solver.progress * self.mark)
            self._give_up(stalled if not solver.one_shot else self.active, Status.STALLED, point, state)
            self.mark = self.best
        if self.count and self.k >= self.soonest:
            self._give_up(self.active & (self.left <= self.k), Status.MAX_STEPS, point, state)
        return point if self.count else None

    def _end(self, which: np.ndarray, status: int | np.ndarray, state: dict[str, Any]) -> None:
        """Write down the samples `which` of the working batch."""
        (where,) = which.nonzero()
        rows = self.rows[where]
        self.records.status[rows] = status if isinstance(status, int) else status[where]
        self.records.residual[rows] = self.best[where]
        self.records.steps[rows] += self.k
        if "evaluations" in state:  # those that the solver made by itself
            self.records.steps[rows] += state["evaluations"][where]
        self.records.keep(rows, self.value, where)
        self.active[where] = False
        self.count -= len(where)

    def _nonfinite(self, residual: np.ndarray, state: dict[str, Any]) -> None:
        """End the samples without a finite value twice in a row: a solver has one chance to step back."""
        now = self.active & ~np.isfinite(residual)
        twice = now if self.k == 1 else None if self.bad is None else now & self.bad
        self.bad = now if now.any() else None
        if twice is not None and twice.any():
            self._end(twice, Status.NONFINITE, state)

    def _give_up(self, which: np.ndarray, status: Status, point: Point, state: dict[str, Any]) -> None:
        if which.any():
            grown = _sizes(point) / GROWTH > self.growth
            self._end(which, np.where(grown, int(Status.DIVERGED), int(status)), state)

    def compact(self) -> np.ndarray | None:
        """Drop finished samples from the working batch if that pays; returns the kept rows, or None."""
        self.waste += 1.0 - self.count / len(self.rows)
        if self.waste < COMPACT_AT or not self.map.can_take:
            return None
        self.waste = 0.0
        kept = np.flatnonzero(self.active)
        self.map = self.map.take(_index(kept, self.value))
        for name in ("rows", "active", "value", "best", "mark", "growth", "left", "bad"):
            setattr(self, name, _take(getattr(self, name), kept))
        return kept


def _index(rows: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(like.device)


def _take(part: Any, rows: np.ndarray) -> Any:
    """Some rows of whatever has the batch first; anything else as it is."""
    if isinstance(part, Point):
        return Point(*(_take(each, rows) for each in (part.z, part.fz, part.residual)), steps=part.steps)
    if isinstance(part, Tensor):
        return part.index_select(0, _index(rows, part))
    return part[rows] if isinstance(part, np.ndarray) else part


def _sizes(point: Point) -> np.ndarray:
    return SIZE.judge(point.z, point.fz).residual


def _replace(old: Tensor, new: Tensor, which: np.ndarray) -> Tensor:
    """The rows `which` of new, the others of old; copies the fewer ones, in half the time of torch.where."""
    if 2 * np.count_nonzero(which) > len(which):
        old, new, which = new, old, ~which
    rows = np.flatnonzero(which)
    return old.index_copy(0, _index(rows, old), _take(new, rows))
