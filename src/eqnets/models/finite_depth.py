"""The traditional network of a given depth: the explicit twin of a DEQ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from eqnets.errors import InputError
from eqnets.models.frozen import Frozen
from eqnets.models.guess import check_init, start


class FiniteDepth(nn.Module):
    """z ← cell(z, x), `depth` times from the start; with a list of cells, one after the other.

    It has the calling convention of `DEQ`, and with one cell the same parameters: its output tends to that of the DEQ
    where the cell contracts. Gradients are those of the layers, and its memory grows with the depth.

    Args:
        cell: a module or callable (z, x) → z, or a list of these (untied weights).
        init: as for DEQ.
        depth: number of layers, zero or more; for a list it is its length, and may be left out.

    Raises:
        InputError: a depth that is no whole number or not the length of the list, an init that is no start.
    """  # noqa: DOC502

    def __init__(
        self, cell: Callable[..., Any] | Sequence[Callable[..., Any]], init: Any, depth: int | None = None
    ) -> None:
        super().__init__()
        check_init(init)
        untied = isinstance(cell, (list, tuple, nn.ModuleList))
        if depth is None and untied:
            depth = len(cell)
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 0:
            raise InputError(f"depth must be a whole number, zero or more; got {depth!r}.")
        if untied and len(cell) != depth:
            raise InputError(
                f"there are {len(cell)} cells for depth={depth}; leave depth out, or give one cell to repeat."
            )
        cells: list[Any] = list(cell) if untied else [cell]  # type: ignore[arg-type]
        modules = sum(isinstance(c, nn.Module) for c in cells) if untied else 0
        if not all(callable(c) for c in cells) or 0 < modules < len(cells):
            raise InputError("cell must be a module or a function (z, x) -> z, or a list of modules or of functions.")
        self.cell = nn.ModuleList(cell) if modules else cell  # type: ignore[arg-type]
        self.init, self.depth, self.untied = init, depth, untied

    def forward(self, x: Any, z0: Any = None) -> Any:
        """The last layer's output.

        Args:
            x: the input, injected in every layer; the batch comes first.
            z0: the first state; None: from `init`. It is differentiated.

        Returns:
            z.

        Raises:
            InputError: zeros cannot be made for x.
        """  # noqa: DOC502
        cells: Any = self.cell
        z = start(self.init, x, self.cell, 1) if z0 is None else z0
        layers = [Frozen(cell) for cell in cells] if self.untied else [Frozen(cells)] * self.depth
        for layer in layers:
            z = layer(z, x, *layer.tensors)
        return z

    def extra_repr(self) -> str:
        """The options, for print."""
        return f"depth={self.depth}, untied={self.untied}"
