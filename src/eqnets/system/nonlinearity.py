"""Static nonlinearities: each answers the same questions: value, derivative, slope interval.

The slope interval [α, β] bounds every difference quotient, α ≤ (φ(a) − φ(b)) / (a − b) ≤ β. It is the only thing a
certificate knows about φ, so an entry here is a lemma: it must hold for all real a ≠ b, not for most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.errors import InputError

Elementwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Nonlinearity:
    """An elementwise map φ with its derivative φ' and its slope interval.

    Args:
        name: the name under which files store it, e.g. `"relu"` or `"leaky_relu(0.1)"`.
        value: φ, elementwise on a tensor of any shape and floating dtype.
        derivative: φ', elementwise; at a kink the value from the left.
        slope: (α, β) with α ≤ (φ(a) − φ(b))/(a − b) ≤ β for all real a ≠ b.
    """

    name: str
    value: Elementwise
    derivative: Elementwise
    slope: tuple[float, float]

    def __call__(self, v: Tensor) -> Tensor:  # noqa: D102
        return self.value(v)

    def slopes(self, nv: int) -> tuple[Tensor, Tensor]:
        """The slope bounds per neuron, two float64 vectors (nv,)."""
        low, high = self.slope
        return torch.full((nv,), low, dtype=torch.float64), torch.full((nv,), high, dtype=torch.float64)


def _sigmoid_derivative(v: Tensor) -> Tensor:
    s = torch.sigmoid(v)
    return s * (1 - s)


RELU = Nonlinearity("relu", torch.relu, lambda v: (v > 0).to(v.dtype), (0.0, 1.0))
TANH = Nonlinearity("tanh", torch.tanh, lambda v: 1 - torch.tanh(v) ** 2, (0.0, 1.0))
SOFTPLUS = Nonlinearity(
    "softplus", lambda v: torch.nn.functional.softplus(v, threshold=40.0), torch.sigmoid, (0.0, 1.0)
)
SIGMOID = Nonlinearity("sigmoid", torch.sigmoid, _sigmoid_derivative, (0.0, 0.25))
IDENTITY = Nonlinearity("identity", lambda v: v.clone(), torch.ones_like, (1.0, 1.0))
SINE_DEFECT = Nonlinearity("sine_defect", lambda v: v - torch.sin(v), lambda v: 1 - torch.cos(v), (0.0, 2.0))
"""Δ(v) = v − sin v: what a pendulum has beyond a linear oscillator. Its slope 1 − cos v lies in [0, 2]."""


def leaky_relu(slope: float = 0.01) -> Nonlinearity:
    """The leaky rectifier, v for v > 0 and `slope`·v below.

    Args:
        slope: the slope on the left, 0 ≤ slope ≤ 1.

    Returns:
        The nonlinearity, with slope interval [slope, 1].

    Raises:
        InputError: the slope lies outside [0, 1].
    """
    slope = float(slope)
    if not 0.0 <= slope <= 1.0:
        raise InputError(f"leaky_relu needs a slope between 0 and 1, not {slope}; use 'identity' for slope 1.")
    return Nonlinearity(
        f"leaky_relu({slope!r})",
        lambda v: torch.nn.functional.leaky_relu(v, slope),
        lambda v: torch.where(v > 0, torch.ones_like(v), torch.full_like(v, slope)),
        (slope, 1.0),
    )


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

    def _groups(self) -> list[tuple[Nonlinearity, list[int]]]:
        groups: dict[str, tuple[Nonlinearity, list[int]]] = {}
        for i, part in enumerate(self.parts):
            groups.setdefault(part.name, (part, []))[1].append(i)
        return list(groups.values())

    def _apply(self, v: Tensor, which: str) -> Tensor:
        if v.shape[-1] != len(self.parts):
            raise InputError(
                f"this activation has {len(self.parts)} neurons, but v has {v.shape[-1]} on its last axis."
            )
        groups = self._groups()
        pieces = torch.cat([getattr(part, which)(v[..., index]) for part, index in groups], dim=-1)
        order = torch.tensor([i for _, index in groups for i in index], device=v.device)
        return pieces[..., torch.argsort(order)]

    def value(self, v: Tensor) -> Tensor:
        """φ(v), neuron by neuron; v (…, nv)."""
        return self._apply(v, "value")

    def derivative(self, v: Tensor) -> Tensor:
        """φ'(v), neuron by neuron; v (…, nv)."""
        return self._apply(v, "derivative")

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

_NAMED = {n.name: n for n in (RELU, TANH, SOFTPLUS, SIGMOID, IDENTITY, SINE_DEFECT)}


def names() -> list[str]:
    """The names that `get` knows, sorted."""
    return sorted([*_NAMED, "leaky_relu"])


def get(activation: str | Activation | Sequence[str | Nonlinearity]) -> Activation:
    """The nonlinearity that a name, an object, or a list of one per neuron stands for.

    Args:
        activation: a name (`"relu"`, `"leaky_relu(0.1)"`; several separated by commas are one per neuron), a
            `Nonlinearity` or `PerNeuron`, or a sequence of names or `Nonlinearity`.

    Returns:
        The object itself.

    Raises:
        InputError: no such name.
    """
    if isinstance(activation, Nonlinearity | PerNeuron):
        return activation
    if isinstance(activation, str):
        if "," in activation:
            return get(activation.split(","))
        name = activation.strip()
        if name in _NAMED:
            return _NAMED[name]
        match = re.fullmatch(r"leaky_relu(?:\(([-+.\deE]+)\))?", name)
        if match:
            try:
                return leaky_relu(float(match[1])) if match[1] else leaky_relu()
            except ValueError as error:
                raise InputError(f"'{name}' has no readable slope; write for example 'leaky_relu(0.1)'.") from error
        raise InputError(f"there is no activation '{name}'; choose one of {', '.join(names())}.")
    parts = [get(part) for part in activation]
    if not all(isinstance(part, Nonlinearity) for part in parts):
        raise InputError("a list of activations holds one name or Nonlinearity per neuron, not lists.")
    return PerNeuron(tuple(parts))  # type: ignore[arg-type]
