"""Small systems with known answers, and records of them."""

from __future__ import annotations

import numpy as np
import torch

from eqnets.identification.data import Data
from eqnets.identification.record import Record
from eqnets.system.lti import LTI


def random_lti(nx: int, nu: int, ny: int, seed: int, radius: float = 0.9) -> LTI:
    """A stable system with spectral radius `radius`."""
    g = torch.Generator().manual_seed(seed)
    A, B, C, D = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((nx, nx), (nx, nu), (ny, nx), (ny, nu)))
    return LTI(A * radius / torch.linalg.eigvals(A).abs().max(), B, C, D, dt=0.1)


def records_of(lti: LTI, lengths: list[int], seed: int, noise: float = 0.0) -> Data:
    """Records under white inputs from random initial states; `noise` is a share of the outputs' size."""
    rng = np.random.default_rng(seed)
    A, B, C, D = (block.numpy() for block in (lti.A, lti.B, lti.C, lti.D))
    made = []
    for i, n in enumerate(lengths):
        u, x, y = rng.standard_normal((n, lti.nu)), rng.standard_normal(lti.nx), np.empty((n, lti.ny))
        for t in range(n):
            y[t] = C @ x + D @ u[t]
            x = A @ x + B @ u[t]
        made.append(Record(u, y + noise * y.std(axis=0) * rng.standard_normal(y.shape), f"record {i}"))
    return Data(tuple(made), dt=lti.dt)
