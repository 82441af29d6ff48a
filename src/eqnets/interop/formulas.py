"""The nonlinearities as text in C99 and in MATLAB, side by side: each row says the same thing twice."""

from __future__ import annotations

import re

from eqnets.errors import InputError
from eqnets.system.nonlinearity import Activation

_FORMULAS = {  # C99 | MATLAB; `a` stands for the number in brackets
    "relu": ("v <= 0.0 ? 0.0 : v", "max(v, 0)"),
    "tanh": ("tanh(v)", "tanh(v)"),
    "sigmoid": ("1.0 / (1.0 + exp(-v))", "1 ./ (1 + exp(-v))"),
    "softplus": ("(v <= 0.0 ? 0.0 : v) + log1p(exp(-fabs(v)))", "max(v, 0) + log1p(exp(-abs(v)))"),
    "identity": ("v", "v"),
    "hardtanh": ("v < -1.0 ? -1.0 : v > 1.0 ? 1.0 : v", "min(max(v, -1), 1)"),
    "sine_defect": ("v - sin(v)", "v - sin(v)"),
    "gelu": ("0.5 * v * (1.0 + erf(v * 0.70710678118654752440))", "0.5 * v .* (1 + erf(v / sqrt(2)))"),
    "silu": ("v / (1.0 + exp(-v))", "v ./ (1 + exp(-v))"),
    "mish": (
        "v * tanh((v <= 0.0 ? 0.0 : v) + log1p(exp(-fabs(v))))",
        "v .* tanh(max(v, 0) + log1p(exp(-abs(v))))",
    ),
    "selu": (
        "1.0507009873554804934193349852946 * (v > 0.0 ? v : 1.6732632423543772848170429916717 * expm1(v))",
        "1.0507009873554804934193349852946 * (max(v, 0) + 1.6732632423543772848170429916717 * expm1(min(v, 0)))",
    ),
    "leaky_relu": ("v > 0.0 ? v : a * v", "max(v, 0) + a * min(v, 0)"),
    "elu": ("v > 0.0 ? v : a * expm1(v)", "max(v, 0) + a * expm1(min(v, 0))"),
    "softshrink": ("v > a ? v - a : v < -a ? v + a : 0.0", "max(v - a, 0) + min(v + a, 0)"),
}


def kinds(activation: Activation, nv: int) -> dict[str, list[int]]:
    """Which neurons have which nonlinearity.

    Args:
        activation: φ.
        nv: the number of neurons.

    Returns:
        The neurons' numbers, from 0, by the nonlinearity's name.

    Raises:
        InputError: a nonlinearity of the user's own, which has no name that other languages know.
    """
    names = [part.name for part in activation.each(nv)]
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if _split(name)[0] not in _FORMULAS:
            raise InputError(
                f"the activation '{name}' is not one that an export can write; those are {', '.join(_FORMULAS)}."
            )
        groups.setdefault(name, []).append(i)
    return groups


def per_neuron(activation: Activation, nv: int) -> list[str]:
    """The name of each neuron's nonlinearity, in order; see `kinds`."""
    names = {i: kind for kind, members in kinds(activation, nv).items() for i in members}
    return [names[i] for i in range(nv)]


def in_c(name: str, dtype: str) -> str:
    """φ(v) as a C99 expression.

    Args:
        name: of the nonlinearity, such as "leaky_relu(0.1)".
        dtype: "float64" or "float32": of v and of the value.

    Returns:
        The expression.
    """
    base, number = _split(name)
    text = re.sub(r"\ba\b", _literal(number), _FORMULAS[base][0])
    if dtype == "float64":
        return text
    text = re.sub(r"\b(tanh|exp|log1p|expm1|sin|erf|fabs)\(", r"\1f(", text)
    return re.sub(r"\b(\d+\.\d+(?:e[-+]?\d+)?)", r"\1f", text)


def in_matlab(name: str) -> str:
    """φ(v) as a MATLAB expression, elementwise."""
    base, number = _split(name)
    return re.sub(r"\ba\b", _literal(number), _FORMULAS[base][1])


def _split(name: str) -> tuple[str, float]:
    base, _, number = name.partition("(")
    return base, float(number.rstrip(")")) if number else 0.0


def _literal(number: float) -> str:
    text = repr(float(number))
    return text if "." in text else text.replace("e", ".0e")
