"""What a solve is asked for, and a sentence where it cannot be meant."""

from __future__ import annotations

from typing import Any

from eqnets.equilibrium.adjoint import Adjoint, Implicit
from eqnets.equilibrium.failure import check_policy
from eqnets.equilibrium.solver import Solver
from eqnets.errors import InputError


def check_options(solver: Any, adjoint: Any, max_steps: Any, on_failure: Any, bare: bool = True) -> None:
    """Refuse options that no solve can follow.

    Args:
        solver: of the equilibrium.
        adjoint: how to differentiate.
        max_steps: the most evaluations.
        on_failure: the failure policy.
        bare: whether f is a bare function, for which a splitting has nothing to split.

    Raises:
        InputError: an option of another kind.
        TypeError: a splitting for a bare f.
    """  # noqa: DOC502
    if not isinstance(solver, Solver):
        raise InputError(
            "solver must be a solver such as eqnets.Auto(), eqnets.Anderson() or, for a monotone network, "
            f"eqnets.PeacemanRachford(); got {solver!r}."
        )
    if not isinstance(adjoint, Adjoint):
        raise InputError(
            f"adjoint must be eqnets.Implicit(), Unrolled(), Phantom() or JacobianFree(); got {adjoint!r}."
        )
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 1:
        raise InputError(f"max_steps must be an integer ≥ 1; got {max_steps!r}.")
    check_policy(on_failure)
    if bare:
        _check_bare(solver)
        if isinstance(adjoint, Implicit):
            _check_bare(adjoint.solver)


def _check_bare(solver: Solver) -> None:
    if solver.needs_inclusion:
        raise TypeError(
            f"{type(solver).__name__} splits an inclusion (an operator and a prox) and cannot solve for a bare f; use "
            "a model that is an inclusion, such as MonotoneDEQ, or solver=Auto()."
        )
