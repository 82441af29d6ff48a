"""A fixed-point problem as data: one function of flat states and tensors, and how to solve it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten

from eqnets.equilibrium.adjoint import Implicit
from eqnets.equilibrium.layout import Layout
from eqnets.equilibrium.maps import MISMATCH, Function
from eqnets.equilibrium.solver import Solver
from eqnets.equilibrium.tolerance import Tolerance
from eqnets.errors import InputError


@dataclass(frozen=True)
class How:
    """How to solve, forward or backward.

    Args:
        solver: the solver.
        tol: the tolerance.
        max_steps: the most evaluations.
        on_failure: the failure policy.
        batch_dims: of the caller's state, for the shape of the statistics.
    """

    solver: Solver
    tol: Tolerance
    max_steps: int
    on_failure: str
    batch_dims: int

    def of_adjoint(self, adjoint: Implicit) -> How:
        """How to solve the adjoint equation: what the adjoint asks for, else what the forward solve does.

        Args:
            adjoint: its options.

        Returns:
            The same policy with the adjoint's solver, tolerance and steps.
        """
        tol = Tolerance(
            self.tol.rtol if adjoint.rtol is None else adjoint.rtol,
            self.tol.atol if adjoint.atol is None else adjoint.atol,
        )
        return How(adjoint.solver, tol, adjoint.max_steps or self.max_steps, self.on_failure, self.batch_dims)


@dataclass(frozen=True, eq=False)
class Problem:
    """z = function(z, *inputs) on flat states.

    Args:
        function: (z (batch, n), *inputs) → (batch, n).
        inputs: the tensors among the arguments of f (and, lifted, of the module f).
        in_dims: the batch dimension of each input, or None for one without; None as a whole: unknown.
        layout: of the state.
        call: the same with the output as f returns it.
        exact: the same function without torch.compile, for all that is differentiated more than once.
    """

    function: Function
    inputs: list[Tensor]
    in_dims: list[int | None] | None
    layout: Layout
    call: Callable[..., Any]
    exact: Function

    def first(self, z: Tensor, *inputs: Tensor) -> Tensor:
        """f(z) for the first time: the output is checked.

        Args:
            z: (batch, n).
            inputs: in place of the problem's own.

        Returns:
            (batch, n).

        Raises:
            InputError: f cannot take z0 with these arguments: torch refuses their shapes or dtypes; or f changes them.
            RuntimeError: f raised another one, which passes as it is.
        """
        given = [z, *(inputs or self.inputs)]
        versions = list(map(_version, given))
        try:
            out = self.call(*given)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            if not MISMATCH.search(reason):
                raise
            state = ", ".join(map(_kind, tree_flatten(self.layout.unflatten(z))[0]))
            others = ", ".join(map(_kind, self.inputs)) or "none"
            raise InputError(
                f"f cannot be evaluated at z0: {reason}. z0 is {state}; the tensors among f's arguments are {others}. "
                "Make their shapes and dtypes agree."
            ) from error
        if versions != list(map(_version, given)):
            what = "z" if versions[0] != _version(z) else "a tensor among its arguments"
            raise InputError(
                f"f changes {what} in place, so that every evaluation is one of another function; return a new tensor "
                "(z.relu() for z.relu_(), ReLU() for ReLU(inplace=True), x = x + … for x += …)."
            )
        self.layout.check(out)
        return self.layout.flatten(out)


def _version(tensor: Tensor) -> int:
    """How often a tensor has been written to; torch does not count it for the counters and tensors of inference."""
    return 0 if tensor.is_inference() or not tensor.is_floating_point() else tensor._version


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def pose(f: Callable[..., Any], layout: Layout, args: tuple[Any, ...], in_dims: Any, lift: bool) -> Problem:
    """Gather the tensors of a call of f into explicit inputs.

    Args:
        f: (z, *args) → z.
        layout: of z.
        args: whatever f takes besides z; tensors may be in pytrees.
        in_dims: as torch.func.vmap's, for args; None: unknown.
        lift: whether the parameters and buffers of a module f become inputs too.

    Returns:
        The problem.

    Raises:
        InputError: in_dims does not fit args, or a batched argument has another batch than z0.
    """  # noqa: DOC502
    leaves, spec = tree_flatten(args)
    where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    inputs: list[Tensor] = [leaves[i] for i in where]
    flat_dims = None if in_dims is None else _dims(in_dims, args, leaves, layout)
    dims = None if flat_dims is None else [flat_dims[i] for i in where]
    plain = len(where) == len(args) == len(leaves)  # every argument is a tensor: nothing to rebuild

    state: dict[str, Tensor] = {}
    eager = uncompiled(f)
    f = eager if lift else f
    if lift and isinstance(f, torch.nn.Module):
        state = {**dict(f.named_parameters()), **dict(f.named_buffers())}
    names, own = list(state), list(state.values())
    count = len(inputs)
    rebuild = _rebuilder(leaves, where, spec)

    def call(z: Tensor, *tensors: Tensor) -> Any:
        rest = tensors[:count] if plain else rebuild(tensors[:count])
        if own:
            lifted = dict(zip(names, tensors[count:], strict=True))
            return torch.func.functional_call(f, lifted, (layout.unflatten(z), *rest))  # type: ignore[arg-type]
        return f(layout.unflatten(z), *rest)

    def function(z: Tensor, *tensors: Tensor) -> Tensor:
        return layout.flatten(call(z, *tensors))

    def exact(z: Tensor, *tensors: Tensor) -> Tensor:
        return layout.flatten(eager(layout.unflatten(z), *(tensors if plain else rebuild(tensors))))

    all_dims = None if dims is None else dims + [None] * len(own)
    return Problem(function, inputs + own, all_dims, layout, call, function if eager is f else exact)


def uncompiled(f: Callable[..., Any]) -> Callable[..., Any]:
    """What torch.compile wrapped, or f itself: a compiled function can be differentiated only once.

    Args:
        f: a function or a module.

    Returns:
        The eager one.
    """
    return getattr(f, "_orig_mod", None) or getattr(f, "_torchdynamo_orig_callable", None) or f


def _rebuilder(leaves: list[Any], where: Sequence[int], spec: Any) -> Callable[[Sequence[Tensor]], Any]:
    constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def rebuild(tensors: Sequence[Tensor]) -> Any:
        whole = list(constants)
        for i, tensor in zip(where, tensors, strict=True):
            whole[i] = tensor
        return tree_unflatten(whole, spec)

    return rebuild


def _dims(in_dims: Any, args: tuple[Any, ...], leaves: list[Any], layout: Layout) -> list[int | None]:
    if layout.batch_dims == 0:
        raise InputError("in_dims needs a batch; with batch_dims=0 there is one sample, so leave in_dims out.")
    if isinstance(in_dims, list):
        in_dims = tuple(in_dims)
    if not isinstance(in_dims, tuple) or len(in_dims) != len(args):
        raise InputError(
            f"in_dims must be a tuple with one entry for each of the {len(args)} arguments; got {in_dims!r}."
        )
    alone = len(args) == len(leaves) and all(map(operator.is_, args, leaves))  # no containers: nothing to broadcast
    flat = list(in_dims) if alone else _broadcast_to_and_flatten(in_dims, tree_flatten(args)[1])
    if flat is None:
        raise InputError(f"in_dims={in_dims!r} does not fit the structure of the arguments.")
    for dim, leaf in zip(flat, leaves, strict=True):
        if dim is None:
            continue
        if not isinstance(leaf, Tensor) or not isinstance(dim, int) or not -leaf.ndim <= dim < leaf.ndim:
            raise InputError(
                f"in_dims asks for dimension {dim!r} of {type(leaf).__name__}; use None for what has no batch."
            )
        if leaf.shape[dim] != layout.batch:
            raise InputError(
                f"in_dims says that dimension {dim} of an argument {tuple(leaf.shape)} is the batch, but z0 has "
                f"{layout.batch} samples."
            )
    return flat


class Ambient:
    """The autocast state at the time of the forward solve, to evaluate f again in the backward one as it was then.

    Args:
        device: the device type of the state.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.state = self.now()

    def now(self) -> tuple[bool, torch.dtype, bool]:
        """The current state: enabled, dtype, cache."""
        return (
            torch.is_autocast_enabled(self.device), torch.get_autocast_dtype(self.device),
            torch.is_autocast_cache_enabled(),
        )  # fmt: skip

    def compute_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """What f computes in.

        Args:
            dtype: of the caller's state.

        Returns:
            The autocast dtype where autocast is on, else `dtype`.
        """
        return self.state[1] if self.state[0] else dtype

    def replay(self, function: Function) -> Function:
        """The function, evaluated under this autocast state wherever it is called.

        Args:
            function: (z, *inputs) → z.

        Returns:
            A function of the same arguments.
        """

        def replayed(z: Tensor, *inputs: Tensor) -> Tensor:
            enabled, dtype, cache = self.state
            same = self.now()[0] == enabled and (not enabled or self.now() == self.state)
            with nullcontext() if same else torch.autocast(self.device, dtype, enabled, cache):
                return function(z, *inputs)

        return replayed
