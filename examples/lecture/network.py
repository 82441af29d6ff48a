"""The lecture's network: ten neurons, three inputs, and the root that scipy's fsolve finds (its listing 2)."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.optimize import fsolve
from torch import Tensor

N_Z, T = 10, 3


class Cell(torch.nn.Module):
    """tanh(W_z z + U_z x + b_z), in float64, with an input x of its own.

    `torch.nn.Linear` draws its weights from ±1/√10, so that the spectral radius of W_z is near 0.58; the lecture's
    "added line 2" draws them from a standard normal, with a spectral radius near √10.
    """

    def __init__(self, seed: int, normal: bool) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.W_z = torch.nn.Linear(N_Z, N_Z, dtype=torch.float64)
        if normal:
            torch.nn.init.normal_(self.W_z.weight)
        self.U_z = torch.nn.Linear(T, N_Z, bias=False, dtype=torch.float64)
        self.x = torch.randn(1, T, dtype=torch.float64)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.W_z(z) + self.U_z(x))


def by_fsolve(cell: Cell) -> tuple[Tensor, bool]:
    """The root from zero, and whether it is one: fsolve's own flag can be wrong, so the residual decides."""

    def g(z: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return (cell(torch.from_numpy(z)[None], cell.x)[0] - torch.from_numpy(z)).numpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "no good progress": told by the residual
        z, _, _, _ = fsolve(g, np.zeros(N_Z), xtol=1e-13, full_output=True)
    return torch.from_numpy(z)[None], bool(np.abs(g(z)).max() < 1e-11)


def margin(W: Tensor) -> float:
    """The smallest eigenvalue of the symmetric part of I − W."""
    return float(torch.linalg.eigvalsh(torch.eye(len(W), dtype=W.dtype) - (W + W.T) / 2)[0])


def radius(W: Tensor) -> float:
    """The spectral radius."""
    return float(torch.linalg.eigvals(W).abs().max())
