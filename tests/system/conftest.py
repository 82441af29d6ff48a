"""Systems with four distinct sizes, so that a swapped pair of blocks cannot pass a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from eqnets.system.lfr import LFR

NX, NV, NU, NY = 2, 3, 4, 5
SHAPES = {
    "A": (NX, NX), "B1": (NX, NV), "B2": (NX, NU), "C1": (NV, NX), "C2": (NY, NX), "D11": (NV, NV), "D12": (NV, NU),
    "D21": (NY, NV), "D22": (NY, NU), "bx": (NX,), "bv": (NV,), "by": (NY,),
}  # fmt: skip


@pytest.fixture
def shapes() -> dict[str, tuple[int, ...]]:
    return dict(SHAPES)


@pytest.fixture
def random_lfr() -> Callable[..., LFR]:
    """A factory: every block full and random, D11 strictly lower triangular unless `acyclic=False`."""

    def make(seed: int = 0, *, acyclic: bool = True, scale: float = 0.5, **fields: object) -> LFR:
        generator = torch.Generator().manual_seed(seed)
        blocks = {
            name: scale * torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()
        }
        if acyclic:
            blocks["D11"] = torch.tril(blocks["D11"], -1)
        return LFR(**{"activation": "tanh", "dt": 0.1, **blocks, **fields})

    return make
