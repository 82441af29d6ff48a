"""The nonlinearities that have a name. Each is a lemma: its slope interval holds for all real a ≠ b, not for most.

They are built of functions that have a name too, so that a module that holds one can be pickled (to another process).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from eqnets.errors import InputError
from eqnets.system import prox
from eqnets.system.elementwise import Activation, Nonlinearity, PerNeuron


def _sigmoid_derivative(v: Tensor) -> Tensor:
    s = torch.sigmoid(v)
    return s * (1 - s)


def _softplus(v: Tensor) -> Tensor:
    return functional.softplus(v, threshold=40.0)


def _gelu_derivative(v: Tensor) -> Tensor:
    return torch.special.ndtr(v) + v * torch.exp(-v * v / 2) / math.sqrt(2 * math.pi)


def _silu_derivative(v: Tensor) -> Tensor:
    s = torch.sigmoid(v)
    return s * (1 + v * (1 - s))


def _mish_derivative(v: Tensor) -> Tensor:
    t = torch.tanh(functional.softplus(v))
    return t + v * torch.sigmoid(v) * (1 - t * t)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _relu_derivative(v: Tensor) -> Tensor:
    return (v > 0).to(v.dtype)


def _tanh_derivative(v: Tensor) -> Tensor:
    return 1 - torch.tanh(v) ** 2


def _hardtanh_derivative(v: Tensor) -> Tensor:
    return ((v > -1) & (v <= 1)).to(v.dtype)


def _sine_defect(v: Tensor) -> Tensor:
    return v - torch.sin(v)


def _sine_defect_derivative(v: Tensor) -> Tensor:
    return 1 - torch.cos(v)


def _selu_derivative(v: Tensor) -> Tensor:
    return _SELU_SCALE * torch.where(v > 0, torch.ones_like(v), _SELU_ALPHA * torch.exp(v.clamp(max=0)))


def _leaky_relu_derivative(v: Tensor, slope: float) -> Tensor:
    return torch.where(v > 0, torch.ones_like(v), torch.full_like(v, slope))


def _elu(v: Tensor, a: float) -> Tensor:
    return torch.where(v > 0, v, a * torch.expm1(v.clamp(max=0)))


def _elu_derivative(v: Tensor, a: float) -> Tensor:
    return torch.where(v > 0, torch.ones_like(v), a * torch.exp(v.clamp(max=0)))


def _softshrink_derivative(v: Tensor, threshold: float) -> Tensor:
    return ((v > threshold) | (v <= -threshold)).to(v.dtype)


RELU = Nonlinearity("relu", torch.relu, _relu_derivative, (0.0, 1.0), prox.Projection(torch.relu), 0.0)
TANH = Nonlinearity("tanh", torch.tanh, _tanh_derivative, (0.0, 1.0))
SOFTPLUS = Nonlinearity("softplus", _softplus, torch.sigmoid, (0.0, 1.0))
SIGMOID = Nonlinearity("sigmoid", torch.sigmoid, _sigmoid_derivative, (0.0, 0.25))
IDENTITY = Nonlinearity("identity", torch.clone, torch.ones_like, (1.0, 1.0), prox.Projection(torch.clone), 1.0)
HARDTANH = Nonlinearity(
    "hardtanh", functional.hardtanh, _hardtanh_derivative, (0.0, 1.0), prox.Projection(functional.hardtanh)
)  # fmt: skip
SINE_DEFECT = Nonlinearity("sine_defect", _sine_defect, _sine_defect_derivative, (0.0, 2.0))
"""Δ(v) = v − sin v: what a pendulum has beyond a linear oscillator. Its slope 1 − cos v lies in [0, 2]."""
GELU = Nonlinearity("gelu", functional.gelu, _gelu_derivative, (-0.128904145186, 1.128904145186))
SILU = Nonlinearity("silu", functional.silu, _silu_derivative, (-0.099839320129, 1.099839320129))
MISH = Nonlinearity("mish", functional.mish, _mish_derivative, (-0.112526122390, 1.088498161252))
SELU = Nonlinearity("selu", torch.selu, _selu_derivative, (0.0, 1.758099340848))


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
        partial(functional.leaky_relu, negative_slope=slope),
        partial(_leaky_relu_derivative, slope=slope),
        (slope, 1.0),
        prox.Leaky(slope),
        slope,
    )


def elu(a: float = 1.0) -> Nonlinearity:
    """The exponential linear unit, v for v > 0 and a·(eᵛ − 1) below.

    Args:
        a: the height of the left branch, 0 ≤ a < ∞; for a > 1 it has no prox.

    Returns:
        The nonlinearity, with slope interval [0, max(1, a)].

    Raises:
        InputError: a is negative or not finite.
    """
    a = float(a)
    if not 0.0 <= a < math.inf:
        raise InputError(f"elu needs a finite height a >= 0, not {a}.")
    return Nonlinearity(
        f"elu({a!r})", partial(_elu, a=a), partial(_elu_derivative, a=a), (0.0, max(1.0, a))
    )  # fmt: skip


def softshrink(threshold: float = 0.5) -> Nonlinearity:
    """Soft thresholding: v moved towards zero by λ, and zero for |v| ≤ λ.

    Args:
        threshold: λ > 0.

    Returns:
        The nonlinearity, with slope interval [0, 1].

    Raises:
        InputError: λ is not positive and finite.
    """
    threshold = float(threshold)
    if not 0.0 < threshold < math.inf:
        raise InputError(f"softshrink needs a threshold > 0, not {threshold}; use 'identity' for 0.")
    return Nonlinearity(
        f"softshrink({threshold!r})",
        partial(functional.softshrink, lambd=threshold),
        partial(_softshrink_derivative, threshold=threshold),
        (0.0, 1.0),
        prox.Soft(threshold),
    )


_NAMED = {
    n.name: n
    for n in (RELU, TANH, SOFTPLUS, SIGMOID, IDENTITY, HARDTANH, SINE_DEFECT, GELU, SILU, MISH, SELU)
}  # fmt: skip
_WITH_NUMBER = {"leaky_relu": leaky_relu, "elu": elu, "softshrink": softshrink}


def names() -> list[str]:
    """The names that `get` knows, sorted."""
    return sorted([*_NAMED, *_WITH_NUMBER])


def get(activation: str | Activation | Sequence[str | Nonlinearity]) -> Activation:
    """The nonlinearity that a name, an object, or a list of one per neuron stands for.

    Args:
        activation: a name (`"relu"`, `"leaky_relu(0.1)"`; several separated by commas are one per neuron), a
            `Nonlinearity` or `PerNeuron`, or a sequence of names or `Nonlinearity`.

    Returns:
        The object itself.

    Raises:
        InputError: no such name, or nothing that names one.
    """
    if isinstance(activation, (Nonlinearity, PerNeuron)):  # torch 2.6 does not compile a union
        return activation
    if isinstance(activation, str):
        if "," in activation:
            return get(activation.split(","))
        name = activation.strip()
        if name in _NAMED:
            return _NAMED[name]
        match = re.fullmatch(r"(\w+?)(?:\(([-+.\deE]+)\))?", name)
        if match and match[1] in _WITH_NUMBER:
            try:
                return _WITH_NUMBER[match[1]](*([float(match[2])] if match[2] else []))
            except InputError:
                raise
            except ValueError as error:
                raise InputError(f"'{name}' has no readable number; write for example '{match[1]}(0.1)'.") from error
        raise InputError(f"there is no activation '{name}'; choose one of {', '.join(names())}.")
    if not isinstance(activation, Sequence):
        raise InputError(
            f"an activation is a name ({', '.join(names())}), a Nonlinearity, or a sequence of these; got "
            f"{activation!r}."
        )
    parts = [get(part) for part in activation]
    if not all(isinstance(part, Nonlinearity) for part in parts):
        raise InputError("a list of activations holds one name or Nonlinearity per neuron, not lists.")
    return PerNeuron(tuple(parts))  # type: ignore[arg-type]


__all__ = ["Activation", "Nonlinearity", "PerNeuron", "elu", "get", "leaky_relu", "names", "softshrink"]
