"""The prox with step α: its defining equation, its derivative, and what has none."""

from __future__ import annotations

import math

import pytest
import torch

from eqnets.errors import InputError
from eqnets.system import nonlinearity

PROXES = [
    "relu", "leaky_relu(0.1)", "leaky_relu(0)", "leaky_relu(1)", "tanh", "sigmoid", "softplus", "elu", "elu(0.4)",
    "hardtanh", "softshrink", "softshrink(1.2)", "identity",
]  # fmt: skip
ALPHAS = [0.1, 0.3, 1.0, 3.0, 10.0]
KINKS = {"relu": [0.0], "leaky_relu": [0.0], "elu": [0.0], "hardtanh": [-1.0, 1.0], "softshrink": None}


def points(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    wide = 60 * torch.rand(2000, generator=generator, dtype=torch.float64) - 30
    return torch.cat([wide, 3 * torch.randn(2000, generator=generator, dtype=torch.float64)]).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", PROXES)
def test_the_prox_solves_its_equation(name, alpha, dtype):
    """z = σ(y) for the y with αy + (1 − α)z = x: y is read off z, and σ is asked."""
    phi, x = nonlinearity.get(name), points(dtype)
    z = phi.prox(x, alpha)
    y = (x - (1 - alpha) * z) / alpha
    assert z.dtype == dtype and z.shape == x.shape
    scale = (1 + x.abs() + z.abs()) * max(1, 1 / alpha) * max(1, alpha)
    assert float(((phi(y) - z).abs() / scale).max()) < 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", PROXES)
def test_the_prox_is_a_minimiser(name, alpha):
    """Firm nonexpansiveness, which every prox has: (z − z')² ≤ (z − z')(x − x')."""
    phi, x = nonlinearity.get(name), points()
    z = phi.prox(x, alpha)
    dx, dz = x[:, None] - x[None, :200], z[:, None] - z[None, :200]
    assert bool((dz**2 <= dz * dx + 1e-12).all())


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("name", PROXES)
def test_the_derivative_is_that_of_finite_differences(name, alpha):
    phi, x = nonlinearity.get(name), points()
    h = 1e-5
    difference = (phi.prox(x + h, alpha) - phi.prox(x - h, alpha)) / (2 * h)
    stem, _, number = name.partition("(")
    kinks = KINKS.get(stem, [])
    if kinks is None:
        threshold = float(number.rstrip(")") or 0.5)
        kinks = [-alpha * threshold, alpha * threshold]
    for kink in kinks:  # x at a kink: σ(kink) is known, so the prox maps α·kink + (1 − α)σ(kink) there
        at = kink if stem != "softshrink" else kink
        away = (x - at).abs() > 1e-3
        x, difference = x[away], difference[away]
    torch.testing.assert_close(phi.prox_derivative(x, alpha), difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", PROXES)
def test_a_step_of_one_is_the_nonlinearity(name):
    phi, x = nonlinearity.get(name), points()
    torch.testing.assert_close(phi.prox(x, 1.0), phi(x), rtol=0, atol=1e-15)
    torch.testing.assert_close(phi.prox_derivative(x, 1.0), phi.derivative(x), rtol=0, atol=1e-15)


def test_the_step_matters_where_the_function_is_no_projection():
    """The trap: σ itself at α ≠ 1 is another map, and leads to another point."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for name in PROXES:
        phi = nonlinearity.get(name)
        same = float((phi.prox(x, 0.5) - phi(x)).abs().max()) < 1e-12
        assert same == (name in ("relu", "leaky_relu(0)", "leaky_relu(1)", "hardtanh", "identity")), name


def test_one_nonlinearity_per_neuron():
    mixed = nonlinearity.get(["tanh", "relu", "softplus", "tanh"])
    x = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for i, part in enumerate(mixed.parts):
        torch.testing.assert_close(mixed.prox(x, 0.3)[..., i], part.prox(x[..., i], 0.3))
        torch.testing.assert_close(mixed.prox_derivative(x, 0.3)[..., i], part.prox_derivative(x[..., i], 0.3))


def test_far_and_undefined_arguments():
    x = torch.tensor([1e8, -1e8, math.nan], dtype=torch.float64)
    for name in ("tanh", "sigmoid", "softplus", "elu"):
        z = nonlinearity.get(name).prox(x, 0.3)
        assert bool(z[:2].isfinite().all()) and bool(z[2].isnan()), name


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gelu", "not monotone"), ("silu", "not monotone"), ("mish", "not monotone"), ("selu", "expands"),
     ("elu(1.7)", "expands"), ("sine_defect", "expands")],
)  # fmt: skip
def test_what_is_no_prox_is_refused_with_the_reason(name, reason):
    phi, x = nonlinearity.get(name), torch.zeros(3)
    for refused in (lambda: phi.prox(x, 1.0), lambda: phi.prox_derivative(x, 1.0), phi.require_prox):
        with pytest.raises(InputError, match=reason):
            refused()
    with pytest.raises(InputError, match=reason):
        nonlinearity.get(["relu", name]).require_prox()
