"""The verb: find z = f(z, …) per sample, and differentiate through it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from eqnets.equilibrium import levels, transforms
from eqnets.equilibrium.adjoint import Adjoint, Implicit, Unrolled
from eqnets.equilibrium.auto import Auto
from eqnets.equilibrium.failure import report
from eqnets.equilibrium.implicit import System, attach, has_tangent
from eqnets.equilibrium.layout import layout_of
from eqnets.equilibrium.loop import solve
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.options import check_options
from eqnets.equilibrium.problem import Ambient, How, Problem, pose
from eqnets.equilibrium.solution import AdjointRecord, Solution, Statistics, statistics_of
from eqnets.equilibrium.solver import Solver
from eqnets.equilibrium.tolerance import tolerance
from eqnets.equilibrium.truncated import truncated
from eqnets.errors import InputError

AUTO, IMPLICIT = Auto(), Implicit()


def fixed_point(
    f: Callable[..., Any], z0: Any, *args: Any, in_dims: Any = None, batch_dims: int = 1, solver: Solver = AUTO,
    adjoint: Adjoint = IMPLICIT, rtol: float | None = None, atol: float | None = None, max_steps: int = 200,
    on_failure: str = "warn",
) -> Solution:  # fmt: skip
    """Find an equilibrium z = f(z, *args) for every sample of a batch, with derivatives.

    A sample has converged when the RMS over its state of (f(z) − z)/(atol + rtol |f(z)|) is below 1. Each sample is
    judged, stopped and reported by itself. The value is f(z) at its best finite iterate, and does not depend on the
    adjoint. The state is kept in at least float32, whatever autocast does inside f.

    Args:
        f: (z, *args) → z, in the structure, shapes and dtypes of z. Samples must not mix (else use batch_dims=0).
        z0: the start: a tensor or a pytree of tensors, real floating point. Its gradient is zero: the equilibrium does
            not depend on it.
        args: what else f takes; tensors in pytrees are differentiated. f may also close over tensors: plain autograd
            differentiates these exactly too, but torch.func transforms need them here, or as parameters of a module f.
        in_dims: the batch dimension of each of args as for torch.func.vmap, e.g. (0, None). Then finished samples are
            dropped from the batch and cost nothing any more. None: every sample is evaluated until the last is done.
        batch_dims: 1, the first dimension of every leaf of z0 is the batch; 0, z0 is one sample.
        solver: how to find it.
        adjoint: how to differentiate it.
        rtol: relative tolerance; None: 1e-9 in float64, 1e-4 in float32, 10 eps in half precision or under autocast.
        atol: absolute tolerance; None: 1e-11 in float64, 1e-5 in float32, 10 eps in half precision or under autocast.
        max_steps: the most evaluations of f for a sample.
        on_failure: "warn", "raise" or "ignore"; for the backward solve too.

    Returns:
        The solution.

    Raises:
        InputError: a wrong structure, shape, dtype or option; f captures a differentiable tensor under torch.func.
        TypeError: the solver is a splitting, which needs a model such as MonotoneDEQ.
        NotConverged: a sample failed, and on_failure="raise".
    """  # noqa: DOC502
    # The loop looks at values: hidden from torch.compile, it is one graph break in a compiled model. The compiler takes
    # a second to import, so this is done only where somebody else has imported it.
    run: Any = torch.compiler.disable(_fixed_point) if "torch._dynamo" in sys.modules else _fixed_point
    return run(f, z0, args, in_dims, batch_dims, solver, adjoint, rtol, atol, max_steps, on_failure)


def _fixed_point(
    f: Callable[..., Any], z0: Any, args: tuple[Any, ...], in_dims: Any, batch_dims: int, solver: Solver,
    adjoint: Adjoint, rtol: float | None, atol: float | None, max_steps: int, on_failure: str,
) -> Solution:  # fmt: skip
    if not callable(f):
        raise InputError(f"f must be callable, f(z, *args) -> z; got {type(f).__name__}.")
    check_options(solver, adjoint, max_steps, on_failure)
    layout = layout_of(z0, batch_dims)
    start = layout.flatten(z0)
    ambient = Ambient(start.device.type)
    how = How(solver, tolerance(rtol, atol, ambient.compute_dtype(layout.narrowest)), max_steps, on_failure, batch_dims)
    back = how.of_adjoint(adjoint) if isinstance(adjoint, Implicit) else None
    record = AdjointRecord(type(adjoint).__name__, adjoint.exact)
    transformed = levels.transformed()
    problem = pose(f, layout, args, in_dims, lift=transformed)
    run = transforms.run if transformed else _run
    value, statistics = run(problem, start, how, adjoint, back, ambient, record)
    return Solution(layout.unflatten(value), statistics, record)


def _run(
    problem: Problem, z0: Tensor, how: How, adjoint: Adjoint, back: How | None, ambient: Ambient, record: AdjointRecord
) -> tuple[Tensor, Statistics]:
    """The solve under plain autograd, or without any."""
    map = Map(problem.function, problem.inputs, problem.in_dims, problem.exact)
    start = z0.detach()
    first = problem.first(start)  # with its graph: it shows whether f captures something differentiable
    tracked = first.requires_grad or z0.requires_grad or has_tangent(first)
    tracked = tracked and (torch.is_grad_enabled() or has_tangent(first))
    if isinstance(adjoint, Unrolled) and tracked:
        found = solve(map, start, how.solver.unrolled(), how.tol, how.max_steps, first)
    else:
        with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False):
            found = solve(map, start, how.solver, how.tol, how.max_steps, first.detach())
    statistics = statistics_of(found.status, found.residual, found.steps, how.batch_dims)
    report(statistics, how.on_failure)
    value = found.value
    if not tracked or isinstance(adjoint, Unrolled):
        return value, statistics
    if back is not None:
        system = System(
            ambient.replay(problem.function),
            ambient.replay(problem.exact),
            problem.inputs,
            problem.in_dims,
            back,
            record,
        )
        return attach(system, value, z0 if z0.requires_grad else None), statistics
    return truncated(map, value, *adjoint.truncation()), statistics
