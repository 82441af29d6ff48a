"""The Jacobian estimates against dense Jacobians."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jacrev, vmap

from eqnets.equilibrium import fixed_point
from eqnets.equilibrium.spectrum import jacobian_norm, spectral_radius
from eqnets.errors import InputError


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def tanh(z, x, W):
    return torch.tanh(z @ W.T + x)


def dense(f, z, *args):
    return vmap(jacrev(lambda z, *args: f(z[None], *args)[0]), in_dims=(0, *[None] * len(args)))(z, *args)


def product(J):
    return lambda z: torch.einsum("bij,bj->bi", J, z)


# ---- ‖J‖²_F ---------------------------------------------------------------------------------------------------------


def test_the_norm_is_unbiased():
    W, z, x = randn(6, 6), randn(3, 6, seed=1), randn(6, seed=2)
    J = dense(tanh, z, x, W)
    exact = J.square().sum((1, 2))
    gram = J @ J.mT
    variance = 2 * (gram.square().sum((1, 2)) - gram.diagonal(dim1=1, dim2=2).square().sum(1))
    probes = 4000
    estimate = jacobian_norm(tanh, z, x, W, generator=seeded(3), probes=probes)
    assert (variance > 0).all()
    assert ((estimate - exact).abs() < 4 * (variance / probes).sqrt()).all()


def test_one_sign_per_number_makes_a_diagonal_jacobian_exact():
    z = randn(4, 5)
    torch.testing.assert_close(jacobian_norm(torch.sin, z), z.cos().square().sum(1))


def test_the_norm_is_differentiable_in_parameters_and_state():
    W, z, x = (0.5 * randn(3, 3)).requires_grad_(), randn(2, 3, seed=1).requires_grad_(), randn(3, seed=2)

    def norm(W, z):
        return jacobian_norm(tanh, z, x, W, generator=seeded(3), probes=2)

    assert gradcheck(norm, [W, z])
    assert gradgradcheck(norm, [W, z])


def test_its_mean_gradient_is_that_of_the_exact_norm():
    W, z, x = randn(4, 4).requires_grad_(), randn(2, 4, seed=1), randn(4, seed=2)
    (exact,) = torch.autograd.grad(dense(tanh, z, x, W).square().sum(), W)
    norm = jacobian_norm(tanh, z, x, W, generator=seeded(3), probes=3000).sum()
    (estimate,) = torch.autograd.grad(norm, W)
    assert torch.linalg.norm(estimate - exact) < 0.05 * torch.linalg.norm(exact)


def test_at_a_solution_the_penalty_is_differentiated_through_the_equilibrium():
    W, x = (0.4 * randn(3, 3)).requires_grad_(), randn(2, 3, seed=1)

    def penalty(W):
        sol = fixed_point(tanh, torch.zeros_like(x), x, W, rtol=1e-12, atol=1e-13)
        return jacobian_norm(tanh, sol.value, x, W, generator=seeded(3))

    assert gradcheck(penalty, [W])


def test_a_module_and_a_tree_are_maps_too():
    layer = torch.nn.Linear(5, 5, dtype=torch.float64)

    def split(z):
        out = layer(torch.cat([z["a"], z["b"].flatten(1)], 1))
        return {"a": out[:, :1], "b": out[:, 1:].reshape(-1, 2, 2)}

    z = {"a": randn(3, 1), "b": randn(3, 2, 2)}
    flat = torch.cat([z["a"], z["b"].flatten(1)], 1)
    torch.testing.assert_close(
        jacobian_norm(split, z, generator=seeded(1)), jacobian_norm(layer, flat, generator=seeded(1))
    )  # noqa: E501
    jacobian_norm(layer, flat).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(spectral_radius(split, z), spectral_radius(layer, flat))


def test_without_gradients_there_is_no_graph_and_the_same_number():
    W = randn(3, 3).requires_grad_()
    z, x = randn(2, 3, seed=1), randn(3, seed=2)
    with_graph = jacobian_norm(tanh, z, x, W, generator=seeded(3))
    with torch.no_grad():
        without = jacobian_norm(tanh, z, x, W, generator=seeded(3))
    assert with_graph.requires_grad and not without.requires_grad
    torch.testing.assert_close(without, with_graph.detach())


# ---- the spectral radius --------------------------------------------------------------------------------------------


def test_a_rotation_by_09_has_radius_09():
    for angle in (0.1, 1.0, math.pi / 2, 3.0):
        c, s = 0.9 * math.cos(angle), 0.9 * math.sin(angle)
        R = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        radius = spectral_radius(lambda z, R=R: z @ R.T, torch.zeros(3, 2, dtype=torch.float64))
        torch.testing.assert_close(radius, torch.full((3,), 0.9, dtype=torch.float64), rtol=1e-12, atol=0)


def nonnormal(batch, n, seed):
    T = torch.triu(randn(batch, n, n, seed=seed)) / n**0.5
    Q = torch.linalg.qr(randn(batch, n, n, seed=seed + 1))[0]
    return Q @ T @ Q.mT


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_small_states_are_exact(n):
    J = nonnormal(6, n, seed=n)
    exact = torch.linalg.eigvals(J).abs().amax(1)
    radius = spectral_radius(product(J), randn(6, n), generator=seeded(1))
    torch.testing.assert_close(radius, exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "J", [randn(8, 100, 100, seed=3) / 10, nonnormal(8, 80, seed=5), torch.linalg.qr(randn(8, 60, 60))[0]],
    ids=["gaussian", "nonnormal", "orthogonal"],
)  # fmt: skip
def test_large_ones_are_right_to_a_few_percent_from_forty_products(J):
    exact = torch.linalg.eigvals(J).abs().amax(1)
    counted = []

    def f(z):
        counted.append(1)
        return product(J)(z)

    ratio = spectral_radius(f, randn(8, J.shape[1]), generator=seeded(1)) / exact
    assert ratio.min() > 0.95 and ratio.max() < 1.05
    assert len(counted) == 1


def test_it_is_the_rate_at_which_iteration_converges():
    W, x = 0.35 * randn(8, 8), randn(5, 8, seed=1)
    z = fixed_point(tanh, torch.zeros_like(x), x, W, rtol=1e-13, atol=1e-14, max_steps=500).value
    radius = spectral_radius(tanh, z, x, W)
    d = 1e-6 * randn(5, 8, seed=2)
    norms = []
    J = dense(lambda z, W: z @ W.T, z, W) * (1 - z.square())[:, :, None]
    for _ in range(400):
        d = torch.einsum("bij,bj->bi", J, d)
        norms.append(torch.linalg.vector_norm(d, dim=1))
    measured = (norms[-1] / norms[199]) ** (1 / 200)
    torch.testing.assert_close(radius, measured, rtol=0.02, atol=0)


def test_a_sample_does_not_depend_on_its_neighbours():
    J = nonnormal(5, 12, seed=2)
    J[1], J[2] = 0.0, torch.eye(12, dtype=torch.float64) * 0.3  # the Krylov spaces of these two end at once
    J[3, 0, 0] = math.nan
    radius = spectral_radius(product(J), randn(5, 12))
    assert radius[1] == 0 and radius[3].isnan()
    torch.testing.assert_close(radius[2], torch.tensor(0.3, dtype=torch.float64))
    for i in (0, 4):
        torch.testing.assert_close(radius[i], torch.linalg.eigvals(J[i]).abs().max())


def test_float32_and_one_sample_without_a_batch():
    R = torch.tensor([[0.0, -0.9], [0.9, 0.0]])
    radius = spectral_radius(lambda z: R @ z, torch.zeros(2), batch_dims=0)
    assert radius.shape == () and radius.dtype == torch.float32
    torch.testing.assert_close(radius, torch.tensor(0.9))
    torch.testing.assert_close(jacobian_norm(lambda z: R @ z, torch.zeros(2), batch_dims=0), torch.tensor(1.62))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jacobian_norm(torch.sin, torch.zeros(2, 3), probes=0), "probes"),
        (lambda: spectral_radius(torch.sin, torch.zeros(2, 3), products=1.5), "products"),
        (lambda: jacobian_norm(torch.sin, torch.zeros(2, 3, dtype=torch.int64)), "floating point"),
        (lambda: spectral_radius(lambda z: z[:, :1], torch.zeros(2, 3)), "returned"),
    ],
)
def test_bad_input_is_one_worded_error(make, words):
    with pytest.raises(InputError, match=words):
        make()
