"""The deep equilibrium model: a layer whose output is the equilibrium z = cell(z, x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_map, tree_unflatten

from eqnets.equilibrium import Adjoint, Auto, Implicit, Solution, Solver, fixed_point
from eqnets.equilibrium.layout import check_batch_dims
from eqnets.equilibrium.options import check_options
from eqnets.errors import InputError
from eqnets.models.frozen import Frozen
from eqnets.models.guard import check_cell
from eqnets.models.guess import check_init, start

AUTO, IMPLICIT = Auto(), Implicit()


class DEQ(nn.Module):
    """z = cell(z, x), found by a solver and differentiated exactly by default. Source: Bai et al., NeurIPS 2019.

    Parameters of the cell, the input, and whatever a function `cell` closes over get exact derivatives of every order,
    in train and eval mode. During a solve the cell is one fixed function: weights under
    `torch.nn.utils.parametrizations` are evaluated once (spectral_norm makes one power iteration per solve),
    `FixedDropout` keeps its masks, and layers that change between evaluations (BatchNorm in train mode, plain Dropout)
    are refused. The module keeps no state of a solve.

    Learned guess: the equilibrium does not depend on where the solver starts, so a callable `init` gets a gradient of
    zero from it. Train it by an auxiliary loss: `z0 = deq.guess(x); sol = deq.solve(x, z0);
    loss = task(sol.value) + mse(z0, sol.value.detach())`.

    Jacobian penalty: `loss = task(sol.value) + c * jacobian_norm(deq.cell, sol.value, x).mean()`; under FixedDropout it
    is that of another mask.

    torch.compile of the cell speeds it up; a compiled model has one break in its graph, at the solve.

    Args:
        cell: a module or callable (z, x) → z, which treats every sample by itself (else use batch_dims=0).
        init: features n (zeros of (batch, n)), a shape (zeros of (batch, *shape)), a tuple, list or dict of these, or a
            callable x → z0.
        solver: how to find the equilibrium.
        adjoint: how to differentiate it.
        rtol: relative tolerance; None is the default of the dtype.
        atol: absolute tolerance; None is the default of the dtype.
        max_steps: the most evaluations of the cell for a sample.
        on_failure: "warn", "raise" or "ignore", for the backward solve too.
        batch_dims: 1, the first dimension is the batch; 0, the whole input is one sample (a graph, say).
        in_dims: the batch dimension of x, or of each leaf of x in its structure (None: no batch), by which finished
            samples are dropped and cost nothing. None as a whole: they stay. "auto": 0 for a module; None for any other
            callable, which may close over a batch, and wherever a FixedDropout is active.

    Raises:
        InputError: a cell that cannot be called, an init that is no start, an option of another kind.
        TypeError: the solver is a splitting, which needs a model such as MonotoneDEQ.
    """  # noqa: DOC502

    def __init__(
        self, cell: Callable[..., Any], init: Any, *, solver: Solver = AUTO, adjoint: Adjoint = IMPLICIT,
        rtol: float | None = None, atol: float | None = None, max_steps: int = 200, on_failure: str = "warn",
        batch_dims: int = 1, in_dims: Any = "auto",
    ) -> None:  # fmt: skip
        super().__init__()
        if not callable(cell):
            raise InputError(f"cell must be a module or a function (z, x) -> z; got {type(cell).__name__}.")
        check_init(init)
        check_options(solver, adjoint, max_steps, on_failure)
        check_batch_dims(batch_dims)
        self.cell, self.init = cell, init
        self.solver, self.adjoint = solver, adjoint
        self.rtol, self.atol, self.max_steps, self.on_failure = rtol, atol, max_steps, on_failure
        self.batch_dims, self.in_dims = batch_dims, in_dims

    def forward(self, x: Any, z0: Any = None) -> Any:
        """The equilibrium.

        Args:
            x: the input, a tensor or a pytree of tensors with the batch first.
            z0: where to start, for example the last solution of a stream; None: from `init`. Used by value only.

        Returns:
            z, with the structure and dtype of the start.

        Raises:
            InputError: a wrong structure, shape or dtype, or a cell that changes during a solve.
            NotConverged: a sample failed, and on_failure="raise".
        """  # noqa: DOC502
        return self.solve(x, z0).value

    def solve(self, x: Any, z0: Any = None) -> Solution:
        """The equilibrium and what is known about it.

        Args:
            x: the input, a tensor or a pytree of tensors with the batch first.
            z0: where to start; None: from `init`. Used by value only.

        Returns:
            The solution: value, and status, residual and steps per sample.

        Raises:
            InputError: a wrong structure, shape or dtype, or a cell that changes during a solve.
            NotConverged: a sample failed, and on_failure="raise".
        """  # noqa: DOC502
        if isinstance(self.cell, nn.Module):
            check_cell(self.cell)
        # detached: a stream would otherwise drag the graphs of all its past behind it
        z0 = self.guess(x) if z0 is None else tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, z0)
        f = Frozen(self.cell)
        dims = self._dims(x, z0, f)
        return fixed_point(
            f, z0, x, *f.tensors, in_dims=None if dims is None else (dims, *[None] * len(f.tensors)),
            batch_dims=self.batch_dims, solver=self.solver, adjoint=self.adjoint, rtol=self.rtol, atol=self.atol,
            max_steps=self.max_steps, on_failure=self.on_failure,
        )  # fmt: skip

    def guess(self, x: Any) -> Any:
        """Where a solve for x starts, with the gradient of a learned `init`.

        Args:
            x: the input.

        Returns:
            The state z0.

        Raises:
            InputError: zeros cannot be made for x.
        """  # noqa: DOC502
        return start(self.init, x, self.cell, self.batch_dims)

    def _dims(self, x: Any, z0: Any, f: Frozen) -> Any:
        """The batch dimension of every leaf of x, in the structure of x; None: finished samples stay."""
        in_dims = self.in_dims
        if isinstance(in_dims, str):
            if in_dims != "auto":
                raise InputError(f"in_dims must be 'auto', None, a dimension, or a pytree of these; got {in_dims!r}.")
            in_dims = 0 if isinstance(f.cell, nn.Module) and self.batch_dims == 1 else None
        if in_dims is None or f.held:
            return None
        leaves, spec = tree_flatten(x)
        flat = _broadcast_to_and_flatten(in_dims, spec)
        if flat is None:
            raise InputError(f"in_dims={in_dims!r} does not fit the structure of x.")
        dims = [dim if isinstance(leaf, Tensor) else None for dim, leaf in zip(flat, leaves, strict=True)]
        states = tree_flatten(z0)[0]
        size = states[0].shape[0] if states and isinstance(states[0], Tensor) and states[0].ndim else None
        for dim, leaf in zip(dims, leaves, strict=True):
            if dim is not None and (not -leaf.ndim <= dim < leaf.ndim or leaf.shape[dim] != size):
                raise InputError(
                    f"dimension {dim} of an input {tuple(leaf.shape)} is not the batch of the state, {size}; give "
                    "every leaf of x the batch, or say which have one: DEQ(…, in_dims=…), None for those without."
                )
        return tree_unflatten(dims, spec)

    def extra_repr(self) -> str:
        """The options, for print."""
        named = {"init": self.init, "solver": self.solver, "adjoint": self.adjoint}
        return ", ".join(f"{key}={value}" for key, value in named.items() if not isinstance(value, nn.Module))
