"""Small systems with known answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from eqnets.system.lfr import LFR
from eqnets.system.witness import Supply, Witness

Given = tuple[LFR, Witness]


def _random_lfr(seed: int, nu: int, nx: int, nv: int, ny: int, *, scale: float = 1.0, dt: float | None = 1.0,
               activation: str = "relu", acyclic: bool = False, **labels: object) -> LFR:  # fmt: skip
    """An LFR with normal entries; nothing is promised about it."""
    g = torch.Generator().manual_seed(seed)
    sizes = {"A": (nx, nx), "B1": (nx, nv), "B2": (nx, nu), "C1": (nv, nx), "D11": (nv, nv), "D12": (nv, nu),
             "C2": (ny, nx), "D21": (ny, nv), "D22": (ny, nu), "bx": (nx,), "bv": (nv,), "by": (ny,)}  # fmt: skip
    blocks = {k: scale * torch.randn(s, generator=g, dtype=torch.float64) for k, s in sizes.items()}
    if acyclic:
        blocks["D11"] = torch.tril(blocks["D11"], -1)
    return LFR(**blocks, activation=activation, dt=dt, **labels)  # type: ignore[arg-type]


@pytest.fixture
def random_lfr() -> Callable[..., LFR]:
    """A maker of LFRs with normal entries: random_lfr(seed, nu, nx, nv, ny, scale=, dt=, activation=, acyclic=, …)."""
    return _random_lfr


@pytest.fixture
def small_gain() -> Callable[..., Given]:
    """A maker of LFRs with slopes in [0, 1] that P = I, Λ = I prove to be γ-Lipschitz by (−I, γ²I) for a known γ."""

    def make(seed: int, nu: int, nx: int, nv: int, ny: int, gamma: float = 2.0, dt: float | None = 1.0) -> Given:
        # M = diag(I, 2I, γ²I) − (terms of size ≪ 1): blocks of norm ≤ 0.1 leave room
        lfr = _random_lfr(seed, nu, nx, nv, ny, dt=dt)
        blocks = {k: 0.1 * b / max(float(torch.linalg.matrix_norm(b, 2)), 1e-9) if b.ndim == 2 and b.numel() else b
                  for k, b in lfr.blocks().items()}  # fmt: skip
        if dt is None:
            blocks["A"] = blocks["A"] - torch.eye(nx, dtype=torch.float64)
        eye = [torch.eye(n, dtype=torch.float64) for n in (nx, ny, nu)]
        supply = Supply(-eye[1], torch.zeros(nu, ny, dtype=torch.float64), gamma**2 * eye[2])
        return lfr.replace(**blocks), Witness(eye[0], torch.ones(nv, dtype=torch.float64), supply)

    return make
