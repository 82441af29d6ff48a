"""Which differentiable tensors a function closes over: found in the graph it leaves, so that none is lost silently.

Captured leaves (parameters) stand in the graph itself. A captured result of earlier operations is known there only by
its edge; a torch-function mode sees the tensor when f uses it, and can put another one in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

Edge = tuple[Any, int]  # a node of the graph, and which of its outputs


def edge(t: Tensor) -> Edge:
    """Where a non-leaf tensor comes from.

    Args:
        t: a tensor with a grad_fn.

    Returns:
        The node and the output.
    """
    return t.grad_fn, t.output_nr


def walk(y: Tensor, mark: int) -> tuple[list[Tensor], set[Edge]]:
    """The leaves and the earlier results that a graph reaches.

    Args:
        y: the result of f.
        mark: the sequence number of the first node of the evaluation; older nodes belong to captured tensors.

    Returns:
        The leaves that y depends on directly, and the edges to nodes that are older than the evaluation.
    """
    leaves: list[Tensor] = []
    older: set[Edge] = set()
    stack: list[Edge] = [edge(y)] if y.grad_fn is not None else []
    seen: set[Edge] = set()
    while stack:
        here = stack.pop()
        if here in seen:
            continue
        seen.add(here)
        node = here[0]
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        elif node._sequence_nr() < mark:
            older.add(here)
        else:
            stack.extend((n, i) for n, i in node.next_functions if n is not None and (n, i) not in seen)
    return leaves, older


def leaves_behind(older: set[Edge]) -> list[Tensor]:
    """The leaves behind edges that no operation of f showed as a tensor (a compiled or a custom one used them).

    Args:
        older: edges.

    Returns:
        The leaves.
    """
    leaves: list[Tensor] = []
    stack, seen = [node for node, _ in older], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        stack.extend(n for n, _ in node.next_functions if n is not None)
    return leaves


@contextmanager
def hooks_off(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Run no hooks of these tensors: a gradient on its way to autograd, which will run them, is not there yet.

    Args:
        tensors: leaves that f captures.

    Yields:
        Nothing.
    """
    held = [(hooks, dict(hooks)) for t in tensors if (hooks := t._backward_hooks)]
    for hooks, _ in held:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, entries in held:
            hooks.update(entries)


class Substitute(TorchFunctionMode):
    """While active, every captured tensor that an operation uses is replaced by its stand-in.

    Args:
        stand_in: tensor → the tensor to use in its place, or None to leave it.
    """

    def __init__(self, stand_in: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self.stand_in = stand_in

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation with stand-ins."""
        del types

        def swap(t: Tensor) -> Tensor:
            other = None if t.grad_fn is None else self.stand_in(t)
            return t if other is None else other

        args, kwargs = tree_map_only(Tensor, swap, (args, kwargs or {}))
        return func(*args, **kwargs)


def sequence_number() -> int:
    """The number that the next node of the graph will exceed or equal."""
    return torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
