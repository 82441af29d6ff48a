"""What a static nonlinearity answers: value, derivative, slope interval, prox; one for all neurons, or one per neuron.

The slope interval [α, β] bounds every difference quotient, α ≤ (φ(a) − φ(b)) / (a − b) ≤ β. It is the only thing a
certificate knows about φ. Where it lies in [0, 1], φ is the prox of a convex function, and has a prox for every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system import prox
from eqnets.system.prox import Elementwise, Prox


@dataclass(frozen=True)
class Nonlinearity:
    """An elementwise map φ with its derivative φ' and its slope interval.

    Args:
        name: the name under which files store it, e.g. `"relu"` or `"leaky_relu(0.1)"`.
        value: φ, elementwise on a tensor of any shape and floating dtype.
        derivative: φ', elementwise; at a kink the value from the left.
        slope: (α, β) with α ≤ (φ(a) − φ(b))/(a − b) ≤ β for all real a ≠ b.
        closed: (x, α) ↦ the prox with step α, where it has a closed form; None: it is solved for.
        kink: s where φ(v) is v above zero and s v below it; None: another shape.
    """

    name: str
    value: Elementwise
    derivative: Elementwise
    slope: tuple[float, float]
    closed: Prox | None = None
    kink: float | None = None

    def __call__(self, v: Tensor) -> Tensor:  # noqa: D102
        return self.value(v)

    @property
    def parts(self) -> tuple[Nonlinearity, ...]:
        """The nonlinearities that occur: this one."""
        return (self,)

    def each(self, nv: int) -> tuple[Nonlinearity, ...]:
        """The nonlinearity of each of nv neurons."""
        return (self,) * nv

    def slopes(self, nv: int) -> tuple[Tensor, Tensor]:
        """The slope bounds per neuron, two float64 vectors (nv,)."""
        low, high = self.slope
        return torch.full((nv,), low, dtype=torch.float64), torch.full((nv,), high, dtype=torch.float64)

    def require_prox(self) -> None:
        """Refuse a φ that is not the prox of a convex function.

        Raises:
            InputError: a slope lies outside [0, 1]; the message says on which side.
        """
        low, high = self.slope
        if low < 0 or high > 1:
            reason = "is not monotone" if low < 0 else "expands"
            raise InputError(
                f"'{self.name}' {reason} (its slopes fill [{low:.4g}, {high:.4g}]), so it is the prox of no convex "
                "function, and a monotone network with it need not have an equilibrium; use one with slopes in [0, 1], "
                "such as relu, tanh, softplus or elu."
            )

    def prox(self, x: Tensor, alpha: float) -> Tensor:
        """prox^α(x) = φ(y) with α y + (1 − α) φ(y) = x, elementwise.

        Args:
            x: any shape, floating.
            alpha: the step, positive; at 1 this is φ.

        Returns:
            The prox, of the shape and dtype of x.

        Raises:
            InputError: φ has slopes outside [0, 1].
        """  # noqa: DOC502
        self.require_prox()
        if self.closed is not None:
            return self.closed(x, alpha)
        return self.value(prox.argument(self.value, self.derivative, x, alpha))

    def prox_derivative(self, x: Tensor, alpha: float) -> Tensor:
        """The derivative of `prox` with respect to x, φ'(y)/(α + (1 − α) φ'(y)).

        Args:
            x: any shape, floating.
            alpha: the step, positive.

        Returns:
            The derivative, of the shape and dtype of x; at a kink the one from the left.

        Raises:
            InputError: φ has slopes outside [0, 1].
        """  # noqa: DOC502
        self.require_prox()
        if self.closed is None:
            y = prox.argument(self.value, self.derivative, x, alpha)
        else:
            y = (x - (1 - alpha) * self.closed(x, alpha)) / alpha
        slope = self.derivative(y)
        return slope / (alpha + (1 - alpha) * slope)


@dataclass(frozen=True)
class PerNeuron:
    """One nonlinearity per neuron: the last axis of v is the neuron.

    Args:
        parts: the nonlinearity of each neuron, in order.
    """

    parts: tuple[Nonlinearity, ...]

    @property
    def name(self) -> str:
        """The names, separated by commas."""
        return ",".join(part.name for part in self.parts)

    @property
    def slope(self) -> tuple[float, float]:
        """The smallest interval that holds every neuron's slope interval."""
        return min(p.slope[0] for p in self.parts), max(p.slope[1] for p in self.parts)

    def each(self, nv: int) -> tuple[Nonlinearity, ...]:
        """The nonlinearity of each neuron; there are len(parts) of them, whatever nv says."""
        del nv
        return self.parts

    def _groups(self) -> list[tuple[Nonlinearity, list[int]]]:
        groups: dict[str, tuple[Nonlinearity, list[int]]] = {}
        for i, part in enumerate(self.parts):
            groups.setdefault(part.name, (part, []))[1].append(i)
        return list(groups.values())

    def _apply(self, v: Tensor, which: str, *more: float) -> Tensor:
        if v.shape[-1] != len(self.parts):
            raise InputError(
                f"this activation has {len(self.parts)} neurons, but v has {v.shape[-1]} on its last axis."
            )
        groups = self._groups()
        pieces = torch.cat([getattr(part, which)(v[..., index], *more) for part, index in groups], dim=-1)
        order = torch.tensor([i for _, index in groups for i in index], device=v.device)
        return pieces[..., torch.argsort(order)]

    def value(self, v: Tensor) -> Tensor:
        """φ(v), neuron by neuron; v (…, nv)."""
        return self._apply(v, "value")

    def derivative(self, v: Tensor) -> Tensor:
        """φ'(v), neuron by neuron; v (…, nv)."""
        return self._apply(v, "derivative")

    def require_prox(self) -> None:
        """Refuse parts that are not the prox of a convex function; an `InputError` says which and why."""
        for part in self.parts:
            part.require_prox()

    def prox(self, x: Tensor, alpha: float) -> Tensor:
        """The prox with step alpha, neuron by neuron; x (…, nv)."""
        return self._apply(x, "prox", alpha)

    def prox_derivative(self, x: Tensor, alpha: float) -> Tensor:
        """The derivative of the prox, neuron by neuron; x (…, nv)."""
        return self._apply(x, "prox_derivative", alpha)

    def __call__(self, v: Tensor) -> Tensor:  # noqa: D102
        return self.value(v)

    def slopes(self, nv: int) -> tuple[Tensor, Tensor]:
        """The slope bounds per neuron, two float64 vectors (nv,).

        Raises:
            InputError: nv is not the number of parts.
        """  # noqa: DOC201
        if nv != len(self.parts):
            raise InputError(f"this activation has {len(self.parts)} neurons, not {nv}.")
        low, high = zip(*(part.slope for part in self.parts), strict=True)
        return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


Activation = Nonlinearity | PerNeuron
