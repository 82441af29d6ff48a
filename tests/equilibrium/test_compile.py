"""torch.compile: of the cell it speeds up, of the model it works with one graph break."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import functional_call, grad

import eqnets as eq

# what the compiler of torch does itself
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 5, dtype=torch.float64)
        W = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        with torch.no_grad():
            self.linear.weight.copy_(0.6 * W / torch.linalg.matrix_norm(W, 2))
            self.linear.bias.fill_(0.1)

    def forward(self, z, x):
        return torch.tanh(self.linear(z) + x)


class Model(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        return eq.fixed_point(
            self.cell, torch.zeros_like(x), x.sin(), rtol=1e-12, atol=1e-13, on_failure="raise"
        ).value.cos()


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def inputs():
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_cell_gives_the_same_equilibrium_and_the_same_derivatives(backend):
    cell, x = Cell(), inputs()
    counter = CompileCounterWithBackend(backend)
    model, truth = Model(torch.compile(cell, backend=counter, fullgraph=True)), Model(cell)
    parameters = list(cell.parameters())
    torch.testing.assert_close(model(x), truth(x))
    assert counter.frame_count >= 1

    def derivatives(model):
        first = torch.autograd.grad(model(x).square().sum(), parameters)
        again = torch.autograd.grad(model(x).square().sum(), parameters, create_graph=True)
        return first, torch.autograd.grad(sum(g.square().sum() for g in again), parameters)

    torch.testing.assert_close(derivatives(model), derivatives(truth), rtol=1e-9, atol=1e-11)


def test_a_compiled_cell_works_under_torch_func_and_with_newton_krylov():
    cell, x = Cell(), inputs()
    compiled = torch.compile(cell, backend="aot_eager")
    z0 = torch.zeros_like(x)
    parameters = {k: v.detach() for k, v in cell.named_parameters()}
    ours = grad(lambda p: functional_call(Model(compiled), {f"cell._orig_mod.{k}": v for k, v in p.items()}, x).sum())(
        parameters
    )
    truth = torch.autograd.grad(Model(cell)(x).sum(), list(cell.parameters()))
    torch.testing.assert_close(list(ours.values()), list(truth), rtol=1e-9, atol=1e-11)
    sol = eq.fixed_point(compiled, z0, x, solver=eq.NewtonKrylov(), on_failure="raise")
    torch.testing.assert_close(sol.value, cell(sol.value, x), rtol=1e-7, atol=1e-9)


def test_a_compiled_model_breaks_its_graph_once_at_the_solve():
    model, x = Model(Cell()), inputs()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter)
    torch.testing.assert_close(compiled(x), model(x))
    assert counter.frame_count == 2  # what comes before the solve, and what comes after it
    ours = torch.autograd.grad(compiled(x).square().sum(), list(model.parameters()))
    truth = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-11)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(model, backend="eager", fullgraph=True)(x)


def test_a_compiled_monotone_network_is_solved_as_ever():
    """The solve hides from the compiler, which cannot follow it into C."""
    model = eq.MonotoneDEQ(3, 5, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x), rtol=0, atol=0)
