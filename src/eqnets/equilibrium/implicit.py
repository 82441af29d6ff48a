"""The implicit function theorem under plain autograd: exact derivatives of every order, captured tensors included.

The solve leaves no graph. f is then evaluated once at the solution, y = f(z, θ), on detached stand-ins, and one node
whose inputs are the arguments and everything f captures carries the derivatives: backward solves u = J(z)ᵀu + g by
products with the graph of y, and returns ∂f/∂θᵀ u. u is again a fixed point, of a function of (g, z, θ), where z is the
node's own output: a differentiable backward is therefore the same node once more, and every order follows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch  # type: ignore[attr-defined]
from torch.autograd import forward_ad

from eqnets.equilibrium import levels
from eqnets.equilibrium.capture import Substitute, edge, hooks_off, leaves_behind, sequence_number, walk
from eqnets.equilibrium.failure import report
from eqnets.equilibrium.loop import solve
from eqnets.equilibrium.maps import Function, Map, Pull, Push
from eqnets.equilibrium.problem import How
from eqnets.equilibrium.solution import AdjointRecord, statistics_of
from eqnets.errors import InputError

ADJOINT, TANGENT = "the solution of the adjoint equation u = Jᵀu + g", "the solution of the tangent equation w = Jw + t"


@dataclass(eq=False)
class System:
    """A fixed point z = function(z, *inputs) that has been found, and how to solve its adjoint equation.

    Args:
        function: (z, *inputs) → z; it may capture tensors.
        exact: the same function for what is differentiated twice; another one only where `function` is compiled.
        inputs: its explicit tensors, attached to the graph.
        in_dims: their batch dimensions, or None.
        how: how to solve the adjoint equation.
        record: where the statistics of the adjoint solve go.
    """

    function: Function
    exact: Function
    inputs: Sequence[Tensor]
    in_dims: Sequence[int | None] | None
    how: How
    record: AdjointRecord | None = None
    captured: list[Tensor] = field(default_factory=list)  # leaves that the function uses by itself
    leaf: Tensor | None = None
    y: Tensor | None = None
    slots: list[Tensor] = field(default_factory=list)

    def evaluate(self, value: Tensor) -> None:
        """Evaluate f at the solution, on detached stand-ins, and find what it captures."""
        mark = sequence_number()
        with torch.enable_grad():
            self.leaf = value.detach().requires_grad_()
            self.slots = [t.detach().requires_grad_(t.requires_grad) for t in self.inputs]
            self.y = self.function(self.leaf, *self.slots)
        leaves, older = walk(self.y, mark)
        if older:
            self._explicit(older)
            leaves, older = walk(self.y, mark)
        mine = {id(t) for t in (self.leaf, *self.slots)}
        self.captured = [t for t in leaves if id(t) not in mine]
        if older:
            known = mine | {id(t) for t in self.captured}
            self.captured += [t for t in leaves_behind(older) if id(t) not in known]

    def _explicit(self, older: set[Any]) -> None:
        """Captured results of earlier operations become inputs: evaluate again with stand-ins for them."""
        found: dict[Any, tuple[Tensor, Tensor]] = {}

        def stand_in(t: Tensor) -> Tensor | None:
            key = edge(t)
            if key in older and key not in found:
                found[key] = (t, t.detach().requires_grad_())
            return found[key][1] if key in found else None

        with torch.enable_grad(), Substitute(stand_in):
            self.y = self.function(self.leaf, *self.slots)
        keys, count = list(found), len(self.inputs)
        self.inputs = [*self.inputs, *(found[key][0] for key in keys)]
        self.slots += [found[key][1] for key in keys]
        self.in_dims = None

        def with_places(bare: Function) -> Function:
            def function(z: Tensor, *inputs: Tensor) -> Tensor:
                places = dict(zip(keys, inputs[count:], strict=True))
                with Substitute(lambda t: places.get(edge(t))):
                    return bare(z, *inputs[:count])

            return function

        self.function, self.exact = with_places(self.function), with_places(self.exact)

    def solve(self, kind: type[Pull] | type[Push], g: Tensor, what: str) -> Tensor:
        """Solve u = M u + g without a graph, in units of each sample's g: all of it is linear in g."""
        assert self.leaf is not None and self.y is not None
        g, how = g.detach(), self.how
        unit = unit_of(g)
        map = Map(self.function, [t.detach() for t in self.inputs], self.in_dims, self.exact)
        with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False):
            scaled = g / unit
            found = solve(kind(map, self.leaf, self.y, scaled), scaled, how.solver, how.tol, how.max_steps)
            u = found.value * unit
        statistics = statistics_of(found.status, found.residual, found.steps, how.batch_dims)
        if self.record is not None:
            self.record.keep(statistics)
        report(statistics, how.on_failure, what)
        return u


def attach(system: System, value: Tensor, z0: Tensor | None = None) -> Tensor:
    """Give a fixed point its derivatives.

    Args:
        system: the fixed point problem.
        value: (batch, n), its solution.
        z0: the start, if it has a graph: the fixed point does not depend on it, so its gradient is zero (and not None).

    Returns:
        value, with a graph.
    """
    system.evaluate(value)
    probe = None
    if levels.forward_mode():  # a dual f(z, θ) at the plain z carries the tangents of all that f uses
        probe = system.function(value.detach(), *system.inputs)
    return _Node.apply(system, value.detach(), probe, z0, len(system.inputs), *system.inputs, *system.captured)


class _Node(torch.autograd.Function):
    """(inputs, captured) → value."""

    @staticmethod
    def forward(system: System, value: Tensor, probe: Any, z0: Any, count: int, *tensors: Tensor) -> Tensor:
        del system, probe, z0, count, tensors
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        system, _, _, _, ctx.count, *tensors = inputs
        ctx.system = system
        ctx.set_materialize_grads(False)
        # y is saved, not kept: its graph is freed with this node's buffers, and retain_graph keeps it
        ctx.save_for_backward(output, system.y, *tensors)
        ctx.save_for_forward(output)
        system.y = None

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        nothing = (None,) * 5
        if g is None:
            return nothing + (None,) * (len(ctx.needs_input_grad) - 5)
        if _functorch.is_functorch_wrapped_tensor(g) or _functorch.is_legacy_batchedtensor(g):
            raise InputError(levels.BATCHED)
        system, count = ctx.system, ctx.count
        z, y, *tensors = ctx.saved_tensors
        if y.grad_fn is None:  # saved-tensor hooks (checkpointing, offloading) keep values, not graphs
            y, slots = _again(system, z, tensors[:count])
        else:
            slots = system.slots
        system.y = y
        wanted = [i for i, need in enumerate(ctx.needs_input_grad[5:]) if need]
        try:
            u = system.solve(Pull, g, ADJOINT)
        finally:
            system.y = None
        start = torch.zeros_like(z) if ctx.needs_input_grad[3] else None
        if torch.is_grad_enabled() or has_tangent(g) or has_tangent(z):
            grads = _differentiable(system, u, g, z, tensors, count, wanted)
        else:
            targets = [*slots, *tensors[count:]]
            with hooks_off(tensors[count:]):
                grads = _grad(y, [targets[i] for i in wanted], u, create_graph=False)
        full: list[Tensor | None] = [None] * len(tensors)
        for i, grad in zip(wanted, grads, strict=True):
            full[i] = grad
        return None, None, None, start, None, *full

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor | None:
        (z,) = ctx.saved_tensors
        t = tangents[2]
        if t is None:
            return torch.zeros_like(z)
        system = ctx.system
        with torch.enable_grad():
            system.y = system.exact(system.leaf, *system.slots)
        try:
            w = system.solve(Push, t, TANGENT)
        finally:
            system.y = None
        return _ForwardOnly.apply(w, t) if torch.is_grad_enabled() else w


# torch asks for it in every call, and it takes longer to find than the call
_Node.forward.__signature__ = inspect.signature(_Node.forward)  # type: ignore[attr-defined]


def _again(system: System, z: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    with torch.enable_grad():
        system.leaf = z.detach().requires_grad_()
        system.slots = [t.detach().requires_grad_(t.requires_grad) for t in inputs]
        return system.function(system.leaf, *system.slots), system.slots


def _differentiable(
    system: System, u: Tensor, g: Tensor, z: Tensor, tensors: list[Tensor], count: int, wanted: list[int]
) -> list[Tensor | None]:
    """∂f/∂θᵀ u with a graph: u as a fixed point of its own, z as the node's output."""
    inputs, captured = tensors[:count], tensors[count:]

    def pulled(v: Tensor, g: Tensor, z: Tensor, *inputs: Tensor) -> Tensor:
        with torch.enable_grad(), _gate(z, *inputs) as (slot, *slots):
            y = system.exact(slot, *slots)
            (product,) = _grad(y, [slot], v, create_graph=True)
        return g if product is None else product + g

    with torch.enable_grad():
        u = attach(System(pulled, pulled, [g, z, *inputs], None, system.how), u)
        with _gate(z, *inputs) as (slot, *slots):
            y = system.exact(slot, *slots)
            targets = [*slots, *captured]
            with hooks_off(captured):
                return _grad(y, [targets[i] for i in wanted], u, create_graph=True)


def _grad(y: Tensor, targets: list[Tensor], u: Tensor, create_graph: bool) -> list[Tensor | None]:
    """Products with the graph of y; None where y does not depend on a target."""
    if not y.requires_grad or not targets:
        return [None] * len(targets)
    return list(torch.autograd.grad(y, targets, u, retain_graph=True, create_graph=create_graph, allow_unused=True))


class _Gate:
    """Whether derivatives pass through the slots of one evaluation."""

    closed = True


class _Slot(torch.autograd.Function):
    """The identity, with a gate: a derivative with respect to the slot must not go on to what stands behind it."""

    @staticmethod
    def forward(gate: _Gate, t: Tensor) -> Tensor:
        return t.view_as(t)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.gate = inputs[0]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> tuple[None, Tensor | None]:  # type: ignore[override]
        return None, None if ctx.gate.closed else g

    @staticmethod
    def jvp(ctx: Any, _gate: None, t: Tensor) -> Tensor:  # type: ignore[override]
        return t.view_as(t)


@contextmanager
def _gate(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Slots for tensors; closed inside the block, open after it."""
    gate = _Gate()
    try:
        yield [_Slot.apply(gate, t) if t.is_floating_point() or t.is_complex() else t for t in tensors]
    finally:
        gate.closed = False


class _ForwardOnly(torch.autograd.Function):
    """The identity on a tangent whose own gradient is not available."""

    @staticmethod
    def forward(w: Tensor, t: Tensor) -> Tensor:
        return w.view_as(w)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, None]:  # type: ignore[override]
        raise InputError(
            "the reverse-mode derivative of a forward-mode tangent of torch.autograd.forward_ad is not available; use "
            "torch.func.jvp inside torch.func.grad."
        )


def unit_of(g: Tensor) -> Tensor:
    """The size of each sample's right-hand side.

    Args:
        g: (batch, n).

    Returns:
        (batch, 1): its RMS, or 1 where that is zero or not finite.
    """
    size = torch.linalg.vector_norm(g, dim=1, keepdim=True) / math.sqrt(max(g.shape[1], 1))
    return torch.where((size > 0) & (size < torch.inf), size, 1.0)


def has_tangent(t: Tensor) -> bool:
    """Whether a tensor carries a forward-mode tangent.

    Args:
        t: any tensor.

    Returns:
        Whether it does.
    """
    return levels.forward_mode() and forward_ad.unpack_dual(t).tangent is not None
