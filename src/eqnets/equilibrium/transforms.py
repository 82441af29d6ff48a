"""The implicit function theorem under torch.func: one Function with explicit inputs, whose backward is itself again.

torch.func.grad, jacrev, jacfwd, jvp, hessian and vmap each wrap tensors; the Function is unwrapped level by level
until `forward` sees plain tensors, so that the loop can look at values. vmap flattens (N, batch) into one batch of the
solver.
Backward solves u = J(z)ᵀu + g, and jvp w = J(z)w + t, as further calls of the same Function: every order follows.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from eqnets.equilibrium import levels
from eqnets.equilibrium.adjoint import Adjoint, Unrolled
from eqnets.equilibrium.failure import report
from eqnets.equilibrium.implicit import ADJOINT, TANGENT, unit_of
from eqnets.equilibrium.loop import Result, solve
from eqnets.equilibrium.maps import Function, Map, Pull, Push
from eqnets.equilibrium.problem import Ambient, How, Problem
from eqnets.equilibrium.solution import AdjointRecord, Statistics
from eqnets.equilibrium.truncated import truncated
from eqnets.errors import InputError


def run(
    problem: Problem, z0: Tensor, how: How, adjoint: Adjoint, back: How | None, ambient: Ambient, record: AdjointRecord
) -> tuple[Tensor, Statistics]:
    """The solve under torch.func transforms.

    Args:
        problem: what to solve.
        z0: (batch, n), the start.
        how: the forward solve.
        adjoint: what derivatives are asked for.
        back: how to solve the adjoint equation, for Implicit.
        ambient: the autocast state.
        record: not used: a transform's tensors must not outlive it.

    Returns:
        The value (batch, n) with its derivatives, and the statistics.

    Raises:
        InputError: Unrolled under these transforms, or f captures a differentiable tensor.
    """
    del record
    if isinstance(adjoint, Unrolled):
        raise InputError("Unrolled() stops on values, which torch.func transforms hide; use adjoint=Implicit().")
    _refuse_captured(problem, z0)
    value = Root(ambient.replay(problem.function), how, back, problem.in_dims)
    z, status, residual, steps = _Solve.apply(value, z0, *problem.inputs)
    if how.batch_dims == 0:
        status, residual, steps = status[0], residual[0], steps[0]
    if back is None:
        z = truncated(Map(problem.function, problem.inputs, None), z, *adjoint.truncation())
    return z, Statistics(status, residual, steps)


@dataclass(frozen=True, eq=False)
class Equation:
    """u = function(u, *inputs), where the first `states` inputs are flat states (batch, n) and the others arguments."""

    function: Function
    how: How
    back: How | None

    states = 0
    what = "the equilibrium z = f(z)"
    scaled = False

    def map(self, inputs: tuple[Tensor, ...]) -> Map:
        """The map for the loop, on plain tensors."""
        return Map(self.function, inputs, None)

    def solve(self, map: Map, start: Tensor) -> Result:
        """The fixed point of a map of this equation, on plain tensors and without a graph."""
        return solve(map, start, self.how.solver, self.how.tol, self.how.max_steps)

    def found(self, start: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The solution for plain inputs: value, status, residual and steps, none of them shared or with a graph."""
        with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False):
            unit = None
            if self.scaled:  # linear in g: solved in units of each sample's g
                unit = unit_of(inputs[0])
                start, inputs = start / unit, (inputs[0] / unit, *inputs[1:])
            found = self.solve(self.map(inputs), start)
            value = found.value.clone() if unit is None else found.value * unit
        self.done(Statistics(found.status, found.residual, found.steps))
        return value, found.status, found.residual.clone(), found.steps

    def many(self, count: int, dims: tuple[int | None, ...], randomness: str) -> Equation:
        """The same equation for `count` times the batch; arguments keep the dimension that is mapped over."""
        raise NotImplementedError

    def done(self, statistics: Statistics) -> None:
        """Apply the failure policy to a finished solve."""
        report(statistics, self.how.on_failure, self.what)

    def pulled(self) -> Equation:
        """The equation u = J(z)ᵀ u + g, for its solution z."""
        return Pulled.of(self)

    def pushed(self) -> Equation:
        """The equation w = J(z) w + t, for its solution z."""
        return Pushed.of(self)


@dataclass(frozen=True, eq=False)
class Root(Equation):
    """z = f(z, *args)."""

    in_dims: list[int | None] | None = None

    def map(self, inputs: tuple[Tensor, ...]) -> Map:
        """The map for the loop, on plain tensors."""
        return Map(self.function, inputs, self.in_dims)

    def many(self, count: int, dims: tuple[int | None, ...], randomness: str) -> Equation:
        """The same with f mapped over N, on (N·batch, n)."""
        mapped = torch.func.vmap(self.function, in_dims=(0, *dims), randomness=randomness)

        def function(z: Tensor, *inputs: Tensor) -> Tensor:
            return mapped(z.reshape(count, -1, z.shape[1]), *inputs).reshape(z.shape)

        return replace(self, function=function, in_dims=None)


@dataclass(frozen=True, eq=False)
class Linear(Equation):
    """An equation that is linear in its solution; inputs are (g, z, *inputs of the base)."""

    base: Equation

    scaled = True
    kind = Pull

    @property
    def states(self) -> int:  # type: ignore[override]
        """Two, g and z, more than those of the base."""
        return self.base.states + 2

    def map(self, inputs: tuple[Tensor, ...]) -> Map:
        """The map for the loop: the base is evaluated once, and its graph reused."""
        g, z, *rest = inputs
        base = self.base.map(tuple(rest)) if isinstance(self.base, Root) else Map(self.base.function, rest, None)
        return self.kind(base, *base.graph(z), g)

    def many(self, count: int, dims: tuple[int | None, ...], randomness: str) -> Equation:
        """The same kind of equation over the mapped base."""
        return self.of(self.base.many(count, dims, randomness))

    @classmethod
    def of(cls, base: Equation) -> Linear:
        """The equation over a base."""
        assert base.back is not None
        return cls(cls.written(base), base.back, base.back, base)

    @staticmethod
    def written(base: Equation) -> Function:
        """(u, g, z, *inputs) ↦ the right-hand side, in operations that torch.func can differentiate."""
        raise NotImplementedError


class Pulled(Linear):
    """u = J(z)ᵀ u + g."""

    what = ADJOINT

    @staticmethod
    def written(base: Equation) -> Function:
        """(u, g, z, *inputs) ↦ J(z)ᵀ u + g."""

        def function(u: Tensor, g: Tensor, z: Tensor, *inputs: Tensor) -> Tensor:
            _, pull = levels.vjp(lambda s: base.function(s, *inputs), z)
            return pull(u)[0] + g

        return function


class Pushed(Linear):
    """w = J(z) w + t."""

    what = TANGENT
    kind = Push  # type: ignore[assignment]

    @staticmethod
    def written(base: Equation) -> Function:
        """(w, t, z, *inputs) ↦ J(z) w + t, where J w is the derivative of v ↦ Jᵀv."""

        def function(w: Tensor, t: Tensor, z: Tensor, *inputs: Tensor) -> Tensor:
            _, pull = levels.vjp(lambda s: base.function(s, *inputs), z)
            _, push = levels.vjp(lambda v: pull(v)[0], torch.zeros_like(z))
            return push(w)[0] + t

        return function


class _Solve(torch.autograd.Function):
    """(equation, start, *inputs) → value, status, residual, steps."""

    @staticmethod
    def forward(equation: Equation, start: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return equation.found(start, *inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.equation, _, *rest = inputs
        ctx.mark_non_differentiable(*(output[1:] if ctx.equation.back is not None else output))
        ctx.save_for_backward(output[0], *rest)
        ctx.save_for_forward(output[0], *rest)

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        levels.refuse_batched(g)
        g, z, *inputs = levels.alive(g, *ctx.saved_tensors)
        u = _Solve.apply(ctx.equation.pulled(), g, g, z, *inputs)[0]
        chosen = [i for i, t in enumerate(inputs) if ctx.needs_input_grad[2 + i]]
        grads: list[Tensor | None] = [None] * len(inputs)
        if chosen:
            _, pull = levels.vjp(_of(ctx.equation, z, inputs, chosen), *(inputs[i] for i in chosen))
            for i, grad in zip(chosen, pull(u), strict=True):
                grads[i] = grad
        return None, torch.zeros_like(z) if ctx.needs_input_grad[1] else None, *grads

    @staticmethod
    def jvp(ctx: Any, _equation: None, _start: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # noqa: E501
        equation, chosen = ctx.equation, [i for i, t in enumerate(tangents) if t is not None]
        if not chosen or equation.back is None:
            (z, *_) = ctx.saved_tensors
            return torch.zeros_like(z) if equation.back is not None else None, None, None, None

        def tangent(z: Tensor, *rest: Tensor) -> Tensor:
            inputs, given = list(rest[: -len(chosen)]), dict(zip(chosen, rest[-len(chosen) :], strict=True))
            some = [given.get(i) for i in range(len(inputs))]
            (t,) = levels.push(lambda *inputs: (equation.function(z, *inputs),), inputs, some)
            return _Solve.apply(equation.pushed(), t, t, z, *inputs)[0]

        saved, given = levels.alive(*ctx.saved_tensors), [t for t in tangents if t is not None]
        return levels.one_level_down(tangent, *saved, *given), None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], equation: Equation, start: Tensor, *inputs: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        count = info.batch_size
        dims = in_dims[2:]

        def rows(t: Tensor, dim: int | None) -> Tensor:  # (N, batch, n) as (N·batch, n)
            t = t.expand(count, *t.shape) if dim is None else t.movedim(dim, 0)
            return t.reshape(-1, t.shape[-1])

        flat = [rows(t, d) if i < equation.states else t for i, (t, d) in enumerate(zip(inputs, dims, strict=True))]
        many = equation.many(count, dims[equation.states :], info.randomness)
        out = _Solve.apply(many, rows(start, in_dims[1]), *flat)
        return tuple(t.reshape(count, -1, *t.shape[1:]) for t in out), (0, 0, 0, 0)


# torch asks for it at every call, and takes longer to work it out than a small solve takes
_Solve.forward.__signature__ = inspect.signature(_Solve.forward)  # type: ignore[attr-defined]


def _of(equation: Equation, z: Tensor, inputs: list[Tensor], chosen: list[int]) -> Function:
    """The chosen inputs ↦ f(z, *inputs)."""

    def function(*some: Tensor) -> Tensor:
        whole = list(inputs)
        for i, t in zip(chosen, some, strict=True):
            whole[i] = t
        return equation.function(z, *whole)

    return function


def _refuse_captured(problem: Problem, z0: Tensor) -> None:
    """Evaluate f on plain stand-ins for all its explicit inputs: what still is differentiable was captured."""
    y = problem.first(levels.plain(z0), *(levels.plain(t) for t in problem.inputs))
    if levels.differentiable(y):
        raise InputError(
            "f closes over a tensor that torch.func differentiates or maps, and that would be lost silently; pass it "
            "through *args, or make f an nn.Module whose parameter it is (or detach it)."
        )
