"""A small writer of ONNX graphs, and the nonlinearities in operators that runtimes have in float64 too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from eqnets.errors import InputError
from eqnets.interop.formulas import kinds
from eqnets.system.nonlinearity import Activation


class Graph:
    """Nodes in order, and constants that a graph shares with the graphs inside it.

    Args:
        dtype: "float64" or "float32", of every number.
        label: what the names of its nodes' outputs start with; another one for every graph in a model.
        constants: of the graph around this one; None for the outermost.
    """

    def __init__(self, dtype: str, label: str, constants: dict[str, np.ndarray] | None = None) -> None:
        self.dtype, self.label = dtype, label
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {} if constants is None else constants

    def constant(self, name: str, value: np.ndarray | float) -> str:
        """Store a constant under a name, whole numbers as they are, others in the graph's dtype; returns the name."""
        array = np.asarray(value)
        kind = array.dtype if array.dtype.kind == "i" else np.dtype(self.dtype)
        self.constants.setdefault(name, np.ascontiguousarray(array, dtype=kind).reshape(array.shape))
        return name

    def number(self, value: float) -> str:
        """Store a number; returns its name."""
        return self.constant(f"number_{value!r}", value)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        output = f"{self.label}_{len(self.nodes)}_{kind}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def value(self, name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        """The description of an input or output."""
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)), shape)

    def rename(self, names: dict[str, str]) -> None:
        """Give outputs of the outermost graph other names."""
        for node in self.nodes:
            node.output[:] = [names.get(name, name) for name in node.output]


def phi(graph: Graph, activation: Activation, nv: int, v: str) -> str:
    """Append the nonlinearity.

    Args:
        graph: to append to.
        activation: φ.
        nv: the number of neurons.
        v: the name of its argument (batch, nv).

    Returns:
        The name of w (batch, nv).

    Raises:
        InputError: a nonlinearity that has no name, or that runtimes do not have in this dtype.
    """  # noqa: DOC502
    groups = kinds(activation, nv)
    if len(groups) == 1:
        return _value(graph, next(iter(groups)), v)
    pieces = []
    for kind, members in groups.items():
        index = graph.constant(f"neurons_{kind}", np.array(members))
        pieces.append(_value(graph, kind, graph.node("Gather", v, index, axis=1)))
    order = graph.constant("order", np.argsort([i for members in groups.values() for i in members]))
    return graph.node("Gather", graph.node("Concat", *pieces, axis=1), order, axis=1)


def _value(graph: Graph, kind: str, v: str) -> str:
    base, _, bracket = kind.partition("(")
    a, node, number = float(bracket.rstrip(")")) if bracket else 0.0, graph.node, graph.number
    match base:
        case "relu":
            return node("Relu", v)
        case "tanh":
            return node("Tanh", v)
        case "sigmoid":
            return node("Sigmoid", v)
        case "identity":
            return node("Identity", v)
        case "softplus":
            return _softplus(graph, v)
        case "hardtanh":
            return node("Min", node("Max", v, number(-1.0)), number(1.0))
        case "sine_defect":
            return node("Sub", v, node("Sin", v))
        case "silu":
            return node("Mul", v, node("Sigmoid", v))
        case "mish":
            return node("Mul", v, node("Tanh", _softplus(graph, v)))
        case "leaky_relu":
            return node("Add", node("Relu", v), node("Mul", number(a), node("Min", v, number(0.0))))
        case "elu":
            return node("Add", node("Relu", v), node("Mul", number(a), _expm1_below(graph, v)))
        case "selu":
            below = node("Mul", number(1.6732632423543772), _expm1_below(graph, v))
            return node("Mul", number(1.0507009873554805), node("Add", node("Relu", v), below))
        case "softshrink":
            above, below = node("Sub", v, number(a)), node("Add", v, number(a))
            return node("Add", node("Relu", above), node("Min", below, number(0.0)))
        case "gelu" if graph.dtype == "float32":
            share = node("Add", number(1.0), node("Erf", node("Mul", v, number(math.sqrt(0.5)))))
            return node("Mul", node("Mul", number(0.5), v), share)
    raise InputError(f"'{kind}' has no ONNX operator that runtimes know in {graph.dtype}; gelu has one in float32.")


def _softplus(graph: Graph, v: str) -> str:
    small = graph.node("Exp", graph.node("Neg", graph.node("Abs", v)))
    return graph.node("Add", graph.node("Relu", v), graph.node("Log", graph.node("Add", graph.number(1.0), small)))


def _expm1_below(graph: Graph, v: str) -> str:
    return graph.node("Sub", graph.node("Exp", graph.node("Min", v, graph.number(0.0))), graph.number(1.0))
