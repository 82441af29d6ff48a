"""Convolutional networks, certified per frequency: what is proved is what a dense matrix of the torus says."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from tests.system.test_taps import applied

import eqnets as eq
import eqnets_verify
from eqnets.certification.convolutional import best_multiplier, margin
from eqnets.certification.frequencies import enclosed, frequencies
from eqnets.certification.roots import roots_of_unity
from eqnets.errors import InputError, NotCertified
from eqnets.system.taps import ConvLFR, Taps

F64 = torch.float64


def network(kind: str, seed: int = 0, m: float = 0.4, **options) -> eq.MonotoneConvDEQ | eq.MultiTierDEQ:
    made = {"m": m, "generator": torch.Generator().manual_seed(seed), "dtype": F64, **options}
    if kind == "tiers":
        return eq.MultiTierDEQ(1, (2, 3), (4, 6), **made)
    return eq.MonotoneConvDEQ(2, 3, (4, 5), padding=kind, **made)


KINDS = ["circular", "zeros", "tiers"]


def small(kind: str) -> eq.MonotoneConvDEQ | eq.MultiTierDEQ:
    """On a torus no smaller than the taps of W reach, which are 5 × 5."""
    generator = torch.Generator().manual_seed(0)
    if kind == "tiers":
        return eq.MultiTierDEQ(1, (1, 1), (10, 10), m=0.4, generator=generator, dtype=F64)
    return eq.MonotoneConvDEQ(1, 2, (5, 6), padding=kind, m=0.4, generator=generator, dtype=F64)


def matrix(taps: Taps, grid: tuple[int, int]) -> np.ndarray:
    """The operator on the whole torus, as a matrix."""
    columns = taps.shape[1]
    eye = torch.eye(columns * math.prod(grid), dtype=F64).reshape(-1, columns, *grid)
    return torch.stack([applied(taps.map(torch.Tensor.double), e).flatten() for e in eye], 1).numpy()


# roots of unity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 12, 28, 30, 97])
def test_roots_of_unity_satisfy_their_equations_within_their_radius(n: int) -> None:
    cosines, sines = roots_of_unity(n)
    slack = Fraction(8, 2**53)
    for j in range(n):
        c, s, d, t = (Fraction(float(ball.mid[k])) for k in (j, 1 % n) for ball in (cosines, sines))
        assert abs(c * c + s * s - 1) <= slack
        after = (j + 1) % n  # the angles add up
        assert abs(c * d - s * t - Fraction(float(cosines.mid[after]))) <= slack
        assert abs(s * d + c * t - Fraction(float(sines.mid[after]))) <= slack
    assert np.abs(np.exp(2j * np.pi * np.arange(n) / n) - (cosines.mid + 1j * sines.mid)).max() < 4e-15
    assert max(cosines.radius.max(), sines.radius.max()) <= 2.0**-53 and cosines.radius[0] == 0


def test_known_cosines_lie_inside() -> None:
    for n, j, p in (
        (6, 1, lambda c: 2 * c - 1),
        (8, 1, lambda c: 2 * c * c - 1),
        (5, 1, lambda c: 4 * c * c + 2 * c - 1),
    ):
        ball = roots_of_unity(n)[0]
        c, radius = Fraction(float(ball.mid[j])), Fraction(float(ball.radius[j]))
        assert p(c - radius) <= 0 <= p(c + radius)  # a root of an increasing polynomial


@pytest.mark.parametrize("grid", [(1, 1), (4, 4), (5, 4), (4, 5), (7, 7), (1, 6)])
def test_one_frequency_of_each_pair(grid: tuple[int, int]) -> None:
    half = {(int(y), int(x)) for y, x in frequencies(grid)}
    both = half | {(-y % grid[0], -x % grid[1]) for y, x in half}
    assert len(both) == math.prod(grid)
    assert 2 * len(half) <= math.prod(grid) + 4


# the explicit form ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 5])
def test_explicit_taps_are_the_operator_of_the_model(kind: str, size: int) -> None:
    model = network(kind, kernel_size=size)
    net, operator = model.explicit(), model.operator(*model.weights())
    blocks = operator.blocks() if kind == "tiers" else operator.spectrum
    assert len(net.W.at) <= (2 * size - 1) ** 2
    for some, (re, im), _ in enclosed(net):
        for (y, x), found in zip(some, re.mid + 1j * im.mid, strict=True):
            assert np.abs(found - blocks[y, x].detach().numpy()).max() < 1e-13


def test_explicit_is_differentiable_and_its_equation_is_solved_by_the_model() -> None:
    model = network("circular", rtol=1e-12, atol=1e-13)
    net = model.explicit()
    x = torch.randn(1, 2, 4, 5, generator=torch.Generator().manual_seed(1), dtype=F64)
    z = model(x)[0]
    assert torch.allclose(z, torch.relu(applied(net.W, z) + applied(net.U, x[0]) + net.b[:, None, None]), atol=1e-11)
    (grad,) = torch.autograd.grad(sum(matrix.square().sum() for matrix in net.W.at.values()), [model.A])
    assert float(grad.abs().max()) > 0


# claims ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_the_margin_is_proved_and_one_percent_more_is_refused(kind: str, seed: int, dtype: torch.dtype) -> None:
    net = network(kind, seed).explicit().detach().to(dtype)
    W = matrix(net.W, net.grid)
    true = float(np.linalg.eigvalsh(np.eye(len(W)) - (W + W.T) / 2)[0])
    cert = eq.tighten(eq.Monotone(1.0), net)
    assert true * (1 - 1e-6) <= cert.claim.m <= true + 1e-12 and 0 < cert.margin <= 1
    assert true >= 0.4 * (1 - 1e-6)  # by construction, up to the rounding of the taps
    assert eq.certify(eq.Monotone(0.9 * true), net).margin > 0 and eq.certify(eq.WellPosed(), net).margin > 0
    with pytest.raises(NotCertified, match="turns per cell") as caught:
        eq.certify(eq.Monotone(1.01 * true), net)
    assert caught.value.block == "monotone"
    assert f"{cert.claim.m:.3f}"[:4] in cert.sentence and net.digest() in cert.summary()


@pytest.mark.parametrize("kind", KINDS)
def test_the_gain_is_that_of_the_dense_inequality_and_no_pair_of_pictures_beats_it(kind: str) -> None:
    model = network(kind, 1, rtol=1e-10, atol=1e-11)
    net = model.explicit().detach()
    cert = eq.tighten(eq.Lipschitz(1.0), net)
    gamma, least = cert.claim.gamma, margin(net)[0]
    W, U = matrix(net.W, net.grid), matrix(net.U, net.grid)
    K = 2 * cert.Lambda * (np.eye(len(W)) - (W + W.T) / 2) - np.eye(len(W))
    dense = cert.Lambda * math.sqrt(np.linalg.norm(U.T @ np.linalg.solve(K, U), 2))
    assert gamma == pytest.approx(dense, rel=1e-5)
    assert gamma <= np.linalg.norm(U, 2) / least * (1 + 1e-5)
    g = torch.Generator().manual_seed(2)
    shape = (64, 1, 4, 6) if kind == "tiers" else (64, 2, 4, 5)
    x, d = (torch.randn(shape, generator=g, dtype=F64) for _ in range(2))
    d = d * 10 ** torch.linspace(-3, 1, 64, dtype=F64)[:, None, None, None]
    model.requires_grad_(False)
    parts = zip(model(x), model(x + d), strict=True) if kind == "tiers" else [(model(x), model(x + d))]
    moved = torch.stack([(a - b).flatten(1).square().sum(1) for a, b in parts]).sum(0).sqrt()
    ratio = float((moved / d.flatten(1).norm(dim=1)).max())
    assert 0.05 * gamma < ratio <= gamma
    assert eq.certify(eq.Lipschitz(2 * gamma), net).margin > cert.margin
    with pytest.raises(NotCertified, match="tighten"):
        eq.certify(eq.Lipschitz(0.99 * gamma), net)


def test_a_single_neuron_everywhere_has_its_exact_numbers() -> None:
    # W = −3 cos: I − sym W = 1 + 3/2 (e^iω + e^−iω)/2 …: a kernel (−a, 0, −a) has W(ω) = −2a cos ω, margin 1 − 2a
    a = 0.25
    kernel = torch.tensor([[[[-a, 0.0, -a]]]], dtype=F64)
    net = ConvLFR(Taps.of(kernel), Taps.of(torch.full((1, 1, 1, 1), 2.0, dtype=F64)), torch.zeros(1, dtype=F64), (1, 8))
    assert eq.certify(eq.Monotone(0.5 - 1e-9), net).margin > 0
    for false in (0.5, 0.5 + 1e-9):  # the limit itself is no strict inequality
        with pytest.raises(NotCertified):
            eq.certify(eq.Monotone(false), net)
    assert best_multiplier(net)[1] == pytest.approx(4.0, rel=1e-6)


def test_a_network_that_is_not_monotone_is_refused() -> None:
    net = network("circular").explicit().detach()
    wild = ConvLFR(5.0 * Taps.identity(net.W) + net.W, net.U, net.b, net.grid)
    for claim in (eq.WellPosed(), eq.Monotone(0.1), eq.Lipschitz(100.0)):
        with pytest.raises(NotCertified):
            eq.certify(claim, wild)
    for claim in (eq.Monotone(0.1), eq.Lipschitz(1.0)):
        with pytest.raises(NotCertified):
            eq.tighten(claim, wild)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_network_written_out_is_proved_in_a_file(kind: str, tmp_path) -> None:
    net = small(kind).explicit().detach()
    m, lfr = eq.tighten(eq.Monotone(0.1), net).claim, net.unrolled()
    claims: list = [eq.Monotone(m.m * (1 - 1e-9))]
    if kind != "tiers":
        claims.append(eq.Lipschitz(1.01 * eq.tighten(eq.Lipschitz(1.0), net).claim.gamma))
    for claim in claims:
        eq.certify(claim, lfr).save(tmp_path / "net.cert.json")
        assert eqnets_verify.verify(tmp_path / "net.cert.json").claim["kind"] == claim.kind
    if kind != "zeros":  # on the torus itself, what is proved by frequencies is all that there is
        with pytest.raises(NotCertified):
            eq.certify(eq.Monotone(m.m * (1 + 1e-3)), lfr)


@pytest.mark.parametrize("kind", KINDS)
def test_written_out_it_is_the_same_network(kind: str) -> None:
    model = small(kind)
    net = model.explicit().detach()
    lfr, inner = net.unrolled(), [side - 2 * net.border for side in net.grid]
    torus = torch.zeros(len(net.b), *net.grid, dtype=F64)
    cut = [slice(net.border, net.border + side) for side in inner]
    w = torch.randn(len(net.b), *inner, generator=torch.Generator().manual_seed(0), dtype=F64)
    torus[:, cut[0], cut[1]] = w
    expected = applied(net.W, torus)[:, cut[0], cut[1]]
    assert torch.allclose((lfr.D11 @ w.flatten()).reshape(w.shape), expected, atol=1e-13)
    if kind != "tiers":
        x = torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
        u = x.flatten(1)
        z = model(x).flatten(1)
        assert torch.allclose(z, torch.relu(z @ lfr.D11.mT + u @ lfr.D12.mT + lfr.bv), atol=1e-4)


def test_what_cannot_be_written_out_is_refused() -> None:
    with pytest.raises(InputError, match="at most 4000"):
        ConvLFR(*[Taps.of(torch.ones(5, 5, 1, 1))] * 2, torch.zeros(5), (40, 40)).unrolled()
    meeting = Taps({(0, 0): torch.full((1, 1), 0.1, dtype=F64), (2, 0): torch.full((1, 1), 0.2, dtype=F64)})
    with pytest.raises(InputError, match="larger picture"):
        ConvLFR(meeting, meeting, torch.zeros(1, dtype=F64), (2, 3)).unrolled()
    exact = Taps({(0, 0): torch.full((1, 1), 0.5, dtype=F64), (2, 0): torch.full((1, 1), 0.25, dtype=F64)})
    assert ConvLFR(exact, exact, torch.zeros(1, dtype=F64), (2, 3)).unrolled().D11.diagonal().eq(0.75).all()


@pytest.mark.parametrize("call, words", [
    (lambda net: eq.certify(eq.Contracting(), net), "not proved by frequencies"),
    (lambda net: eq.certify(eq.Lipschitz(1.0, (1.0,)), net), "without scales"),
    (lambda net: eq.tighten(eq.WellPosed(), net), "no number to tighten"),
    (lambda net: eq.tighten(eq.Monotone(1.0), net).save("x.cert.json"), "no fractions"),
    (lambda net: eq.certify(eq.WellPosed(), ConvLFR(net.W.map(lambda K: K * math.nan), net.U, net.b, net.grid)), "NaN"),
    (lambda net: eq.certify(eq.WellPosed(), net, eq.Witness(torch.zeros(0, 0), torch.ones(3))), "leave witness out"),
])  # fmt: skip
def test_wrong_input_is_a_sentence(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(network("circular").explicit().detach())


def test_slopes_outside_0_1_are_refused() -> None:
    net = network("circular").explicit().detach()
    with pytest.raises(NotCertified, match="slopes in"):
        eq.certify(eq.Monotone(0.1), ConvLFR(net.W, net.U, net.b, net.grid, "gelu"))
