"""The one loop: it owns the tolerance, stopping, masks, statistics, compaction and the best finite iterate."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solution import Status
from eqnets.equilibrium.solver import Point, Solver
from eqnets.equilibrium.tolerance import Tolerance

COMPACT_AT = 0.8  # drop finished samples once at most this share of the working batch is unfinished
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
    size = z0.shape[0]
    unfinished = torch.full((size,), int(Status.MAX_STEPS), device=z0.device)
    result = Result(z0, unfinished, z0.new_full((size,), math.inf), torch.zeros_like(unfinished))
    for number, stage in enumerate(solver.stages(z0.shape[1])):
        if number == 0:
            result = _stage(map, stage, tol, max_steps, result, None, first)
            continue
        todo = (result.status != int(Status.CONVERGED)) & (result.steps < max_steps) & result.residual.isfinite()
        if not bool(todo.any()):
            break
        result = _stage(map, stage, tol, max_steps, result, todo, None)
    return result


def _stage(
    map: Map, solver: Solver, tol: Tolerance, max_steps: int, start: Result, todo: Tensor | None, first: Tensor | None
) -> Result:
    """Run one solver on the samples `todo` (None: all) from start.value; the others keep what they have."""
    work = _Work(map, tol, max_steps, start, todo)
    if todo is not None:
        work.compact()
    fz = work.map(work.z) if first is None else first
    state: dict[str, Any] = {}
    while True:
        point = work.look(fz, solver, state)
        if point is None:
            return work.result()
        kept = work.compact()
        if kept is not None:
            point = Point(*(t.index_select(0, kept) for t in point))
            state = {name: t.index_select(0, kept) if isinstance(t, Tensor) else t for name, t in state.items()}
        if work.k == 1:
            state = solver.start(work.map, point)
        work.z = solver.step(work.map, point, state)
        fz = work.map(work.z)


class _Work:
    """The working batch of a stage: the samples still carried, and their records."""

    def __init__(self, map: Map, tol: Tolerance, max_steps: int, start: Result, todo: Tensor | None) -> None:
        self.map, self.tol, self.max_steps, self.full = map, tol, max_steps, start
        self.rows: Tensor | None = None  # which samples of the full batch are carried; None: all
        self.z, self.status, self.best, self.steps = start.value, start.status, start.residual, start.steps
        self.value = start.value
        self.spent = None if todo is None else start.steps  # evaluations made by earlier stages
        self.active = torch.ones_like(start.status, dtype=torch.bool) if todo is None else todo
        self.size = self.active.numel()  # samples carried
        self.count = self.size if todo is None else int(todo.sum())  # and of them, unfinished
        self.mark = start.residual  # the best residual when progress was last checked
        self.bad: Tensor | None = None  # whose last evaluation was not finite
        self.growth = torch.zeros_like(start.residual)  # |f(z) − z| at the first evaluation
        self.k = 0

    def look(self, fz: Tensor, solver: Solver, state: dict[str, Any]) -> Point | None:
        """Judge an evaluation; None when no sample is left to work on."""
        self.k += 1
        r = fz - self.z
        residual = self.tol.residual(fz.detach(), r.detach())
        better = residual < self.best if self.count == self.size else (residual < self.best) & self.active
        done = better & (residual < 1)
        n_better, n_done = torch.stack((better.sum(), done.sum())).tolist()  # the only wait for the device in a step
        if n_better == self.size:
            self.value, self.best = fz, residual
        elif n_better:
            self.value = _replace(self.value, fz, better, n_better)
            self.best = torch.where(better, residual, self.best)
        if n_done:
            self._end(done, Status.CONVERGED, state)
        if n_better < self.count + n_done or self.bad is not None:
            self._nonfinite(residual, state)
        if self.k == 1:
            self.mark, self.growth = self.best, torch.linalg.vector_norm(r.detach(), dim=1)
        elif self.count and (self.k % solver.patience == 0 or solver.one_shot):
            stalled = self.active & (self.best > solver.progress * self.mark)
            self._give_up(stalled if not solver.one_shot else self.active, Status.STALLED, r, state)
            self.mark = self.best
        spent_all = self.k >= self.max_steps if self.spent is None else (self.spent + self.k >= self.max_steps)
        if self.count and spent_all is not False:
            out = self.active if spent_all is True else self.active & spent_all
            self._give_up(out, Status.MAX_STEPS, r, state)
        return Point(self.z, fz, r, residual) if self.count else None

    def _end(self, which: Tensor, status: Status | Tensor, state: dict[str, Any]) -> None:
        total = self.k if self.spent is None else self.spent + self.k
        if "evaluations" in state:  # those that the solver made by itself
            total = total + state["evaluations"]
        self.status = torch.where(which, torch.as_tensor(status, device=which.device), self.status)
        self.steps = torch.where(which, total, self.steps)
        self.active = self.active & ~which
        self.count = int(self.active.sum())

    def _nonfinite(self, residual: Tensor, state: dict[str, Any]) -> None:
        """End the samples without a finite value twice in a row: a solver has one chance to step back."""
        now = self.active & ~residual.isfinite()
        twice = now if self.k == 1 else None if self.bad is None else now & self.bad
        self.bad = now if bool(now.any()) else None
        if twice is not None and bool(twice.any()):
            self._end(twice, Status.NONFINITE, state)

    def _give_up(self, which: Tensor, status: Status, r: Tensor, state: dict[str, Any]) -> None:
        if not bool(which.any()):
            return
        grown = torch.linalg.vector_norm(r.detach(), dim=1) > GROWTH * self.growth
        code = torch.where(grown, int(Status.DIVERGED), int(status))
        self._end(which, code, state)

    def compact(self) -> Tensor | None:
        """Drop finished samples from the working batch if that pays; returns the kept rows, or None."""
        if not self.map.can_take or self.count > COMPACT_AT * self.size:
            return None
        kept = self.active.nonzero().flatten()
        self.size = kept.numel()
        self.full = self.result()
        self.rows = kept if self.rows is None else self.rows.index_select(0, kept)
        self.map = self.map.take(kept)
        names = ("z", "value", "best", "status", "steps", "active", "mark", "growth", "bad", "spent")
        for name in names:
            held = getattr(self, name)
            setattr(self, name, None if held is None else held.index_select(0, kept))
        return kept

    def result(self) -> Result:
        """The records of the full batch."""
        mine = Result(self.value, self.status, self.best, self.steps)
        if self.rows is None:
            return mine
        return Result(*(whole.index_copy(0, self.rows, part) for whole, part in zip(self.full, mine, strict=True)))


def _replace(old: Tensor, new: Tensor, which: Tensor, count: int) -> Tensor:
    """The `count` rows `which` of new, the others of old; copies the fewer ones, in half the time of torch.where."""
    if 2 * count > len(which):
        old, new, which = new, old, ~which
    rows = which.nonzero().flatten()
    return old.index_copy(0, rows, new.index_select(0, rows))
