"""The cells of benchmarks/fixed_point.py, each with its own exact answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear

import eqnets as eq

TOL = 1e-4
"""On the true relative residual ‖f(z) − z‖₂ / ‖f(z)‖₂ of every sample, forward and adjoint."""


@dataclass(eq=False)
class Case:
    """A cell f(z, *args) with its start, its cotangent, and the answer in float64."""

    name: str
    f: Callable[..., Tensor]
    args: tuple[Tensor, ...]
    in_dims: tuple[int | None, ...]
    z0: Tensor
    max_steps: int = 60
    uneven: bool = False
    g: Tensor = field(init=False)
    wanted: list[Tensor] = field(init=False)
    atol: float = field(init=False)
    atol_adjoint: float = field(init=False)
    gradients: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.g = torch.randn(self.z0.shape, generator=torch.Generator().manual_seed(7))
        self.wanted = [t.requires_grad_() for t in self.args if t.is_floating_point()]
        self.calibrate()

    def calibrate(self) -> None:
        """Solve in float64; the atol that is TOL·RMS of the smallest sample asks for TOL in every sample."""
        args = [t.detach().double().requires_grad_() for t in self.args]
        options = {"rtol": 1e-12, "atol": 1e-13, "max_steps": 2000, "on_failure": "raise"}
        value = eq.fixed_point(self.f, self.z0.double(), *args, **options).value
        self.gradients = list(torch.autograd.grad(value, args, self.g.double(), retain_graph=True))
        z = value.detach().requires_grad_()
        y = self.f(z, *args)
        g = self.g.double()
        u = eq.fixed_point(
            lambda u: torch.autograd.grad(y, z, u, retain_graph=True)[0] + g, torch.zeros_like(g), **options
        ).value
        self.atol = TOL * float(rms(z.detach()).min())
        self.atol_adjoint = TOL * float((rms(u) / rms(g)).min())

    def residual(self, z: Tensor) -> float:
        """The largest relative residual of a sample, in float64."""
        z = z.double()
        y = self.f(z, *(t.detach().double() for t in self.args))
        return float(((y - z).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)).max())

    def gradient_error(self, gradients: tuple[Tensor, ...]) -> float:
        """The largest relative error of a gradient."""
        pairs = zip(gradients, self.gradients, strict=True)
        return max(float((a.double() - b).norm() / b.norm()) for a, b in pairs)

    def first(self, rows: int) -> list[Tensor]:
        """The arguments for the first samples, as leaves."""
        return [
            t if dim is None else t.detach()[:rows].clone().requires_grad_()
            for t, dim in zip(self.args, self.in_dims, strict=True)
        ]


def rms(z: Tensor) -> Tensor:
    return z.flatten(1).square().mean(dim=1).sqrt()


def tanh_cell(z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    return torch.tanh(linear(z, w) + x)


def dense(name: str, features: int, batch: int, gain: float) -> Case:
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(features, features, generator=draw) * (gain / math.sqrt(features))
    x = torch.randn(batch, features, generator=draw) * 0.5
    return Case(name, tanh_cell, (x, w), (0, None), torch.zeros(batch, features))


def mlp_cell(z: Tensor, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
    return torch.tanh(linear(torch.tanh(linear(z, v)), w) + x)


def mlp(features: int = 64, hidden: int = 64, batch: int = 128) -> Case:
    draw = torch.Generator().manual_seed(1)
    v = torch.randn(hidden, features, generator=draw) / math.sqrt(features)
    w = torch.randn(features, hidden, generator=draw) * (0.8 / math.sqrt(hidden))
    x = torch.randn(batch, features, generator=draw) * 0.5
    return Case("mlp_64", mlp_cell, (x, v, w), (0, None, None), torch.zeros(batch, features))


def conv_cell(z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    return torch.tanh(conv2d(z, w, padding=1) + x)


def conv(channels: int = 32, size: int = 14, batch: int = 32, gain: float = 0.8) -> Case:
    draw = torch.Generator().manual_seed(2)
    w = torch.randn(channels, channels, 3, 3, generator=draw) * (gain / math.sqrt(9 * channels))
    x = torch.randn(batch, channels, size, size, generator=draw) * 0.5
    return Case("conv_3x3", conv_cell, (x, w), (0, None), torch.zeros_like(x))


def uneven_cell(z: Tensor, x: Tensor, gain: Tensor, w: Tensor) -> Tensor:
    return torch.tanh(gain * linear(z, w) + x)


def uneven(features: int = 512, batch: int = 64) -> Case:
    """63 samples hardly depend on z; the last one contracts slowly, along 10 modes."""
    draw = torch.Generator().manual_seed(3)
    q = torch.linalg.qr(torch.randn(features, features, generator=draw, dtype=torch.float64))[0]
    spectrum = torch.linspace(-0.5, 0.5, features, dtype=torch.float64)
    spectrum[-10:] = torch.linspace(0.9, 0.97, 10, dtype=torch.float64)
    w = ((q * spectrum) @ q.T).float()
    gain = torch.full((batch, 1), 0.01)
    gain[-1] = 1.0
    x = torch.randn(batch, features, generator=draw) * 0.1
    return Case("uneven_63_of_64", uneven_cell, (x, gain, w), (0, 0, None), torch.zeros(batch, features), 200, True)


CASES: dict[str, Callable[[], Case]] = {
    "mlp_64": mlp,
    "dense_512_gain_0.5": lambda: dense("dense_512_gain_0.5", 512, 128, 0.5),
    "dense_512_gain_0.9": lambda: dense("dense_512_gain_0.9", 512, 128, 0.9),
    "conv_3x3": conv,
    "uneven_63_of_64": uneven,
}
SMOKE = "mlp_64"
