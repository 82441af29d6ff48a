"""Derivatives of a few evaluations of f at the solution: what Phantom and JacobianFree differentiate."""

from __future__ import annotations

from torch import Tensor

from eqnets.equilibrium.maps import Map


def truncated(map: Map, value: Tensor, steps: int, damping: float) -> Tensor:
    """The solution's value with the derivatives of `steps` damped evaluations of f from it.

    Args:
        map: z ↦ f(z), with attached inputs.
        value: (batch, n), the solution.
        steps: evaluations.
        damping: z ← (1 − damping) z + damping f(z).

    Returns:
        (batch, n), equal to value.
    """
    z = value = value.detach()
    for _ in range(steps):
        fz = map(z)
        z = fz if damping == 1.0 else z.lerp(fz, damping)
    return value + (z - z.detach())
