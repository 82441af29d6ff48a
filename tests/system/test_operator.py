"""Operators against the matrices they stand for, which are found by applying them to unit vectors, or by conv2d."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from eqnets.errors import InputError
from eqnets.system.convolution import CircularConv, spectrum
from eqnets.system.operator import BlockBidiagonal, Dense

F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def square(kernel: torch.Tensor, grid=(4, 6), phase: int = 1) -> CircularConv:
    return CircularConv(spectrum(kernel, grid, phase, phase), grid, phase, phase)


def chain(seed: int = 0) -> BlockBidiagonal:
    """Three tiers, 2 × (8, 12), 3 × (4, 6), 2 × (2, 3), joined by convolutions of stride two."""
    grids, channels = [(4, 6), (2, 3), (2, 3)], [2, 3, 2]
    phases = [2, 2, 1]
    diagonal = [
        square(0.2 * draw(c, c, 3, 3, seed=seed + i), g, p)
        for i, (c, g, p) in enumerate(zip(channels, grids, phases, strict=True))
    ]
    coupling = [
        CircularConv(
            spectrum(0.2 * draw(channels[i + 1], channels[i], 3, 3, seed=seed + 7 + i), grids[i], 2), grids[i], 2
        )
        for i in range(2)
    ]
    return BlockBidiagonal(tuple(diagonal), tuple(coupling))


OPERATORS = {
    "dense": lambda: Dense(0.4 * draw(7, 7)),
    "circular": lambda: square(0.2 * draw(3, 3, 3, 3)),
    "circular, odd grid, long kernel": lambda: square(0.1 * draw(2, 2, 5, 3), (5, 3)),
    "circular in phases": lambda: square(0.2 * draw(2, 2, 3, 3), (4, 3), 2),
    "tiers": chain,
}


def matrix_of(apply, size: int) -> torch.Tensor:
    return apply(torch.eye(size, dtype=F64)).T


@pytest.mark.parametrize("name", OPERATORS)
def test_the_adjoint_is_the_transposed_matrix(name):
    operator = OPERATORS[name]()
    W = matrix_of(operator.apply, operator.size)
    assert W.shape == (operator.size, operator.size)
    torch.testing.assert_close(matrix_of(operator.adjoint, operator.size), W.T, rtol=0, atol=1e-13)
    z = draw(2, 3, operator.size)  # any number of leading dimensions
    torch.testing.assert_close(operator.apply(z), z @ W.T, rtol=0, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", OPERATORS)
def test_the_resolvent_inverts(name, alpha):
    operator = OPERATORS[name]()
    W, V = matrix_of(operator.apply, operator.size), operator.resolvent(alpha)
    inverse = torch.linalg.inv((1 + alpha) * torch.eye(operator.size, dtype=F64) - alpha * W)
    scale = float(inverse.abs().max())
    torch.testing.assert_close(matrix_of(V.apply, operator.size), inverse, rtol=0, atol=1e-12 * scale)
    torch.testing.assert_close(matrix_of(V.adjoint, operator.size), inverse.T, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("name", OPERATORS)
def test_margin_and_norm_are_those_of_the_matrix(name):
    operator = OPERATORS[name]()
    W = matrix_of(operator.apply, operator.size)
    margin = torch.linalg.eigvalsh(torch.eye(operator.size, dtype=F64) - (W + W.T) / 2)[0]
    assert float(operator.margin()) == pytest.approx(float(margin), rel=1e-11, abs=1e-12)
    assert float(operator.norm()) == pytest.approx(float(torch.linalg.matrix_norm(W, 2)), rel=1e-11)


@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (2, 2, 5, 3), (1, 3, 1, 1)])
def test_a_spectrum_is_that_of_conv2d_on_a_torus(shape):
    K, (kh, kw) = draw(*shape), shape[2:]
    z = draw(2, shape[1], 8, 6, seed=1)
    padded = functional.pad(z, (kw // 2, kw // 2, kh // 2, kh // 2), mode="circular")
    for stride, grid, phase_in, phase_out in ((1, (8, 6), 1, 1), (1, (4, 3), 2, 2), (2, (4, 3), 2, 1)):
        operator = CircularConv(spectrum(K, grid, phase_in, phase_out), grid, phase_in, phase_out)
        found = operator.apply(z.flatten(1))
        expected = functional.conv2d(padded, K, stride=stride).flatten(1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_blocks_of_products_are_products_of_blocks():
    """AᵀA of a convolution with stride two: what the tiers of a monotone network need."""
    K, grid = draw(3, 2, 3, 3), (4, 3)
    A = CircularConv(spectrum(K, grid, 2), grid, 2)
    gram = CircularConv(A.spectrum.mH @ A.spectrum, grid, 2, 2)
    z = draw(2, 2 * 8 * 6)
    torch.testing.assert_close(gram.apply(z), A.adjoint(A.apply(z)), rtol=0, atol=1e-12)


def test_operators_are_differentiable_in_their_weights():
    """Twice, through apply, adjoint, resolvent, margin and norm."""
    z = draw(2, 2 * 4 * 3, seed=3)

    def through(kernel):
        operator = square(kernel, (4, 3))
        out = [operator.apply(z), operator.adjoint(z), operator.resolvent(0.7).apply(z)]
        return torch.cat([t.flatten() for t in out] + [operator.margin()[None], operator.norm()[None]])

    kernel = (0.2 * draw(2, 2, 3, 3)).requires_grad_()
    assert torch.autograd.gradcheck(through, kernel)
    assert torch.autograd.gradgradcheck(through, kernel)

    def dense(W):
        operator = Dense(W)
        out = [operator.resolvent(0.7).adjoint(z[:, :5]).flatten(), operator.margin()[None], operator.norm()[None]]
        return torch.cat(out)

    assert torch.autograd.gradcheck(dense, (0.3 * draw(5, 5)).requires_grad_())

    def tiers(K, C):
        one = square(K, (2, 2), 2)
        two = square(K[:1, :1], (2, 2))
        joined = BlockBidiagonal((one, two), (CircularConv(spectrum(C, (2, 2), 2), (2, 2), 2),))
        row = draw(1, joined.size, seed=4)
        V = joined.resolvent(0.5)
        return torch.cat([V.apply(row).flatten(), V.adjoint(row).flatten(), joined.margin()[None]])

    arguments = (0.2 * draw(2, 2, 3, 3)).requires_grad_(), (0.2 * draw(1, 2, 3, 3)).requires_grad_()
    assert torch.autograd.gradcheck(tiers, arguments)


def test_tiers_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="does not join"):
        BlockBidiagonal((square(draw(2, 2, 3, 3)), square(draw(3, 3, 3, 3))), (square(draw(2, 2, 3, 3)),))
