"""Class margins: sharper than the gain of all scores, and no input inside the radius has another class."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import eqnets as eq
from eqnets.certification.margins import class_margins, margin
from eqnets.errors import InputError
from eqnets.system.connect import series
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate

F64 = torch.float64


def classifier(seed: int, classes: int = 3) -> LFR:
    g = torch.Generator().manual_seed(seed)
    core = eq.MonotoneDEQ(4, 10, m=0.5, generator=g, dtype=F64).explicit().detach()
    readout = LFR(D22=torch.randn(classes, 10, generator=g, dtype=F64), by=torch.randn(classes, generator=g, dtype=F64))
    return series(core, readout)


def scores(lfr: LFR, u: Tensor) -> Tensor:
    return simulate(lfr, u[:, None])[0][:, 0]


@pytest.mark.parametrize("seed", range(3))
def test_margins_are_sharper_than_the_gain_of_all_scores(seed: int) -> None:
    lfr = classifier(seed)
    found, whole = class_margins(lfr), eq.tighten(eq.Lipschitz(1.0), lfr).claim.gamma
    assert torch.equal(found.gamma, found.gamma.mT) and float(found.gamma.diagonal().abs().max()) == 0.0
    off = found.gamma[~torch.eye(3, dtype=torch.bool)]
    assert bool((off > 0).all()) and float(off.max()) <= math.sqrt(2) * whole * (1 + 1e-4)
    for (c, j), cert in found.certificates.items():
        assert cert.digest == margin(lfr, c, j).digest() and cert.claim.gamma == float(found.gamma[c, j])


@pytest.mark.parametrize("seed", range(2))
def test_no_input_inside_the_radius_changes_the_class_and_some_just_outside_do(seed: int) -> None:
    lfr, g = classifier(seed), torch.Generator().manual_seed(seed)
    found = class_margins(lfr)
    u = torch.randn(100, 4, generator=g, dtype=F64)
    y = scores(lfr, u)
    radius, best = found.radius(y), y.argmax(1)
    assert bool((radius > 0).all())
    d = torch.randn(u.shape, generator=g, dtype=F64).requires_grad_()
    changed = {0.999: 0, 4.0: 0}
    for share in changed:
        for _ in range(20):  # ascent of the best other score, kept on the sphere
            after = scores(lfr, u + share * radius[:, None] * d / d.norm(dim=1, keepdim=True))
            other = after.scatter(1, best[:, None], -torch.inf).amax(1)
            gap = other - after.gather(1, best[:, None])[:, 0]
            changed[share] += int((gap > 0).sum())
            (slope,) = torch.autograd.grad(gap.sum(), d)
            d = (d + 2 * slope * d.norm(dim=1, keepdim=True) ** 2 / radius[:, None].clamp_min(1e-9)).detach()
            d = (d / d.norm(dim=1, keepdim=True)).requires_grad_()
    assert changed[0.999] == 0 and changed[4.0] > 0


def test_the_radius_of_a_linear_classifier_is_the_distance_to_its_boundary() -> None:
    # scores u1, −u1: the class changes at u1 = 0
    lfr = LFR(D22=torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=F64))
    found = class_margins(lfr)
    assert found.radius(torch.tensor([[0.3, -0.3], [-2.0, 2.0]], dtype=F64)).tolist() == pytest.approx(
        [0.3, 2.0], rel=1e-3
    )


def test_error_bars_and_ties_cost_radius() -> None:
    found = class_margins(classifier(0), [(0, 1), (2, 0), (1, 2)])
    y = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]], dtype=F64)
    assert float(found.radius(y)[1]) == 0.0
    cost = float(found.radius(y)[0] - found.radius(y, 0.1)[0])  # two bars of a margin, over one of its gains
    gains = [float(found.gamma[0, j]) for j in (1, 2)]
    assert 0.2 * math.sqrt(2) / max(gains) * 0.999 <= cost <= 0.2 * math.sqrt(2) / min(gains) * 1.001
    assert bool((found.radius(y, torch.tensor([10.0, 10.0])) == 0).all())
    partial = class_margins(classifier(0), [(0, 1)])
    assert float(partial.radius(y)[0]) == 0.0  # nothing is known of class 2


@pytest.mark.parametrize("call, words", [
    (lambda lfr: margin(lfr, 0, 0), "two different classes"),
    (lambda lfr: margin(lfr, 0, 7), "two different classes"),
    (lambda lfr: class_margins(margin(lfr, 0, 1)), "at least two"),
    (lambda lfr: class_margins(lfr, [(0, 1)]).radius(torch.zeros(2, 5)), "y must be"),
])  # fmt: skip
def test_wrong_input_is_a_sentence(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(classifier(0))
