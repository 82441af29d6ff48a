"""The map whose fixed point is sought: its values, its Jacobian, and the same map on some of the samples.

Three kinds, and a solver cannot tell them apart: `Map`, z ↦ f(z); `Pull`, u ↦ J(z)ᵀ u + g, the adjoint equation; and
`Push`, w ↦ J(z) w + t, the tangent equation. The last two evaluate f once and reuse its graph for every product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from eqnets.errors import InputError

Function = Callable[..., Tensor]  # (Z (batch, n), *inputs) -> (batch, n)

MISMATCH = re.compile(r"dtype|data type|scalar type|size|shape|broadcast|dimension", re.IGNORECASE)
"""What torch says of tensors that do not fit together."""


class Map:
    """z ↦ f(z, *inputs) on flat states (batch, n).

    Args:
        function: (z, *inputs) → (batch, n).
        inputs: tensors.
        in_dims: the batch dimension of each input, or None for one without; None as a whole: samples cannot be taken.
        exact: the function to differentiate twice, where the other one is compiled; None: the same.
    """

    linear = False
    taken = False

    def __init__(
        self, function: Function, inputs: Sequence[Tensor], in_dims: Sequence[int | None] | None,
        exact: Function | None = None,
    ) -> None:  # fmt: skip
        self.function, self.inputs, self.in_dims, self.exact = function, inputs, in_dims, exact or function

    def __call__(self, z: Tensor) -> Tensor:
        """f(z); refuses another size than that of z, and an f that cannot be evaluated on some of the samples."""
        try:
            out = self.function(z, *self.inputs)
        except RuntimeError as error:
            if not (self.taken and MISMATCH.search(str(error))):
                raise
            raise self._joined(str(error).partition("\n")[0].rstrip(".")) from error
        if out.shape != z.shape:
            raise self._joined(f"it returned {tuple(out.shape)} for {tuple(z.shape)}")
        return out

    def _joined(self, reason: str) -> InputError:
        if not self.taken:
            return InputError(f"f changes its output between evaluations: {reason}. Make f map z to z.")
        return InputError(
            f"in_dims asks to evaluate f on some of the samples alone, and f cannot: {reason}. Pass what f closes over "
            "and has a batch through *args (for a DEQ: through x) with its dimension in in_dims, or use in_dims=None."
        )

    @property
    def can_take(self) -> bool:
        """Whether `take` is possible."""
        return self.in_dims is not None

    def take(self, rows: Tensor) -> Map:
        """The same map on some of the samples.

        Args:
            rows: int64 indices.

        Returns:
            A map on (len(rows), n).
        """
        assert self.in_dims is not None
        taken = [t if d is None else t.index_select(d, rows) for t, d in zip(self.inputs, self.in_dims, strict=True)]
        part = Map(self.function, taken, self.in_dims, self.exact)
        part.taken = True
        return part

    def graph(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate f with a graph to z.

        Args:
            z: (batch, n).

        Returns:
            A leaf with the values of z, and f(leaf).
        """
        leaf = z.detach().requires_grad_()
        with torch.enable_grad():
            return leaf, self(leaf)

    def pull(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        """The products u ↦ J(z)ᵀ u, from one evaluation.

        Args:
            z: (batch, n).

        Returns:
            The product.
        """
        leaf, y = self.graph(z)
        return lambda u: product(y, leaf, u)

    def push(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        """The products w ↦ J(z) w, from one evaluation: the derivative of v ↦ J(z)ᵀ v, so any twice differentiable f will do.

        Args:
            z: (batch, n).

        Returns:
            The product.
        """  # noqa: E501
        leaf = z.detach().requires_grad_()
        with torch.enable_grad():
            return transpose(self.exact(leaf, *self.inputs), leaf)

    def jacobian(self, z: Tensor) -> Tensor:
        """The Jacobian of every sample, row by row.

        Args:
            z: (batch, n).

        Returns:
            (batch, n, n).
        """
        pull = self.pull(z)
        return torch.stack([pull(basis) for basis in units(z)], dim=1)


class Pull(Map):
    """u ↦ J(z)ᵀ u + g, where J is the Jacobian of `map` at z.

    Args:
        map: z ↦ f(z).
        leaf: (batch, n), a leaf at z.
        y: f(leaf), with its graph.
        g: (batch, n).
    """

    linear = True

    def __init__(self, map: Map, leaf: Tensor, y: Tensor, g: Tensor) -> None:
        self.map, self.leaf, self.y, self.g = map, leaf, y, g

    def __call__(self, u: Tensor) -> Tensor:
        """J(z)ᵀ u + g."""
        return product(self.y, self.leaf, u) + self.g

    @property
    def can_take(self) -> bool:
        """Whether `take` is possible."""
        return self.map.can_take

    def take(self, rows: Tensor) -> Map:
        """The same equation for some of the samples; evaluates f on them once."""
        map = self.map.take(rows)
        return Pull(map, *map.graph(self.leaf.detach().index_select(0, rows)), self.g.index_select(0, rows))

    def push(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        """The products w ↦ J(z)ᵀ w: the Jacobian of this map is Jᵀ, wherever it is asked for."""
        del z
        return lambda w: product(self.y, self.leaf, w)

    def jacobian(self, z: Tensor) -> Tensor:
        """Jᵀ, (batch, n, n)."""
        return torch.stack([product(self.y, self.leaf, basis) for basis in units(z)], dim=2)


class Push(Map):
    """w ↦ J(z) w + t, where J is the Jacobian of `map` at z.

    Args:
        map: z ↦ f(z).
        leaf: (batch, n), a leaf at z.
        y: f(leaf), with its graph.
        t: (batch, n).
    """

    linear = True

    def __init__(self, map: Map, leaf: Tensor, y: Tensor, t: Tensor) -> None:
        self.map, self.leaf, self.y, self.t = map, leaf, y, t
        self.product = transpose(y, leaf)

    def __call__(self, w: Tensor) -> Tensor:
        """J(z) w + t."""
        return self.product(w) + self.t

    @property
    def can_take(self) -> bool:
        """Whether `take` is possible."""
        return self.map.can_take

    def take(self, rows: Tensor) -> Map:
        """The same equation for some of the samples; evaluates f on them once."""
        map = self.map.take(rows)
        return Push(map, *map.graph(self.leaf.detach().index_select(0, rows)), self.t.index_select(0, rows))

    def push(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        """The products w ↦ J(z) w: the Jacobian of this map is J, wherever it is asked for."""
        del z
        return self.product

    def jacobian(self, z: Tensor) -> Tensor:
        """J, (batch, n, n)."""
        return torch.stack([product(self.y, self.leaf, basis) for basis in units(z)], dim=1)


def product(y: Tensor, leaf: Tensor, u: Tensor) -> Tensor:
    """Jᵀ u for the graph leaf → y, without a graph; zero where y does not depend on leaf.

    Args:
        y: (batch, n), with a graph.
        leaf: (batch, n).
        u: (batch, n).

    Returns:
        (batch, n).
    """
    if not y.requires_grad:
        return torch.zeros_like(u)
    (pulled,) = torch.autograd.grad(y, leaf, u, retain_graph=True, allow_unused=True)
    return torch.zeros_like(u) if pulled is None else pulled


def transpose(y: Tensor, leaf: Tensor) -> Callable[[Tensor], Tensor]:
    """The products w ↦ J w for the graph leaf → y, as the derivative of v ↦ Jᵀ v.

    Args:
        y: (batch, n), with a graph.
        leaf: (batch, n).

    Returns:
        The product, without a graph.
    """
    if not y.requires_grad:
        return torch.zeros_like
    v = torch.zeros_like(y, requires_grad=True)
    with torch.enable_grad():
        (pulled,) = torch.autograd.grad(y, leaf, v, create_graph=True, allow_unused=True)
    if pulled is None:
        return torch.zeros_like
    return lambda w: product(pulled, v, w)


def units(z: Tensor) -> list[Tensor]:
    """The unit vectors of one sample's state, each repeated over the batch.

    Args:
        z: (batch, n).

    Returns:
        n tensors (batch, n).
    """
    return [row.expand_as(z) for row in torch.eye(z.shape[1], dtype=z.dtype, device=z.device)]
