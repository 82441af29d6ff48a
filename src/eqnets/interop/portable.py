"""The step of a model in numpy alone.

This file is copied, as it stands, into what `to_control` writes: it imports nothing of eqnets. A model `m` is a dict of
arrays: the blocks of the LFR, and C, K, p, t, steps, which solve the neurons in a fixed number of steps.
"""

import math

import numpy as np


def phi(names, v):
    """The nonlinearity.

    Args:
        names: one name per neuron.
        v: (nv,).

    Returns:
        w (nv,).
    """
    return np.array([_value(name, float(number)) for name, number in zip(names, v, strict=True)], dtype=float)


def neurons(m, x, u):
    """The neurons w (nv,) at a state x (nx,) and an input u (nu,)."""
    b = m["C1"] @ x + m["D12"] @ u + m["bv"]
    start = m["K"] @ b
    r = start
    for _ in range(m["steps"]):
        r = m["C"] @ (m["p"] * phi(m["activation"], r) - m["t"] * r) + start
    return phi(m["activation"], r)


def following(m, x, u):
    """The next state (nx,); in continuous time, the state's derivative."""
    return m["A"] @ x + m["B1"] @ neurons(m, x, u) + m["B2"] @ u + m["bx"]


def output(m, x, u):
    """The output y (ny,)."""
    return m["C2"] @ x + m["D21"] @ neurons(m, x, u) + m["D22"] @ u + m["by"]


def _value(name, v):
    base, _, number = name.partition("(")
    return _VALUES[base](v, float(number.rstrip(")")) if number else 0.0)


def _sigmoid(v):
    return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))


def _softplus(v):
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


_VALUES = {
    "relu": lambda v, a: v if v > 0 else 0.0,
    "tanh": lambda v, a: math.tanh(v),
    "sigmoid": lambda v, a: _sigmoid(v),
    "softplus": lambda v, a: _softplus(v),
    "identity": lambda v, a: v,
    "hardtanh": lambda v, a: min(max(v, -1.0), 1.0),
    "sine_defect": lambda v, a: v - math.sin(v),
    "gelu": lambda v, a: 0.5 * v * (1 + math.erf(v / math.sqrt(2))),
    "silu": lambda v, a: v * _sigmoid(v),
    "mish": lambda v, a: v * math.tanh(_softplus(v)),
    "selu": lambda v, a: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v)),
    "leaky_relu": lambda v, a: v if v > 0 else a * v,
    "elu": lambda v, a: v if v > 0 else a * math.expm1(v),
    "softshrink": lambda v, a: v - a if v > a else v + a if v < -a else 0.0,
}
