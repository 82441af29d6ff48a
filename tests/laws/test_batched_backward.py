"""What torch.autograd batches by its older means hides its values: refused in words, by every backward pass of ours."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq

F64 = torch.float64


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def contraction(x: torch.Tensor) -> torch.Tensor:
    return eq.fixed_point(lambda z, x: torch.tanh(0.5 * z + x), torch.zeros_like(x), x).value


def rolled_out(x: torch.Tensor) -> torch.Tensor:
    lfr = eq.ContractingREN(3, 2, 3, 1, generator=generator(), dtype=F64).explicit().detach()
    return eq.simulate(lfr, x[None])[0]


def parameters(x: torch.Tensor) -> torch.Tensor:
    model = eq.ContractingREN(3, 2, 3, 1, generator=generator(), dtype=F64)
    return torch.func.functional_call(model, {"cB2": x}, (torch.ones(1, 2, 3, dtype=F64),))[0]


MAPS = {
    "fixed_point": contraction, "MonotoneDEQ": eq.MonotoneDEQ(3, 4, generator=generator(), dtype=F64),
    "simulate": rolled_out, "parameters": parameters,
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_it_is_refused_and_torch_func_can(name: str) -> None:
    x = torch.randn(2, 3, generator=generator(), dtype=F64)
    with pytest.raises(eq.InputError, match=r"cannot be batched .* use torch\.func\.jacrev"):
        torch.autograd.functional.jacobian(MAPS[name], x, vectorize=True)
    truth = torch.autograd.functional.jacobian(MAPS[name], x)
    torch.testing.assert_close(torch.func.jacrev(MAPS[name])(x), truth, rtol=1e-5, atol=1e-6)
