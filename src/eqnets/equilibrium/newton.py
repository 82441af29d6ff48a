"""Newton's method with the dense Jacobian of every sample, damped by a line search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solver import Point, Solver, check_count

SUFFICIENT = 1e-4  # Armijo's constant


@dataclass(frozen=True)
class Damped(Solver):
    """z⁺ = z + λ d with (I − J) d = f(z) − z; λ is halved, per sample, until |f(z) − z| falls. A subclass finds d.

    Args:
        halvings: after so many the step is taken as it is: away from a point where no direction descends.
    """

    halvings: int = 8

    unrollable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count(self, "halvings", 0, 50)

    def start(self, map: Map, point: Point) -> dict[str, Any]:
        """Nothing is known yet.

        Args:
            map: not used.
            point: not used.

        Returns:
            The state: the point that the step starts at, the step, its length, and how it went last time.
        """
        del map, point
        return {"z": None, "r": None, "size": None, "step": None, "length": None, "ratio": None}

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """The next trial: a new Newton step where the last one was accepted, half of it where it was not.

        Args:
            map: z ↦ f(z), with its Jacobian.
            point: the last trial, evaluated.
            state: the line search.

        Returns:
            (batch, n).
        """
        size = torch.linalg.vector_norm(point.r, dim=1)
        one = torch.ones_like(size)
        if state["z"] is None:
            accepted = one > 0
            state.update(z=point.z, r=point.r, size=size, step=point.r, length=one, ratio=one)
        else:
            length = state["length"]
            accepted = size <= (1.0 - SUFFICIENT * length) * state["size"]
            accepted = accepted | ((length <= 0.5**self.halvings) & size.isfinite())
            column = accepted[:, None]
            state["ratio"] = torch.where(accepted, size / state["size"], state["ratio"])
            state["z"] = torch.where(column, point.z, state["z"])
            state["r"] = torch.where(column, point.r, state["r"])
            state["size"] = torch.where(accepted, size, state["size"])
            state["length"] = torch.where(accepted, 1.0, length / 2)
        if bool(accepted.any()):
            column = accepted[:, None]
            z, r = _held(state, "z"), _held(state, "r")
            base = torch.where(z.isfinite(), z, 0.0)
            residual = torch.as_tensor(point.residual, dtype=r.dtype, device=r.device)
            step = self.direction(map, base, torch.where(column, r, 0.0), residual, state["ratio"])
            step = torch.where(step.isfinite().all(1, keepdim=True), step, r)
            state["step"] = torch.where(column, step, state["step"])
        return torch.addcmul(_held(state, "z"), _held(state, "length")[:, None], _held(state, "step"))

    def direction(self, map: Map, z: Tensor, r: Tensor, residual: Tensor, ratio: Tensor) -> Tensor:
        """The step d with (I − J(z)) d = r.

        Args:
            map: z ↦ f(z), with its Jacobian.
            z: (batch, n).
            r: (batch, n), zero for samples that need no step.
            residual: (batch,), in units of the tolerance.
            ratio: (batch,), by which the last accepted step changed |f(z) − z|.

        Returns:
            (batch, n); not finite where there is no step.

        Raises:
            NotImplementedError: a subclass forgot it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define direction.")


def _held(state: dict[str, Any], name: str) -> Tensor:
    return state[name]


@dataclass(frozen=True)
class Newton(Damped):
    """Newton's method with a dense Jacobian, (batch, n, n), from n products with Jᵀ: for small states.

    Args:
        halvings: the most halvings of a step.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    def direction(self, map: Map, z: Tensor, r: Tensor, residual: Tensor, ratio: Tensor) -> Tensor:
        """The Newton step, by one factorisation per sample."""
        del residual, ratio
        eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        return torch.linalg.solve_ex(eye - map.jacobian(z), r)[0]
