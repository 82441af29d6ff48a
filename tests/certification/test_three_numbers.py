"""Three numbers: ordered as they must be, close where certificates are sharp, and kept beside the proof."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.certification.test_search import network

import eqnets as eq
import eqnets_verify
from eqnets.certification import semidefinite
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import Labels
from eqnets.certification.patterns import worst_gain, worst_input
from eqnets.certification.three_numbers import three_numbers
from eqnets.errors import InputError
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate

F64 = torch.float64
QUICK = {"time": 12, "steps": 40, "tries": 6}


@pytest.mark.parametrize("sizes", [(3, 0, 8, 2), (2, 3, 6, 2), (2, 2, 0, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_gains_stand_in_order(sizes, seed: int) -> None:
    found = three_numbers(eq.Lipschitz(1.0), network(seed, *sizes, 0.4), **QUICK)
    assert found.attained is not None and found.pattern is not None and found.certified is not None
    assert 0.5 * found.pattern < found.attained <= found.certified
    assert 0.7 * found.certified < found.pattern <= found.certified * (1 + 1e-9)
    assert not found.bound.refuted and not found.bound.uncertifiable


@pytest.mark.parametrize("seed", range(3))
def test_rates_stand_in_order(seed: int) -> None:
    found = three_numbers(eq.Contracting(), network(seed, 1, 3, 6, 1, 0.4, activation="tanh"), time=10, tries=4)
    assert found.attained is not None and found.pattern is not None and found.certified is not None
    assert found.attained <= found.pattern * (1 + 1e-9) <= found.certified * (1 + 1e-9) < 1


def test_the_dual_solution_knows_the_worst_slopes() -> None:
    # all weights are positive, so that slopes of 1 are the worst
    g = torch.Generator().manual_seed(0)
    W = torch.rand(6, 6, generator=g, dtype=F64)
    W = 0.8 * W / float(torch.linalg.matrix_norm(W, 2))
    blocks = {"D12": torch.rand(6, 3, generator=g, dtype=F64), "D21": torch.rand(2, 6, generator=g, dtype=F64)}
    lfr = LFR(D11=W, **blocks, D22=torch.zeros(2, 3, dtype=F64))
    gamma, _, _, slopes = semidefinite.smallest_gain(Rows.of(lfr), eq.Lipschitz(1.0), Labels.of(lfr))
    assert slopes.shape[1] == 6 and float(slopes[0].min()) > 0.99
    gain = float(torch.linalg.matrix_norm(lfr.D21 @ torch.linalg.inv(torch.eye(6) - W) @ lfr.D12, 2))
    assert gamma == pytest.approx(gain, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_dual_slopes_are_a_start_as_good_as_seven_others(seed: int) -> None:
    lfr = network(seed, 4, 0, 25, 3, 0.8)
    rows, ones = Rows.of(lfr), (np.ones(4), np.ones(3))
    _, _, _, slopes = semidefinite.smallest_gain(rows, eq.Lipschitz(1.0), Labels.of(lfr))
    alone = worst_gain(rows, *ones, sweeps=0)[0]
    assert worst_gain(rows, *ones, sweeps=0, starts=slopes)[0] >= alone
    assert worst_gain(rows, *ones, sweeps=0, starts=np.round(slopes))[0] > 1.02 * alone


@pytest.mark.parametrize("sizes", [(3, 0, 0, 2), (2, 3, 0, 2)])
def test_the_worst_input_of_a_pattern_is_the_worst_of_a_linear_system(sizes) -> None:
    lfr, time = network(1, *sizes, 0.8), 15 if sizes[1] else 1
    rows = Rows.of(lfr)
    d = worst_input(rows, np.zeros(0), np.ones(sizes[0]), np.ones(sizes[3]), time)
    assert d is not None and np.linalg.norm(d) == pytest.approx(1)
    y = simulate(lfr, torch.from_numpy(d.copy())[None])[0]
    g = torch.Generator().manual_seed(0)
    others = torch.randn(200, time, sizes[0], generator=g, dtype=F64)
    ratios = simulate(lfr, others)[0].flatten(1).norm(dim=1) / others.flatten(1).norm(dim=1)
    assert float(y.norm()) >= float(ratios.max())
    assert float(y.norm()) <= worst_gain(rows, np.ones(sizes[0]), np.ones(sizes[3]))[0] * (1 + 1e-6)
    assert worst_input(rows, np.zeros(0), np.ones(sizes[0]), np.ones(sizes[3]), 10_000) is None


def test_the_numbers_stay_with_the_certificate_and_are_not_believed(tmp_path: Path) -> None:
    lfr = network(0, 2, 2, 4, 1, 0.3)
    found = three_numbers(eq.Lipschitz(1.0), lfr, **QUICK)
    path = tmp_path / "a.cert.json"
    found.certificate.save(path)
    stored = json.loads(path.read_text(encoding="utf-8"))["unchecked"]["diagnostics"]
    assert stored == {"L1 attained": found.attained, "L2 frozen slopes": found.pattern, "U certified": found.certified}
    assert f"{found.attained:.6g}" in found.certificate.summary()
    assert eqnets_verify.verify(path).claim["gamma"] == found.certified


@pytest.mark.parametrize("claim", [eq.Lipschitz(9.0), eq.Contracting(), eq.Monotone(0.01), eq.Passive(-50.0)])
@pytest.mark.parametrize("sizes, dt", [((2, 2, 4, 2), 0.1), ((2, 2, 4, 2), None), ((2, 0, 4, 2), None)])
def test_any_certificate_is_attacked_on_request(claim, sizes, dt: float | None, tmp_path: Path) -> None:
    lfr = network(0, *sizes, 0.3, dt)
    plain = eq.certify(claim, lfr)
    assert plain.diagnostics == {} and plain.bound is None
    found = eq.certify(claim, lfr, attack=True)
    assert found.bound is not None and not found.bound.refuted and not found.bound.uncertifiable
    assert found.diagnostics.keys() == {"L1 attained", "L2 frozen slopes", "U certified"}
    one, _, most = found.diagnostics.values()
    if sizes[1] or not isinstance(claim, eq.Contracting):
        assert one is not None and most is not None
        grows = isinstance(claim, eq.Monotone) or (isinstance(claim, eq.Contracting) and dt is None)
        assert one >= most if grows else one <= most
    found.save(tmp_path / "a.cert.json")
    stored = json.loads((tmp_path / "a.cert.json").read_text(encoding="utf-8"))["unchecked"]
    assert stored["diagnostics"] == found.diagnostics
    if found.bound.u is not None:
        u, x0 = (torch.tensor(stored["worst pair"][name], dtype=F64) for name in ("u", "x0"))
        assert u.shape[0] == x0.shape[0] == 2 and torch.equal(u, found.bound.u)
    assert eqnets_verify.verify(tmp_path / "a.cert.json").claim["kind"] == claim.kind


def test_what_has_no_number_or_no_pairs_is_not_attacked() -> None:
    lfr = network(0, 2, 2, 4, 2, 0.1)
    assert eq.certify(eq.WellPosed(), lfr, attack=True).diagnostics == {}
    with pytest.raises(InputError, match="leave attack out"):
        eq.certify(eq.AbsoluteStability(), lfr, attack=True)  # type: ignore[call-overload]


def test_without_a_search_the_claim_itself_is_proved() -> None:
    model = eq.LipschitzREN(1, 2, 4, 1, gamma=1.5, generator=torch.Generator().manual_seed(0), dtype=F64)
    lfr = model.explicit().detach()
    found = three_numbers(eq.Lipschitz(1.5), lfr, model.witness(), search=False, **QUICK)
    assert found.certified == 1.5 and found.attained is not None and found.attained < 1.5


def test_rates_and_gains_stand_in_order_in_continuous_time() -> None:
    lfr = network(0, 1, 2, 3, 1, 0.3, None)
    found = three_numbers(eq.Contracting(), lfr)
    assert found.attained is not None and found.pattern is not None and found.certified is not None
    assert 0 < found.certified <= found.pattern * (1 + 1e-9) and found.pattern <= found.attained * (1 + 1e-9)
    found = three_numbers(eq.Lipschitz(1.0), lfr)
    assert found.attained is not None and found.pattern is not None and found.certified is not None
    assert 0 < found.attained <= found.pattern * (1 + 1e-6) <= found.certified * (1 + 2e-6)


@pytest.mark.parametrize("call, words", [
    (lambda lfr: three_numbers(eq.WellPosed(), lfr), "no three numbers"),
    (lambda lfr: eq.lower_bound(eq.Lipschitz(1.0), lfr, patterns=torch.zeros(3)), "one slope per neuron"),
])  # fmt: skip
def test_wrong_input_is_a_sentence(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(network(0, 2, 2, 4, 1, 0.3))
