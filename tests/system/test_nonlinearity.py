"""Each nonlinearity's lemma: the slope interval bounds every difference quotient, and no smaller interval does."""

from __future__ import annotations

import pytest
import torch

from eqnets.errors import InputError
from eqnets.system import nonlinearity
from eqnets.system.nonlinearity import Nonlinearity, PerNeuron

NAMES = [
    "relu", "tanh", "softplus", "sigmoid", "identity", "sine_defect", "leaky_relu", "leaky_relu(0.3)", "leaky_relu(0)",
    "leaky_relu(1)", "elu", "elu(0.4)", "elu(1.7)", "hardtanh", "softshrink", "softshrink(1.2)", "gelu", "silu", "mish",
    "selu",
]  # fmt: skip


def test_every_name_is_tested():
    assert set(nonlinearity.names()) == {name.split("(")[0] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_slope_interval_holds_and_is_tight(name):
    phi = nonlinearity.get(name)
    generator = torch.Generator().manual_seed(0)
    # pairs at all distances, around all magnitudes up to 50 (past softplus' threshold of 40)
    a = 50 * (2 * torch.rand(100_000, generator=generator, dtype=torch.float64) - 1)
    step = 10 ** (4 * torch.rand(100_000, generator=generator, dtype=torch.float64) - 2.5)
    b = a + torch.where(torch.rand(100_000, generator=generator) < 0.5, step, -step)
    quotient = (phi(a) - phi(b)) / (a - b)
    low, high = phi.slope
    rounding = 1e-14 * (1 + a.abs() + b.abs()) / (a - b).abs()
    assert bool((quotient >= low - rounding).all()) and bool((quotient <= high + rounding).all())
    # tight: near pairs reach both ends
    grid = torch.linspace(-50, 50, 200_001, dtype=torch.float64)
    kink = torch.linspace(-1e-4, 1e-4, 2001, dtype=torch.float64)  # where a one-sided slope is the extreme one
    near = torch.cat([(phi(g[1:]) - phi(g[:-1])) / (g[1:] - g[:-1]) for g in (grid, kink)])
    assert float(near.min()) == pytest.approx(low, abs=1e-6)
    assert float(near.max()) == pytest.approx(high, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivative_is_autograds(name, dtype):
    phi = nonlinearity.get(name)
    v = torch.linspace(-45, 45, 4001, dtype=dtype)[::2].requires_grad_()
    v = v[v.detach() != 0] if name.startswith(("relu", "leaky", "elu", "selu")) else v  # the kink has its own test
    (gradient,) = torch.autograd.grad(phi(v).sum(), v)
    assert phi.derivative(v).dtype == dtype
    torch.testing.assert_close(phi.derivative(v), gradient, rtol=0, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("name", "left"), [("relu", 0.0), ("leaky_relu(0.3)", 0.3)])
def test_derivative_at_a_kink_is_the_left_one(name, left):
    assert float(nonlinearity.get(name).derivative(torch.zeros(1, dtype=torch.float64))) == left


def test_values():
    v = torch.tensor([-2.0, 0.5], dtype=torch.float64)
    expected = {
        "relu": [0.0, 0.5], "tanh": torch.tanh(v).tolist(), "identity": [-2.0, 0.5], "leaky_relu(0.3)": [-0.6, 0.5],
        "softplus": torch.log1p(torch.exp(v)).tolist(), "sigmoid": (1 / (1 + torch.exp(-v))).tolist(),
        "sine_defect": (v - torch.sin(v)).tolist(),
    }  # fmt: skip
    for name, values in expected.items():
        torch.testing.assert_close(nonlinearity.get(name)(v), torch.tensor(values, dtype=torch.float64))


def test_per_neuron():
    mixed = nonlinearity.get(["tanh", "relu", nonlinearity.leaky_relu(0.2), "tanh", "relu", "sigmoid"])
    assert isinstance(mixed, PerNeuron)
    v = torch.randn(7, 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for i, part in enumerate(mixed.parts):
        torch.testing.assert_close(mixed(v)[..., i], part(v[..., i]), rtol=0, atol=0)
        torch.testing.assert_close(mixed.derivative(v)[..., i], part.derivative(v[..., i]), rtol=0, atol=0)
    low, high = mixed.slopes(6)
    assert low.tolist() == [0, 0, 0.2, 0, 0, 0] and high.tolist() == [1, 1, 1, 1, 1, 0.25]
    assert mixed.slope == (0.0, 1.0)
    again = nonlinearity.get(mixed.name)  # its name, as a file stores it, gives it back
    assert isinstance(again, PerNeuron) and again.name == mixed.name
    torch.testing.assert_close(again(v), mixed(v), rtol=0, atol=0)
    with pytest.raises(InputError, match="6 neurons, but v has 4"):
        mixed(v[..., :4])
    with pytest.raises(InputError, match="6 neurons, not 4"):
        mixed.slopes(4)


def test_slopes_per_neuron_of_one_nonlinearity():
    low, high = nonlinearity.get("sine_defect").slopes(3)
    assert low.tolist() == [0, 0, 0] and high.tolist() == [2, 2, 2] and low.dtype == torch.float64


@pytest.mark.parametrize(
    "bad",
    [
        "reluu", "", "leaky_relu(x)", "leaky_relu(1.5)", "leaky_relu(1e)", "relu(1)", "relu,,relu", "elu(-1)", "elu(x)",
        "softshrink(0)", "elu()",
    ],
)  # fmt: skip
def test_unknown_names_are_refused(bad):
    with pytest.raises(InputError):
        nonlinearity.get(bad)


def test_the_unknown_name_is_told_what_there_is():
    with pytest.raises(InputError, match=r"no activation 'swish'; choose one of elu, gelu, hardtanh"):
        nonlinearity.get("swish")


@pytest.mark.parametrize("bad", [None, 3, torch.relu, torch.nn.ReLU()], ids=str)
def test_what_names_nothing_is_refused_in_words(bad):
    with pytest.raises(InputError, match="an activation is a name"):
        nonlinearity.get(bad)


def test_objects_pass_through():
    own = Nonlinearity("half", lambda v: v / 2, lambda v: torch.full_like(v, 0.5), (0.5, 0.5))
    assert nonlinearity.get(own) is own
