"""Dropout that is fixed during a solve: an equilibrium of f exists only if f stays the same function."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._C import _functorch  # type: ignore[attr-defined]

from eqnets.errors import InputError


class FixedDropout(nn.Module):
    """Variational dropout: one mask for a whole solve, forward and backward, and a new one for the next solve.

    `DEQ` and `FiniteDepth` hold the masks; there is nothing to reset. Masks come from torch's random state, so that
    `torch.manual_seed` repeats them. A module that is used twice in a cell has two masks. In eval mode it is the
    identity, and called by itself it is ordinary dropout. Source: Gal & Ghahramani, NeurIPS 2016.

    Args:
        p: the probability of zero, in [0, 1).
        shared: dimensions along which the mask is the same: (2, 3) drops whole channels of images, (1,) the same
            features of every token in (batch, token, feature).

    Raises:
        InputError: p out of range.
    """

    def __init__(self, p: float = 0.5, shared: tuple[int, ...] = ()) -> None:
        super().__init__()
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p < 1:
            raise InputError(f"FixedDropout(p=…) must lie in [0, 1); got {p!r}.")
        self.p, self.shared = float(p), tuple(shared)

    @property
    def active(self) -> bool:
        """Whether it drops anything now."""
        return self.training and self.p > 0

    def draw(self, x: Tensor) -> Tensor:
        """A mask for x.

        Args:
            x: any tensor.

        Returns:
            Bool, True where x is kept; of size 1 along the shared dimensions.
        """
        shape = list(x.shape)
        for d in self.shared:
            shape[d] = 1
        return torch.rand(shape, device=x.device) >= self.p

    def forward(self, x: Tensor) -> Tensor:
        """Drop with a new mask.

        Args:
            x: any tensor.

        Returns:
            x/(1 − p) where it is kept, else zero.
        """
        return self.apply_mask(x, self.draw(x)) if self.active else x

    def apply_mask(self, x: Tensor, keep: Tensor) -> Tensor:
        """x/(1 − p) where it is kept, else zero (also where x is not finite)."""
        return torch.where(keep, x / (1 - self.p), 0.0)

    def extra_repr(self) -> str:
        """The options, for print."""
        return f"p={self.p}" + (f", shared={self.shared}" if self.shared else "")


class Held(nn.Module):
    """A FixedDropout during one solve: the n-th call within an evaluation of the cell always has the same mask.

    Args:
        dropout: what it stands for.
    """

    def __init__(self, dropout: FixedDropout) -> None:
        super().__init__()
        self.dropout, self.call = dropout, 0
        self.masks: dict[tuple[int, torch.Size, torch.device], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Drop with the mask of this call, drawn when it is first needed."""
        key = (self.call, x.shape, x.device)
        self.call += 1
        if key not in self.masks:
            mask = self.dropout.draw(x)
            while _functorch.is_gradtrackingtensor(mask):  # drawn under torch.func.grad, and used after it
                mask = _functorch.get_unwrapped(mask)
            self.masks[key] = mask
        return self.dropout.apply_mask(x, self.masks[key])
