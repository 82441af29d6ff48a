"""What a solve knows about itself: a status per sample, each a sentence with a remedy, and the numbers beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from torch import Tensor


class Status(IntEnum):
    """How the solve of one sample ended. `sentence` says it in words, with what to try."""

    CONVERGED = 0
    MAX_STEPS = 1
    STALLED = 2
    DIVERGED = 3
    NONFINITE = 4

    @property
    def sentence(self) -> str:
        """What happened, and what to do about it."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.CONVERGED: "the residual is within the tolerance.",
    Status.MAX_STEPS: "the steps ran out while the residual still fell; raise max_steps, start nearer with z0, or use "
    "solver=Anderson() or NewtonKrylov().",
    Status.STALLED: "the residual stopped falling above the tolerance; try solver=NewtonKrylov() or "
    "Picard(damping=0.5), loosen rtol and atol if the residual is rounding error, or make f contract (MonotoneDEQ does "
    "by construction).",
    Status.DIVERGED: "the iterates grow without bound; try solver=NewtonKrylov() or Picard(damping=0.5), or make f "
    "contract (smaller weights, a Jacobian penalty, or MonotoneDEQ).",
    Status.NONFINITE: "f returned NaN or infinity; check the inputs of these samples, or damp the solver.",
}


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a solve knows per sample; every tensor has shape (batch,), or () with batch_dims=0.

    Args:
        status: int64, the values of `Status`; compare with `sol.status == eq.Status.CONVERGED`.
        residual: RMS over the state of (f(z) − z)/(atol + rtol |f(z)|) at the best iterate z: below 1 is converged.
            It is infinite where no iterate was finite.
        steps: int64, evaluations of f made for this sample by the solver. Products with the Jacobian are not counted,
            and neither is the one evaluation that records the graph for derivatives.
    """

    status: Tensor
    residual: Tensor
    steps: Tensor

    @property
    def converged(self) -> Tensor:
        """Bool per sample: the status is CONVERGED."""
        return self.status == int(Status.CONVERGED)


@dataclass(eq=False)
class AdjointRecord:
    """The backward solve: which adjoint it is, and its statistics once a backward pass (or a jvp) has run.

    Args:
        name: the adjoint's class name, for example "Implicit".
        exact: whether its derivatives are those of the equilibrium (up to the tolerance of the solves).
        statistics: of the last backward solve; None before it, and for adjoints that solve nothing. Under torch.func
            transforms it stays None; the failure policy applies there all the same.
        solves: how many backward solves have run.
    """

    name: str
    exact: bool
    statistics: Statistics | None = None
    solves: int = 0

    def keep(self, statistics: Statistics) -> None:
        """Remember the statistics of a backward solve.

        Args:
            statistics: per sample.
        """
        self.statistics = statistics
        self.solves += 1

    @property
    def status(self) -> Tensor | None:
        """The status per sample of the backward solve, or None before it."""
        return None if self.statistics is None else self.statistics.status

    @property
    def residual(self) -> Tensor | None:
        """The residual per sample of the backward solve, or None before it."""
        return None if self.statistics is None else self.statistics.residual

    @property
    def steps(self) -> Tensor | None:
        """Products with Jᵀ per sample of the backward solve, or None before it."""
        return None if self.statistics is None else self.statistics.steps

    @property
    def converged(self) -> Tensor | None:
        """Bool per sample for the backward solve, or None before it."""
        return None if self.statistics is None else self.statistics.converged


@dataclass(frozen=True, eq=False)
class Solution:
    """An equilibrium z = f(z) and what is known about it.

    Args:
        value: f(z) at the best finite iterate z of each sample, in the structure, shapes and dtypes of z0. It carries
            the derivatives that the adjoint defines. A sample without any finite iterate keeps its z0.
        statistics: status, residual and steps per sample.
        adjoint: names the adjoint, and holds the statistics of the backward solve after a backward pass.
    """

    value: Any
    statistics: Statistics
    adjoint: AdjointRecord = field(repr=False)

    @property
    def status(self) -> Tensor:
        """int64 per sample, the values of `Status`."""
        return self.statistics.status

    @property
    def converged(self) -> Tensor:
        """Bool per sample."""
        return self.statistics.converged

    @property
    def residual(self) -> Tensor:
        """RMS of (f(z) − z)/(atol + rtol |f(z)|) per sample; below 1 is converged."""
        return self.statistics.residual

    @property
    def steps(self) -> Tensor:
        """Evaluations of f per sample."""
        return self.statistics.steps


def statistics_of(status: Tensor, residual: Tensor, steps: Tensor, batch_dims: int) -> Statistics:
    """Statistics in the shape the caller sees: (batch,), or () for one sample without a batch.

    Args:
        status: (batch,).
        residual: (batch,).
        steps: (batch,).
        batch_dims: 0 or 1.

    Returns:
        The statistics, detached.
    """
    parts = [t.detach() for t in (status, residual, steps)]
    if batch_dims == 0:
        parts = [t[0] for t in parts]
    return Statistics(*parts)
