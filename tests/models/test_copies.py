"""Every public module survives what torch does to modules: deepcopy, and pickle, by which processes hand them on."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tests.models.cells import Tanh
from torch import nn

import eqnets as eq
from eqnets.system import nonlinearity

SIZES = {"nu": 2, "nx": 3, "nv": 4, "ny": 2}
CELL = {"nu": 2, "nh": 3, "ny": 2}
SIGNAL, ROW, IMAGE = (3, 5, 2), (3, 4), (3, 2, 4, 4)
FLOW = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

MODULES = {  # how to make one, and the shape of its input
    "ContractingREN": (lambda: eq.ContractingREN(**SIZES, activation="tanh", acyclic=False), SIGNAL),
    "DEQ": (lambda: eq.DEQ(Tanh(4, 4), 4), ROW),
    "DissipativeREN": (
        lambda: eq.DissipativeREN(**SIZES, Q=-torch.eye(2), S=torch.zeros(2, 2), R=torch.eye(2)), SIGNAL,
    ),
    "FiniteDepth": (lambda: eq.FiniteDepth(Tanh(4, 4), 4, 3), ROW),
    "FixedDropout": (lambda: eq.FixedDropout(0.5).eval(), ROW),
    "FreeREN": (lambda: eq.FreeREN(**SIZES, activation="elu(0.5)"), SIGNAL),
    "GRU": (lambda: eq.GRU(**CELL), SIGNAL),
    "LSTM": (lambda: eq.LSTM(**CELL), SIGNAL),
    "LipschitzDEQ": (lambda: eq.LipschitzDEQ(4, 6, 2, 1.0, activation="hardtanh"), ROW),
    "LipschitzREN": (lambda: eq.LipschitzREN(**SIZES, gamma=2.0), SIGNAL),
    "MonotoneConvDEQ": (
        lambda: eq.MonotoneConvDEQ(2, 3, (4, 4), padding="zeros", activation="leaky_relu(0.2)"), IMAGE,
    ),
    "MonotoneDEQ": (lambda: eq.MonotoneDEQ(4, 6, activation="softshrink(0.1)"), ROW),
    "MonotoneLinear": (lambda: eq.MonotoneLinear(4), ROW),
    "MultiTierDEQ": (lambda: eq.MultiTierDEQ(2, (2, 3), (4, 4)), IMAGE),
    "NeuralODE": (lambda: eq.NeuralODE(2, 3, 2), SIGNAL),
    "ODEBlock": (lambda: eq.ODEBlock(FLOW), ROW),
    "PassiveREN": (lambda: eq.PassiveREN(**SIZES), SIGNAL),
    "RNN": (lambda: eq.RNN(**CELL), SIGNAL),
}  # fmt: skip


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_is_copied_and_pickled_after_use(name):
    torch.manual_seed(0)
    make, shape = MODULES[name]
    module = make().double()
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = first(module(x))
    if before.requires_grad:
        before.square().sum().backward()
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(first(twin(x)), before, rtol=0, atol=0)
        for parameter in twin.parameters():
            parameter.data.zero_()
    torch.testing.assert_close(first(module(x)), before, rtol=0, atol=0)


def test_every_public_module_is_tested():
    public = [getattr(eq, name) for name in eq.__all__]
    modules = {found.__name__ for found in public if isinstance(found, type) and issubclass(found, nn.Module)}
    assert modules - set(MODULES) == set()


@pytest.mark.parametrize("name", [*nonlinearity.names(), "relu,tanh,elu(0.3)"])
def test_a_nonlinearity_is_the_same_in_another_process(name):
    phi = nonlinearity.get(name)
    twin = pickle.loads(pickle.dumps(phi))
    v = torch.linspace(-3, 3, 31, dtype=torch.float64).repeat(3, 1).mT
    assert twin.name == phi.name and twin.slope == phi.slope
    assert torch.equal(twin(v), phi(v)) and torch.equal(twin.derivative(v), phi.derivative(v))
    if phi.slope[0] >= 0 and phi.slope[1] <= 1:
        assert torch.equal(twin.prox(v, 0.3), phi.prox(v, 0.3))


def test_a_solution_of_a_monotone_network_is_handed_on_with_its_bound():
    deq = eq.MonotoneDEQ(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        solution = deq.solve(torch.ones(2, 4, dtype=torch.float64))
    assert torch.equal(pickle.loads(pickle.dumps(solution)).bound, solution.bound)
