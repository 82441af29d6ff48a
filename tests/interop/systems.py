"""Systems to export: every block full and random, all sizes distinct, D11 acyclic or full; and certified ones."""

from __future__ import annotations

import torch

from eqnets.certification import Certificate, Contracting, certify
from eqnets.models import ContractingREN
from eqnets.system.lfr import LFR

SIZES = [
    (2, 3, 4, 5),
    (5, 4, 3, 2),
    (0, 3, 2, 1),
    (3, 0, 1, 2),
    (0, 0, 2, 3),
    (1, 11, 1, 1),
    (2, 3, 0, 1),
    (2, 3, 1, 0),
]
ACTIVATIONS = [
    "relu", "tanh", "sigmoid", "softplus", "identity", "hardtanh", "sine_defect", "gelu", "silu", "mish", "selu",
    "leaky_relu(0.1)", "elu(0.5)", "softshrink(0.25)", "tanh,relu,gelu,elu(0.5),identity",
]  # fmt: skip


def random_lfr(sizes=(2, 5, 3, 4), acyclic=True, activation="tanh", seed=0, **labels) -> LFR:
    """An LFR of sizes nx, nv, nu, ny, float64, whose equation has one solution for every activation here."""
    nx, nv, nu, ny = sizes
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    D11 = 0.3 * draw(nv, nv) / max(nv, 1) ** 0.5
    return LFR(
        A=0.4 * draw(nx, nx) / max(nx, 1) ** 0.5, B1=0.2 * draw(nx, nv), B2=draw(nx, nu), C1=0.3 * draw(nv, nx),
        C2=draw(ny, nx), D11=torch.tril(D11, -1) if acyclic else D11, D12=draw(nv, nu), D21=draw(ny, nv),
        D22=draw(ny, nu), bx=draw(nx), bv=draw(nv), by=draw(ny), activation=activation, **{"dt": 0.0025, **labels},
    )  # fmt: skip


def start(lfr: LFR, seed: int = 7) -> torch.Tensor:
    """A random initial state (nx,)."""
    return torch.randn(lfr.nx, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(lfr: LFR, batch: int = 2, time: int = 20, seed: int = 8) -> torch.Tensor:
    """Random inputs (batch, time, nu), others than the exports are checked with."""
    return torch.randn(batch, time, lfr.nu, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def certified(acyclic: bool) -> tuple[LFR, Certificate]:
    """A contracting network with names and units, and its certificate."""
    ren = ContractingREN(
        2, 3, 6, 1, rate=0.95, acyclic=acyclic, generator=torch.Generator().manual_seed(3), dtype=torch.float64, dt=0.05
    )
    labels = {"u_names": ("force", "flow.in"), "y_names": ("level */",), "u_units": ("N", "m³/s"), "y_units": ("m",)}
    lfr = ren.explicit().detach().replace(**labels)
    return lfr, certify(Contracting(0.95), lfr, ren.witness())
