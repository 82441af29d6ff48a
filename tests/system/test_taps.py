"""Convolutions by their taps: an algebra that agrees with the Fourier transform, and refusals."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, pixel_shuffle, pixel_unshuffle

from eqnets.errors import InputError
from eqnets.system.taps import ConvLFR, Taps

F64 = torch.float64


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def applied(taps: Taps, z: Tensor) -> Tensor:
    """(K z)[p] = Σ K_Δ z[p + Δ] on a torus of cells; z (channels, h, w)."""
    rolled = [torch.einsum("ij,jyx->iyx", K, z.roll((-dy, -dx), (1, 2))) for (dy, dx), K in taps.at.items()]
    return torch.stack(rolled).sum(0)


@pytest.mark.parametrize("fine, coarse", [(1, 1), (2, 2), (2, 1), (4, 2), (4, 4)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_taps_of_a_kernel_are_conv2d_with_its_stride(fine: int, coarse: int, size: int) -> None:
    kernel, picture = random(0, 3, 2, size, size), random(1, 2, 4 * fine, 3 * fine)
    taps = Taps.of(kernel, fine, coarse)
    wrapped = pad(picture[None], (size // 2,) * 4, mode="circular")
    expected = conv2d(wrapped, kernel, stride=fine // coarse)[0]
    found = pixel_shuffle(applied(taps, pixel_unshuffle(picture, fine)), coarse)
    assert torch.allclose(found, expected, atol=1e-13)


def test_sums_products_and_transposes_are_those_of_operators() -> None:
    A, B, z = Taps.of(random(0, 2, 3, 3, 3)), Taps.of(random(1, 3, 2, 5, 3)), random(2, 2, 4, 7)
    assert torch.allclose(applied(A @ B, z), applied(A, applied(B, z)), atol=1e-12)
    assert torch.allclose(applied(A @ B - 2.0 * (A @ B), z), -applied(A @ B, z), atol=1e-12)
    w = random(3, 2, 4, 7)
    assert torch.allclose((applied(A @ B, z) * w).sum(), (z * applied((A @ B).mT, w)).sum(), atol=1e-11)
    assert torch.equal(applied(Taps.identity(B), z), z)


def test_blocks_act_on_stacked_channels() -> None:
    A, B = Taps.of(random(0, 2, 2, 3, 3)), Taps.of(random(1, 1, 2, 1, 1))
    C, z = Taps.of(random(2, 1, 1, 3, 1)), random(3, 3, 4, 4)
    found = applied(Taps.blocks([[A, None], [B, C]]), z)
    assert torch.allclose(found, torch.cat([applied(A, z[:2]), applied(B, z[:2]) + applied(C, z[2:])]), atol=1e-13)


def test_it_prints_as_one_line() -> None:
    lfr = ConvLFR(Taps({(0, 0): random(0, 3, 3)}), Taps({(0, 0): random(1, 3, 2)}), random(2, 3), (4, 5))
    assert repr(lfr) == "ConvLFR(n=3 and k=2 per cell, grid=(4, 5), border=0, activation=relu, float64)"


def test_the_digest_sees_every_part() -> None:
    W, U, b = Taps.of(random(0, 2, 2, 3, 3)), Taps.of(random(1, 2, 1, 3, 3)), random(2, 2)
    net = ConvLFR(W, U, b, (4, 5))
    assert net.digest() == ConvLFR(W, U, b, (4, 5)).digest() and net.nv == 40
    others = [
        replace(net, **change)
        for change in (
            {"W": W.mT},
            {"U": 2.0 * U},
            {"b": 2 * b},
            {"grid": (5, 4)},
            {"activation": "tanh"},
            {"border": 1},
        )
    ]
    assert len({net.digest(), *(other.digest() for other in others)}) == 7
    rounded = net.to(torch.float32)
    assert rounded.dtype == torch.float32 and rounded.digest() == rounded.to(F64).digest() != net.digest()


@pytest.mark.parametrize("make, words", [
    (lambda W, U, b: ConvLFR(W, U, b[:1], (4, 4)), "do not fit"),
    (lambda W, U, b: ConvLFR(W, U, b.float(), (4, 4)), "share one dtype"),
    (lambda W, U, b: ConvLFR(W, U, b, (4, 4), ["relu", "tanh"]), "one activation for all neurons"),
    (lambda W, U, b: ConvLFR(W @ W @ W, U, b, (9, 9), border=1), "over a border of 1"),
])  # fmt: skip
def test_what_does_not_fit_is_a_sentence(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make(Taps.of(random(0, 2, 2, 3, 3)), Taps.of(random(1, 2, 1, 3, 3)), random(2, 2))


def test_frequencies_of_taps_are_their_fourier_transform() -> None:
    taps, grid = Taps.of(random(0, 1, 1, 3, 3)), (5, 4)
    impulse = torch.zeros(1, *grid, dtype=F64)
    impulse[0, 0, 0] = 1
    response = torch.fft.fft2(applied(taps, impulse)[0])
    for y, x in [(0, 0), (1, 2), (4, 3)]:
        turns = [y * dy / grid[0] + x * dx / grid[1] for dy, dx in taps.at]
        block = sum(cmath.rect(float(K), 2 * math.pi * t) for t, K in zip(turns, taps.at.values(), strict=True))
        assert abs(complex(response[y, x]) - block) < 1e-13
