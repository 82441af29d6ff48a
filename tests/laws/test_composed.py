"""Models inside and after one another: under torch.func their derivatives are those of plain reverse mode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian as plain_hessian
from torch.autograd.functional import jacobian as plain_jacobian
from torch.func import hessian, jacfwd, jacrev

import eqnets as eq

F64 = torch.float64
# torch's own forward mode
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nested(x: Tensor) -> Tensor:
    """An equilibrium whose every evaluation finds another one."""

    def outer(z: Tensor, x: Tensor) -> Tensor:
        inner = eq.fixed_point(lambda w, z, x: 0.3 * torch.sin(w) + 0.2 * z + x, torch.zeros_like(z), z, x)
        return 0.4 * torch.tanh(inner.value) + 0.1 * x

    return eq.fixed_point(outer, torch.zeros_like(x), x).value


class Cell(nn.Module):
    """A monotone network and a rollout inside of the cell of a deep equilibrium model."""

    def __init__(self) -> None:
        super().__init__()
        self.monotone = eq.MonotoneDEQ(3, 3, activation="tanh", dtype=F64, generator=drawn(2))
        self.ren = eq.ContractingREN(3, 2, 3, 3, activation="tanh", dtype=F64, generator=drawn(3))

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return 0.1 * self.monotone(z) + 0.1 * self.ren(torch.stack([z, x], 1))[0].mean(1) + x


class OneAfterAnother(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = eq.ContractingREN(3, 2, 3, 2, activation="tanh", dtype=F64, generator=drawn(4))
        self.second = eq.ContractingREN(2, 2, 3, 3, activation="tanh", acyclic=False, dtype=F64, generator=drawn(5))
        self.last = eq.MonotoneDEQ(3, 2, activation="tanh", dtype=F64, generator=drawn(6))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.first(x[:, None].expand(-1, 2, -1))
        return self.last(self.second(y)[0][:, -1])


@pytest.mark.parametrize(
    "model", [nested, eq.DEQ(Cell(), 3), OneAfterAnother()], ids=["nested", "inside of a cell", "one after another"]
)
def test_every_transform_agrees(model):
    x = torch.randn(2, 3, generator=drawn(0), dtype=F64)

    def loss(x: Tensor) -> Tensor:
        return model(x).sin().sum()

    def close(found: Tensor, truth: Tensor) -> None:
        assert float(truth.abs().max()) > 1e-4
        torch.testing.assert_close(found, truth, rtol=1e-7, atol=1e-8)

    J, H = plain_jacobian(model, x), plain_hessian(loss, x)
    close(jacrev(model)(x), J)
    close(jacfwd(model)(x), J)
    for twice in (hessian, lambda f: jacrev(jacrev(f)), lambda f: jacrev(jacfwd(f)), lambda f: jacfwd(jacfwd(f))):
        close(twice(loss)(x), H)
