"""Operator splitting for z = σ(W z + b): forward–backward, Peaceman–Rachford, Douglas–Rachford.

Every step knows σ(Wz + b) at its iterate without a further product: forward–backward needs Wz + b anyway, and after the
resolvent h = V(r + αb) the argument is W h + b = h + (h − r)/α. The reported residual is that of the equilibrium, not
the size of a step, which depends on α; it is the residual of the very point that is returned. Source: Ryu & Boyd,
"Primer on monotone operator methods", 2016; Winston & Kolter, NeurIPS 2020, algorithms 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from eqnets.equilibrium.factored import Factored
from eqnets.equilibrium.inclusion import Inclusion
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solver import Point, Solver, check_number


@dataclass(frozen=True)
class Splitting(Solver):
    """Base of the splittings.

    Args:
        alpha: the step α; None: chosen from the margin m and the norm L of I − W, once per solve.

    Raises:
        InputError: alpha is no positive number.
    """  # noqa: DOC502

    alpha: float | None = None

    patience: ClassVar[int] = 10**9  # convergence is proved, though the residual need not fall at every step
    needs_inclusion: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.alpha is not None:
            check_number(self, "alpha", 0.0, math.inf, open_low=True)

    def chosen(self, m: float, L: float) -> float:
        """The step for given constants: 1/√(mL) within [1/L, 1]."""
        return min(1.0, max(1 / L, 1 / math.sqrt(max(m, 1e-12) * L)))

    def size(self, factored: Factored, like: Tensor) -> float:
        """The step for an operator.

        Args:
            factored: the operator.
            like: (batch, n), for the size, dtype and device.

        Returns:
            α, as asked for or chosen.
        """
        return self.alpha or self.chosen(factored.margin, factored.lipschitz(like))

    def start(self, map: Map, point: Point) -> dict[str, Any]:
        """The step, and u = (1 − α) s + α (W s + b), whose prox is the start s where that is the solution.

        Args:
            map: the inclusion.
            point: the start, evaluated.

        Returns:
            The state.

        Raises:
            TypeError: the map is no inclusion.
        """
        if not isinstance(map, Inclusion):
            raise TypeError(
                f"{type(self).__name__} splits an inclusion (an operator and a prox), and cannot solve for a bare f; "
                "use a model that is an inclusion, such as MonotoneDEQ, or solver=Auto()."
            )
        alpha = self.size(map.factored, point.z)
        s = map.enter(point.z)
        return {"alpha": alpha, "u": torch.lerp(s, map.argument(s), alpha)}


@dataclass(frozen=True)
class ForwardBackward(Splitting):
    """s⁺ = prox^α((1 − α) s + α (W s + b)). Converges for α < 2m/L², at the rate √(1 − m²/L²) for α = m/L².

    It factorises nothing, and pays by steps: for a tolerance of 1e-6 some 200 at L/m = 5, 1000 at 13 and 3500 at 33,
    where `PeacemanRachford` makes 20 to 40. A larger α often converges too, in a tenth of the steps, though nothing
    promises it: a model's `tune` tries.

    Args:
        alpha: the step; None: m/L², which the theory's bound likes best.

    Raises:
        InputError: alpha is no positive number.
    """  # noqa: DOC502

    def chosen(self, m: float, L: float) -> float:
        """The step m/L²."""
        return m / L**2

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """The next iterate.

        Args:
            map: the inclusion.
            point: not used.
            state: α and u, the argument of the prox.

        Returns:
            (batch, n).
        """
        del point
        assert isinstance(map, Inclusion)
        s = map.sigma.prox(state["u"], state["alpha"])
        v = map.argument(s)
        state["u"] = torch.lerp(s, v, state["alpha"])
        return map.show(s, v)


@dataclass(frozen=True)
class PeacemanRachford(Splitting):
    """s = prox^α(u), r = 2s − u, h = V(r + αb), u⁺ = 2h − r. Converges for every α > 0 where m > 0.

    Args:
        alpha: the step; None: 1/√(mL) within [1/L, 1].

    Raises:
        InputError: alpha is no positive number.
    """  # noqa: DOC502

    averaged: ClassVar[bool] = False

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """The next iterate, h.

        Args:
            map: the inclusion.
            point: not used.
            state: α and u.

        Returns:
            (batch, n).
        """
        del point
        assert isinstance(map, Inclusion)
        alpha, u = state["alpha"], state["u"]
        r = map.reflect(u, alpha)
        shifted = torch.add(r, map.bias, alpha=alpha)
        h = map.resolvent(alpha)(shifted)
        # without a graph the results go where the operands stood: fresh memory costs more than the sum itself
        spare = (None, None) if torch.is_grad_enabled() else (shifted, r)
        reflected = torch.lerp(r, h, 2.0, out=spare[0])
        state["u"] = torch.lerp(u, reflected, 0.5) if self.averaged else reflected
        return map.show(h, torch.lerp(r, h, 1 + 1 / alpha, out=spare[1]))


@dataclass(frozen=True)
class DouglasRachford(PeacemanRachford):
    """Peaceman–Rachford averaged with the identity, u⁺ = u + h − s: slower, and converges even at m = 0.

    Args:
        alpha: the step; None: 1/√(mL) within [1/L, 1].

    Raises:
        InputError: alpha is no positive number.
    """  # noqa: DOC502

    averaged: ClassVar[bool] = True
