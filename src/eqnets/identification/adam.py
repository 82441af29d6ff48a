"""Adam in units: an update moves a parameter by about the learning rate times its own unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """Adam over θ/unit. Its moments are those of the plain gradient, to which its step is indifferent.

    Args:
        parameters: to change.
        units: one tensor a parameter, of its shape; see `eqnets.identification.units`.
    """

    def __init__(self, parameters: Sequence[Tensor], units: Sequence[Tensor]) -> None:
        super().__init__(parameters)
        self.parameters, self.units = list(parameters), list(units)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update, by the gradients that the parameters hold.

        Args:
            closure: has no use here, and must be None.
        """
        assert closure is None
        before = [p.clone() for p in self.parameters]
        super().step()
        for p, old, unit in zip(self.parameters, before, self.units, strict=True):
            p.copy_(old + unit * (p - old))
