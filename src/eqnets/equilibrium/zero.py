"""The verb for inclusions: the zero of a monotone operator, with derivatives by the adjoint code of every fixed point.

The equations of `transforms` (the value, its adjoint, its tangent, and theirs) are used with explicit inputs, the bias
and the weights, under plain autograd and torch.func alike. Here each of them also knows that it is an inclusion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from eqnets.equilibrium import levels
from eqnets.equilibrium.adjoint import Adjoint, Implicit, Unrolled
from eqnets.equilibrium.dense import settle
from eqnets.equilibrium.factored import Factored, Resolvent
from eqnets.equilibrium.failure import check_policy, report
from eqnets.equilibrium.implicit import has_tangent
from eqnets.equilibrium.inclusion import Cotangent, Diagonal, Inclusion, Proximal, Tangent
from eqnets.equilibrium.loop import Result, solve
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.problem import How
from eqnets.equilibrium.solution import AdjointRecord, Solution, Statistics
from eqnets.equilibrium.solver import Solver
from eqnets.equilibrium.tolerance import tolerance
from eqnets.equilibrium.transforms import Equation, Linear, Pulled, Pushed, Root, _Solve
from eqnets.equilibrium.truncated import truncated
from eqnets.errors import InputError


def zero(
    build: Callable[..., Any], sigma: Proximal, bias: Tensor, weights: Sequence[Tensor],
    factor: Callable[..., Factored], *, z0: Tensor | None = None, solver: Solver, adjoint: Adjoint,
    rtol: float | None = None, atol: float | None = None, max_steps: int = 1000, on_failure: str = "warn",
) -> Solution:  # fmt: skip
    """Find z = σ(W z + b) for every sample, with derivatives of every order with respect to b and the weights of W.

    Args:
        build: weights → operator, differentiable.
        sigma: σ.
        bias: b, (batch, n).
        weights: of the operator, real tensors.
        factor: plain weights → the factored operator.
        z0: the start, (batch, n); None: zero. The equilibrium does not depend on it.
        solver: of the equilibrium; a splitting, or any other.
        adjoint: how to differentiate; a splitting inside Implicit uses the same factor, transposed.
        rtol: relative tolerance; None: as for `fixed_point`.
        atol: absolute tolerance; None: as for `fixed_point`.
        max_steps: the most steps for a sample.
        on_failure: "warn", "raise" or "ignore"; for the backward solve too.

    Returns:
        The solution.

    Raises:
        InputError: an unknown option, or Unrolled under torch.func.
    """
    check_policy(on_failure)
    how = How(solver, tolerance(rtol, atol, bias.dtype), max_steps, on_failure, 1)
    back = how.of_adjoint(adjoint) if isinstance(adjoint, Implicit) else None
    record = AdjointRecord(type(adjoint).__name__, adjoint.exact)
    inputs = [bias, *weights]

    def function(z: Tensor, bias: Tensor, *weights: Tensor) -> Tensor:
        return sigma.value(build(*weights).apply(z) + bias)

    start = torch.zeros_like(bias) if z0 is None else z0.detach()
    if isinstance(adjoint, Unrolled) and torch.is_grad_enabled() and any(levels.differentiable(t) for t in inputs):
        if levels.transformed():
            raise InputError("Unrolled() stops on values, which torch.func transforms hide; use adjoint=Implicit().")
        known = factor(*(t.detach() for t in weights))
        map = Inclusion(Factored(build(*weights), known.margin, known.geometry), sigma, bias)
        found = solve(map, start, solver.unrolled(), how.tol, max_steps)
        statistics = Statistics(found.status, found.residual, found.steps)
        report(statistics, on_failure)
        return Solution(found.value, statistics, record)
    equation = Zero(function, how, back, None, build, sigma, lambda b: b, factor, record)
    z, status, residual, steps = _Solved.apply(equation, start, *inputs)  # type: ignore[misc]
    if back is None and not isinstance(adjoint, Unrolled):
        z = truncated(Map(function, inputs, None), z, *adjoint.truncation())
    return Solution(z, Statistics(status, residual, steps), record)


class _Solved(_Solve):
    """The same, with a first-order backward under plain autograd that needs no transform and one product W z."""

    @staticmethod
    def backward(ctx: Any, g: Tensor, *rest: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        levels.refuse_batched(g)
        if torch.is_grad_enabled() or levels.transformed() or has_tangent(g):
            return _Solve.backward(ctx, g, *rest)
        equation, (z, bias, *weights) = ctx.equation, ctx.saved_tensors
        _, start, *needed = ctx.needs_input_grad
        with torch.set_grad_enabled(any(needed[1:])):
            leaves = [t.detach().requires_grad_(need) for t, need in zip(weights, needed[1:], strict=True)]
            Wz = equation.build(*leaves).apply(z)
        J = Diagonal(equation.sigma.derivative(Wz.detach() + bias))
        pulled = replace(equation.pulled(), J=J)
        # a splitting starts at zero: from g, the first product would take it as far as ‖Wᵀ‖
        origin = torch.zeros_like(g) if pulled.how.solver.needs_inclusion else g
        u = pulled.found(origin, g, z, bias, *weights)[0]
        s = J.value(u)  # the derivative with respect to W z + b
        some = [t for t in leaves if t.requires_grad]
        found = iter(torch.autograd.grad(Wz, some, s, allow_unused=True) if some else ())
        grads = [s if needed[0] else None, *(next(found) if need else None for need in needed[1:])]
        return None, torch.zeros_like(z) if start else None, *grads


class Structured:
    """An equation that hands its structure on to its derivatives, and is solved in one call where that is possible."""

    def solve(self, map: Map, start: Tensor) -> Result:
        """The solution of a map of this equation, on plain tensors and without a graph."""
        return settle(map, start, self.how) or super().solve(map, start)  # type: ignore[misc, attr-defined]

    def pulled(self) -> Equation:
        """The adjoint equation."""
        return ZeroPulled.of(self)  # type: ignore[arg-type]

    def pushed(self) -> Equation:
        """The tangent equation."""
        return ZeroPushed.of(self)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Zero(Structured, Root):
    """z = σ(W z + b), with inputs b and the weights.

    Args:
        build: weights → operator, differentiable.
        sigma: σ.
        rows: b as rows (batch, n).
        factor: weights → factored operator.
        record: where the statistics of the adjoint solves go.
    """

    build: Callable[..., Any] = field(default=None)  # type: ignore[assignment]
    sigma: Proximal = field(default=None)  # type: ignore[assignment]
    rows: Callable[[Tensor], Tensor] = field(default=None)  # type: ignore[assignment]
    factor: Callable[..., Factored] = field(default=None)  # type: ignore[assignment]
    record: AdjointRecord | None = None

    root = property(lambda self: self)
    transposed = False

    def map(self, inputs: tuple[Tensor, ...]) -> Inclusion:
        """The inclusion, on plain tensors."""
        bias, *weights = inputs
        return Inclusion(self.factor(*weights), self.sigma, self.rows(bias))

    def many(self, count: int, dims: tuple[int | None, ...], randomness: str) -> Equation:
        """The same for `count` times the batch: one operator for all where the weights are not mapped over."""
        whole = Root.many(self, count, dims, randomness)
        at, *where = dims

        def rows(bias: Tensor) -> Tensor:
            if at is None:
                return self.rows(bias).repeat(count, 1)
            return torch.cat([self.rows(b) for b in bias.unbind(at)])

        def factor(*weights: Tensor) -> Factored:
            if all(d is None for d in where):
                return self.factor(*weights)
            pick = [[t] * count if d is None else t.unbind(d) for t, d in zip(weights, where, strict=True)]
            return stacked([self.factor(*some) for some in zip(*pick, strict=True)])

        return replace(whole, rows=rows, factor=factor)


@dataclass(frozen=True, eq=False)
class _Derived(Structured, Linear):
    """An equation of a derivative: s = J(W s + …) or its transpose, at the root's solution.

    Args:
        J: the slopes there, where they are known already.
    """

    J: Diagonal | None = None

    def done(self, statistics: Statistics) -> None:
        """Remember the statistics; a transform's tensors must not outlive it."""
        if self.root.record is not None and not levels.transformed():
            self.root.record.keep(statistics)
        super().done(statistics)

    @property
    def root(self) -> Zero:
        """The equation whose derivative this is, of whatever order."""
        return self.base.root  # type: ignore[attr-defined]

    def map(self, inputs: tuple[Tensor, ...]) -> Map:
        """The inclusion, or the bare equation for another solver; the root's solution is the last of the states."""
        if not self.how.solver.needs_inclusion:
            return super().map(inputs)
        root = self.root.map(inputs[self.states :])
        J = self.J or root.slope(inputs[self.states - 1])
        return (Cotangent if self.transposed else Tangent)(root.factored, J, inputs[0])

    @property
    def transposed(self) -> bool:
        """Whether Wᵀ stands in the equation."""
        return self.base.transposed  # type: ignore[attr-defined]


class ZeroPushed(_Derived, Pushed):
    """w = M w + t, for the M of the base."""


class ZeroPulled(_Derived, Pulled):
    """u = Mᵀ u + g, for the M of the base."""

    @property
    def transposed(self) -> bool:
        """The other way round than the base."""
        return not self.base.transposed  # type: ignore[attr-defined]


class Stack:
    """Several operators, each for its share of the rows.

    Args:
        parts: operators or resolvents.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts

    def apply(self, z: Tensor) -> Tensor:
        """Each part on its rows."""
        return torch.cat([p.apply(t) for p, t in zip(self.parts, z.chunk(len(self.parts)), strict=True)])

    def adjoint(self, z: Tensor) -> Tensor:
        """The adjoint of each part on its rows."""
        return torch.cat([p.adjoint(t) for p, t in zip(self.parts, z.chunk(len(self.parts)), strict=True)])

    def resolvent(self, alpha: float) -> Resolvent:
        """The resolvent of each part."""
        return Stack([p.resolvent(alpha) for p in self.parts])


def stacked(parts: Sequence[Factored]) -> Factored:
    """Several factored operators as one, whose step suits the least monotone of them."""
    whole = Factored(Stack([p.operator for p in parts]), min(p.margin for p in parts), takes=False)
    whole.lipschitz = lambda like: max(p.lipschitz(like) for p in parts)  # type: ignore[method-assign]
    return whole
