"""A state, tensor or pytree, as rows of numbers: (batch, n) in at least float32, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from eqnets.errors import InputError

_ALONE = tree_flatten(torch.zeros(()))[1]


@dataclass(frozen=True, eq=False)
class Layout:
    """How the leaves of a state lie in one flat row per sample.

    Args:
        spec: the structure.
        shapes: of one sample, per leaf.
        dtypes: per leaf.
        dtype: of the flat state: the widest of the leaves, at least float32.
        batch: the number of samples; 1 with batch_dims=0.
        batch_dims: 0 or 1.
        cast: whether f may return another floating dtype than it was given (autocast is on).
    """

    spec: TreeSpec
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    dtype: torch.dtype
    batch: int
    batch_dims: int
    cast: bool

    @property
    def n(self) -> int:
        """Numbers per sample."""
        return sum(prod(shape) for shape in self.shapes)

    @property
    def narrowest(self) -> torch.dtype:
        """The leaf dtype with the largest eps: what the tolerance has to respect."""
        return max(self.dtypes, key=lambda dtype: torch.finfo(dtype).eps)

    @cached_property
    def _flat(self) -> bool:
        """Whether the state is its own flat form: one leaf, one row of numbers per sample, of the same dtype."""
        return (self.spec == _ALONE, self.batch_dims, len(self.shapes[0]), self.dtypes[0]) == (True, 1, 1, self.dtype)

    def flatten(self, tree: Any) -> Tensor:
        """A state as (batch, n).

        Args:
            tree: leaves with the batch in front (without it for batch_dims=0).

        Returns:
            (batch, n) in `dtype`; the tensor itself where it already is that.
        """
        if self._flat and tree.dtype == self.dtype:
            return tree
        leaves = [tree] if self.spec == _ALONE else tree_flatten(tree)[0]
        if self.batch_dims == 0:
            leaves = [leaf[None] for leaf in leaves]
        rows = [(leaf if leaf.ndim == 2 else leaf.reshape(leaf.shape[0], -1)).to(self.dtype) for leaf in leaves]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)

    def unflatten(self, flat: Tensor) -> Any:
        """The state in the caller's structure, shapes and dtypes.

        Args:
            flat: (any batch, n).

        Returns:
            The tree; views of `flat` where dtypes agree.
        """
        if self._flat:
            return flat
        leaves, offset = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            size = prod(shape)
            part = flat if size == flat.shape[1] else flat[:, offset : offset + size]
            part = part if len(shape) == 1 and self.batch_dims else part.reshape(flat.shape[: self.batch_dims] + shape)
            leaves.append(part.to(dtype))
            offset += size
        return leaves[0] if self.spec == _ALONE else tree_unflatten(leaves, self.spec)

    def check(self, output: Any) -> None:
        """Refuse an output of f that is not a state.

        Args:
            output: what f returned for a full batch.

        Raises:
            InputError: another structure, shape, dtype or device.
        """
        leaves, spec = tree_flatten(output)
        if spec != self.spec or not all(isinstance(leaf, Tensor) for leaf in leaves):
            expected = _described(tree_unflatten(self.dtypes, self.spec))
            raise InputError(f"f must return the structure of z0, {expected}, but returned {_described(output)}.")
        for i, (leaf, shape, dtype) in enumerate(zip(leaves, self.shapes, self.dtypes, strict=True)):
            expected = (self.batch, *shape) if self.batch_dims else tuple(shape)
            where = f"leaf {i} of the state" if len(leaves) > 1 else "the state"
            if tuple(leaf.shape) != expected:
                raise InputError(
                    f"f returned {tuple(leaf.shape)} for {where}, but z0 has {expected}; make f map z to z."
                )
            if leaf.dtype != dtype and not (self.cast and leaf.is_floating_point()):
                raise InputError(
                    f"f returned {leaf.dtype} for {where}, but z0 is {dtype}; convert the parameters, the inputs or z0."
                )


def _described(tree: Any) -> str:
    """What a state, or what should be one, is made of."""
    leaves, spec = tree_flatten(tree)
    named = ["a tensor" if isinstance(leaf, (Tensor, torch.dtype)) else type(leaf).__name__ for leaf in leaves]
    return str(tree_unflatten(named, spec)).replace("'", "")


def check_batch_dims(batch_dims: Any) -> None:
    """Refuse a number of batch dimensions that is neither 0 nor 1.

    Args:
        batch_dims: as was asked.

    Raises:
        InputError: it is another.
    """
    if batch_dims not in (0, 1) or isinstance(batch_dims, bool):
        raise InputError(
            f"batch_dims must be 0 (one sample) or 1 (the first dimension is the batch); got {batch_dims!r}."
        )


def layout_of(z0: Any, batch_dims: int) -> Layout:
    """The layout of a start.

    Args:
        z0: a tensor or a pytree of tensors.
        batch_dims: 1, the first dimension of every leaf is the batch; 0, one sample.

    Returns:
        The layout.

    Raises:
        InputError: no tensors, not real floating point, mixed devices, different or empty batches.
    """
    check_batch_dims(batch_dims)
    leaves, spec = tree_flatten(z0)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        kinds = ", ".join(sorted({type(leaf).__name__ for leaf in leaves})) or "nothing"
        raise InputError(f"z0 must be a tensor or a pytree of tensors; it holds {kinds}.")
    for leaf in leaves:
        if not leaf.is_floating_point():
            raise InputError(
                f"z0 must be real floating point, but a leaf is {leaf.dtype}; use z0.float() or .double()."
            )
        if leaf.is_meta:
            raise InputError("z0 is on the meta device and has no values, on which a solve depends; give it real ones.")
        if leaf.device != leaves[0].device:
            raise InputError(f"z0 has leaves on {leaves[0].device} and {leaf.device}; move them to one device.")
        if batch_dims and leaf.ndim == 0:
            raise InputError("a leaf of z0 has no batch dimension; add one, or pass batch_dims=0 for a single sample.")
    batches = sorted({leaf.shape[0] for leaf in leaves}) if batch_dims else [1]
    if len(batches) > 1:
        raise InputError(f"the leaves of z0 have different batches {batches}; the first dimension must be one batch.")
    if batches[0] == 0:
        raise InputError("z0 has an empty batch: there is no sample to solve for.")
    dtype = torch.float32
    for leaf in leaves:
        dtype = torch.promote_types(dtype, leaf.dtype)
    return Layout(
        spec, tuple(leaf.shape[batch_dims:] for leaf in leaves), tuple(leaf.dtype for leaf in leaves), dtype,
        batches[0], batch_dims, torch.is_autocast_enabled(leaves[0].device.type),
    )  # fmt: skip
