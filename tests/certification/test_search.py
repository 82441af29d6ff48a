"""The search of P and Λ finds what an outside solver finds, says when there is nothing, and is proved afterwards."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from eqnets.certification import Contracting, Lipschitz, Monotone, Passive, WellPosed, certify, tighten
from eqnets.certification import semidefinite as sdp
from eqnets.certification.coordinates import Scaled
from eqnets.certification.inequality import Rows, storage
from eqnets.certification.interior_point import Structured, solve
from eqnets.certification.labels import Labels
from eqnets.certification.patterns import worst_gain, worst_rate
from eqnets.errors import InputError, NotCertified
from eqnets.models import ContractingREN
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI, hinf_norm
from eqnets.system.plants import Pendulum
from eqnets.system.simulate import simulate
from eqnets.system.witness import Witness

F64 = torch.float64


def network(seed: int, nu: int, nx: int, nv: int, ny: int, size: float, dt: float | None = 1.0, **options) -> LFR:
    """Normal entries; A, B1, C1, D11 of spectral norm `size`."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"A": (nx, nx), "B1": (nx, nv), "B2": (nx, nu), "C1": (nv, nx), "D11": (nv, nv), "D12": (nv, nu),
              "C2": (ny, nx), "D21": (ny, nv), "D22": (ny, nu)}  # fmt: skip
    blocks = {k: torch.randn(s, generator=g, dtype=F64) for k, s in shapes.items()}
    for k in ("A", "B1", "C1", "D11"):
        if blocks[k].numel():
            blocks[k] = size * blocks[k] / float(torch.linalg.matrix_norm(blocks[k], 2))
    if dt is None:
        blocks["A"] = blocks["A"] - 1.5 * torch.eye(nx, dtype=F64)
    return LFR(**blocks, dt=dt, **options)


# the interior point -------------------------------------------------------------------------------------------------


def _problem(seed: int, n: int = 3, q: int = 4, N: int = 9) -> Structured:
    rng = np.random.default_rng(seed)
    congruences = [(0.7, rng.normal(size=(n, N))), (-1.0, rng.normal(size=(n, N)))] if n else []
    dense = rng.normal(size=(N, N))
    size = n * (n + 1) // 2 + q + 1
    return Structured(np.eye(N), congruences, rng.normal(size=(q, N)), rng.normal(size=(q, N)), [dense + dense.T],
                      rng.normal(size=(2, size)), np.ones(2))  # fmt: skip


@pytest.mark.parametrize("n, q", [(3, 4), (0, 4), (3, 0), (1, 1)])
def test_the_operators_are_adjoint_and_the_schur_complement_is_theirs(n: int, q: int) -> None:
    problem = _problem(0, n, q)
    rng = np.random.default_rng(1)
    y, T, X, Z = rng.normal(size=problem.G.shape[1]), *rng.normal(size=(3, 9, 9))
    T, X, Z = T + T.T, X @ X.T, Z @ Z.T
    assert np.sum(problem.linear(y) * T) == pytest.approx(y @ problem.adjoint(T), rel=1e-12)
    A = [problem.linear(e) for e in np.eye(len(y))]
    direct = np.array([[np.trace(a @ X @ b @ Z) for b in A] for a in A])
    np.testing.assert_allclose(problem.schur(X, Z), direct, rtol=1e-10, atol=1e-9)
    P, lam, t = problem.split(y)
    np.testing.assert_array_equal(problem.join(P, lam, t), y)


def test_it_solves_an_eigenvalue_problem_and_refuses_an_infeasible_start() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(6, 6))
    A = A + A.T
    problem = Structured(A, [], np.zeros((0, 6)), np.zeros((0, 6)), [-np.eye(6)], np.ones((1, 1)), np.array([1e3]))
    found = solve(problem, np.array([-1.0]), np.array([-100.0]), rtol=1e-10)
    assert -found.value == pytest.approx(np.linalg.eigvalsh(A)[0], rel=1e-8)
    assert found.bound <= found.value + 1e-8 and np.linalg.eigvalsh(A + found.y[0] * -np.eye(6))[0] > 0
    with pytest.raises(ValueError, match="feasible"):
        solve(problem, np.array([-1.0]), np.array([100.0]))


# against an outside solver ------------------------------------------------------------------------------------------


def _clarabel(lfr: LFR) -> float:
    """The smallest γ of (★), any slopes, by cvxpy and Clarabel."""
    import cvxpy as cp

    rows = Rows.of(lfr)
    nx, nv, n = rows.nx, rows.nv, rows.Lx.shape[1]
    E, part = np.eye(n), rows.parts()
    Ex, Ew, Eu = E[part["x"]], E[part["w"]], E[part["u"]]
    lam, g2 = cp.Variable(nv, nonneg=True), cp.Variable()
    M = g2 * (Eu.T @ Eu) - rows.Ly.T @ rows.Ly
    p, r = Ew - rows.low[:, None] * rows.Lz, Ew - rows.high[:, None] * rows.Lz
    half = p.T @ cp.diag(lam) @ r
    M = M + half + half.T
    if nx:
        P = cp.Variable((nx, nx), symmetric=True)
        flow = rows.Lx.T @ P @ rows.Lx if rows.discrete else Ex.T @ P @ rows.Lx + rows.Lx.T @ P @ Ex
        M = M - flow + (Ex.T @ P @ Ex if rows.discrete else 0)
    cp.Problem(cp.Minimize(g2), [(M + M.T) / 2 >> 0]).solve(
        solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9
    )
    return math.sqrt(float(g2.value))


CASES = [((2, 0, 5, 2), 0.8, 1.0), ((1, 2, 3, 1), 0.5, 1.0), ((2, 3, 4, 3), 0.5, 1.0), ((2, 2, 4, 1), 0.5, None),
         ((12, 2, 4, 2), 0.5, 1.0), ((3, 0, 12, 2), 0.7, 1.0)]  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "silu"])
@pytest.mark.parametrize("sizes, size, dt", CASES)
def test_the_smallest_gain_is_the_outside_optimum(sizes, size, dt, activation, seed) -> None:
    lfr = network(seed, *sizes, size, dt, activation=activation)
    gamma = sdp.smallest_gain(Rows.of(lfr), Lipschitz(1.0), Labels.of(lfr))[0]
    assert gamma == pytest.approx(_clarabel(lfr), rel=1e-6)


# what certify and tighten make of it --------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [0.1, None])
@pytest.mark.parametrize("sizes", [(2, 0, 6, 3), (2, 3, 6, 2), (9, 2, 3, 2)])
def test_a_gain_is_found_proved_and_refused_below_the_optimum(sizes, dt) -> None:
    lfr = network(3, *sizes, 0.5, dt)
    sharp = tighten(Lipschitz(1.0), lfr)
    gamma = sharp.claim.gamma
    assert "integer" in sharp.method and sharp.margin > 0
    assert "interior point" in certify(Lipschitz(gamma * 1.001), lfr).method
    assert certify(Lipschitz(gamma * 2), lfr, sharp.witness).margin > 0
    with pytest.raises(NotCertified, match="the smallest gain that any P and Λ prove is") as caught:
        certify(Lipschitz(gamma * 0.999), lfr)
    assert caught.value.block == "gain"
    lower = worst_gain(Rows.of(lfr), np.ones(sizes[0]), np.ones(sizes[3]))[0]
    assert lower <= gamma <= 3 * lower


def test_scales_are_units(small_gain) -> None:
    lfr, _ = small_gain(3, 2, 3, 5, 2)
    scales = ((10.0, 1e-3), (1e4, 0.1))
    s_u, s_y = (torch.tensor(s, dtype=F64) for s in scales)
    physical = lfr.replace(B2=lfr.B2 / s_u, D12=lfr.D12 / s_u, C2=s_y[:, None] * lfr.C2, D21=s_y[:, None] * lfr.D21,
                           D22=s_y[:, None] * lfr.D22 / s_u)  # fmt: skip
    gamma = tighten(Lipschitz(1.0), lfr).claim.gamma
    assert tighten(Lipschitz(1.0, *scales), physical).claim.gamma == pytest.approx(gamma, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dt", [0.1, None])
def test_the_rate_is_sharp(seed: int, dt: float | None) -> None:
    lfr = network(seed, 1, 3, 6, 1, 0.45, dt)
    cert = tighten(Contracting(), lfr)
    pattern = worst_rate(Rows.of(lfr))[0]
    assert cert.rate is not None and cert.margin > 0
    if dt is None:
        assert 0 < cert.rate <= pattern
        sharper = Contracting(1.05 * cert.rate)
    else:
        assert pattern <= cert.rate < 1
        sharper = Contracting(math.exp(1.05 * math.log(cert.rate)))
    with pytest.raises(NotCertified):
        certify(sharper, lfr)
    assert certify(Contracting(), lfr).margin > 0


def test_a_rate_of_a_linear_system_is_its_spectral_radius() -> None:
    lfr = network(0, 1, 4, 0, 1, 0.9)
    radius = float(torch.linalg.eigvals(lfr.A).abs().max())
    rate = tighten(Contracting(), lfr, rtol=1e-3).rate
    assert rate is not None and radius < rate and math.log(rate) / math.log(radius) > 0.99


@pytest.mark.parametrize("seed", range(6))
def test_a_gain_of_a_linear_system_is_its_hinf_norm(seed: int) -> None:
    lfr = network(seed, 1 + seed % 3, 2 + seed, 0, 1 + seed % 2, 0.9)
    norm = hinf_norm(LTI(lfr.A, lfr.B2, lfr.C2, lfr.D22))
    assert sdp.smallest_gain(Rows.of(lfr), Lipschitz(1.0), Labels.of(lfr))[0] == pytest.approx(norm, rel=1e-6)
    # the continuous system of the same gain, s = (z − 1)/(z + 1)
    eye = torch.eye(lfr.nx, dtype=F64)
    shift = torch.linalg.inv(lfr.A + eye)
    slow = lfr.replace(A=shift @ (lfr.A - eye), B2=math.sqrt(2) * shift @ lfr.B2, C2=math.sqrt(2) * lfr.C2 @ shift,
                       D22=lfr.D22 - lfr.C2 @ shift @ lfr.B2, dt=None)  # fmt: skip
    assert sdp.smallest_gain(Rows.of(slow), Lipschitz(1.0), Labels.of(slow))[0] == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "sine_defect"])
def test_trajectories_stay_inside_the_envelope_that_was_searched(activation: str) -> None:
    lfr = network(4, 1, 3, 6, 1, 0.35, activation=activation)
    cert = tighten(Contracting(), lfr)
    P, rate = cert.witness.P, cert.rate
    assert rate is not None and rate < 1
    g = torch.Generator().manual_seed(0)
    x = 10 ** torch.linspace(-2, 2, 12, dtype=F64)[:, None] * torch.randn(12, 3, generator=g, dtype=F64)
    z = 10 ** torch.linspace(2, -2, 12, dtype=F64)[:, None] * torch.randn(12, 3, generator=g, dtype=F64)
    first = distance = torch.einsum("bi,ij,bj->b", x - z, P, x - z).sqrt()
    for step in range(1, 13):  # later they coincide to the last bit
        u = 3 * torch.randn(12, 1, 1, generator=g, dtype=F64)
        x, z = simulate(lfr, u, x)[1], simulate(lfr, u, z)[1]
        distance = torch.einsum("bi,ij,bj->b", x - z, P, x - z).sqrt()
        assert bool((distance <= rate**step * first * (1 + 1e-9) + 1e-9).all())
    assert float(distance.max()) > 0


def test_tightening_beats_the_witness_of_the_parametrisation_in_time() -> None:
    g = torch.Generator().manual_seed(0)
    model = ContractingREN(1, 20, 60, 1, rate=1.0, generator=g, dtype=F64)
    lfr, witness = model.explicit().detach(), model.witness()
    began, said = time.thread_time(), []  # of this thread alone: helpers of a busy machine spin while they wait
    cert = tighten(Contracting(), lfr, witness, progress=said.append)
    seconds = time.thread_time() - began
    assert cert.rate is not None and worst_rate(Rows.of(lfr), sweeps=1)[0] <= cert.rate <= witness.rate(lfr)
    assert said and "15 search" in said[0] and "about" in said[0]
    assert seconds < 30


def test_what_cannot_contract_is_refused_with_a_pattern() -> None:
    lfr = network(1, 1, 3, 6, 1, 0.45)
    pattern = worst_rate(Rows.of(lfr))[0]
    with pytest.raises(NotCertified, match="with the slopes"):
        certify(Contracting(0.99 * pattern), lfr)
    expanding = network(1, 1, 3, 6, 1, 3.0)
    for claim in (Contracting(), Lipschitz(1.0)):
        with pytest.raises(NotCertified, match="no P and Λ"):
            tighten(claim, expanding)


def test_a_well_posed_network_that_no_formula_knows() -> None:
    g = torch.Generator().manual_seed(5)
    for seed in range(20):
        W = torch.randn(8, 8, generator=g, dtype=F64)
        W = W - W.T + 0.9 * torch.eye(8, dtype=F64)  # skew parts of any size are allowed
        scale = 10 ** (2 * torch.rand(8, generator=g, dtype=F64) - 1)
        lfr = LFR(D11=W * scale[:, None] / scale[None, :], D22=[[0.0]])
        assert certify(WellPosed(), lfr).margin > 0, seed


def test_monotone_is_tightened_to_the_eigenvalue() -> None:
    lfr = network(0, 1, 0, 6, 1, 0.7)
    most = 1 - float(torch.linalg.eigvalsh((lfr.D11 + lfr.D11.T) / 2)[-1])
    cert = tighten(Monotone(0.1), lfr)
    assert cert.claim.m <= most and cert.claim.m == pytest.approx(most, rel=1e-9)
    with pytest.raises(NotCertified, match="claim m ="):
        certify(Monotone(most * (1 + 1e-9)), lfr)


def test_passivity_is_searched() -> None:
    lfr = network(0, 2, 3, 5, 2, 0.3)
    direct = lfr.replace(D22=lfr.D22 + 20 * torch.eye(2, dtype=F64))
    assert certify(Passive(1.0), direct).margin > 0
    with pytest.raises(NotCertified):
        certify(Passive(100.0), direct)


@pytest.mark.parametrize("call, words", [
    (lambda lfr: tighten(WellPosed(), lfr), "no number to tighten"),
    (lambda lfr: tighten(Contracting(), lfr, rtol=0.0), "rtol"),
])  # fmt: skip
def test_wrong_input_is_a_sentence(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(network(0, 1, 2, 3, 1, 0.3))


# known answers ------------------------------------------------------------------------------------------------------


def test_the_published_random_network_of_lipsdp_has_its_published_bound() -> None:
    # LipSDP-Neuron says 36.482; a multilayer network is a static LFR with a block-subdiagonal D11
    data = json.loads((Path(__file__).parent / "data" / "lipsdp_random.json").read_text(encoding="utf-8"))
    first, *middle, last = (torch.tensor(W, dtype=F64) for W in data["weights"])
    widths = [len(first), *(len(W) for W in middle)]
    edges = [sum(widths[:k]) for k in range(len(widths) + 1)]
    nv = edges[-1]
    D11, D12, D21 = torch.zeros(nv, nv, dtype=F64), torch.zeros(nv, 2, dtype=F64), torch.zeros(2, nv, dtype=F64)
    for k, W in enumerate(middle):
        D11[edges[k + 1] : edges[k + 2], edges[k] : edges[k + 1]] = W
    D12[: widths[0]], D21[:, edges[-2] :] = first, last
    lfr = LFR(D11=D11, D12=D12, D21=D21, D22=torch.zeros(2, 2, dtype=F64))
    cert = tighten(Lipschitz(1.0), lfr)
    assert 36.4815 < cert.claim.gamma < 36.4830
    weaker = certify(Lipschitz(36.483), lfr)
    assert "integer" in weaker.method and "interior point" in weaker.method
    with pytest.raises(NotCertified, match="36.482"):
        certify(Lipschitz(36.482), lfr)
    product = math.prod(float(torch.linalg.matrix_norm(W, 2)) for W in (first, *middle, last))
    assert cert.claim.gamma < product


def test_the_pendulum_under_pd_contracts_just_where_theory_says() -> None:
    # θ¨ = −(kp − g/l) θ − c θ˙ − (g/l)(θ − sin θ)…: slopes of the spring in [kp − g/l, kp + g/l]; a common quadratic P
    # exists exactly where c > √(kp + g/l) − √(kp − g/l)
    kp, gl = 20.0, 9.81
    edge = math.sqrt(kp + gl) - math.sqrt(kp - gl)
    assert 2.2 < edge < 3

    def loop(c: float) -> LFR:
        return LFR(A=[[0.0, 1.0], [-(kp - gl), -c]], B1=[[0.0], [-gl]], C1=[[1.0, 0.0]], B2=[[0.0], [1.0]],
                   C2=[[1.0, 0.0]], D22=[[0.0]], activation="sine_defect", dt=None)  # fmt: skip

    for c, holds in ((2.2, False), (0.999 * edge, False), (1.001 * edge, True), (3.0, True)):
        if holds:
            assert certify(Contracting(), loop(c)).margin > 0
        else:
            with pytest.raises(NotCertified):
                certify(Contracting(), loop(c))


def test_the_pendulum_plant_under_pd() -> None:
    for kd, holds in ((2.2, False), (3.0, True)):
        plant = Pendulum(mass=1.0, length=1.0, gravity=9.81, damping=0.0, upright=True, kp=20.0, kd=kd).lfr(None)
        if holds:
            assert certify(Contracting(), plant).margin > 0
        else:
            with pytest.raises(NotCertified):
                certify(Contracting(), plant)


def test_absolute_stability_of_the_benchmark_plant_by_slopes() -> None:
    # G(z) = 0.1 z/(z² − 1.8 z + 0.81) in negative feedback with slopes in [0, k]: the circle criterion ends at 0.7934
    def loop(k: float) -> LFR:
        return LFR(A=[[1.8, -0.81], [1.0, 0.0]], B1=[[-0.1 * k], [0.0]], C1=[[1.0, 0.0]], D22=[[0.0]])

    assert certify(Contracting(), loop(0.7933)).margin > 0
    with pytest.raises(NotCertified):
        certify(Contracting(), loop(0.7936))


def test_storage_of_the_search_is_the_inequality_itself() -> None:
    # the scaled program, taken back to the system's coordinates, is (★) as certify builds it
    for dt in (0.1, None):
        lfr = network(2, 2, 3, 4, 2, 0.4, dt, activation="silu")
        rows = Rows.of(lfr)
        rng = np.random.default_rng(0)
        P, lam = rng.normal(size=(3, 3)), rng.random(4)
        P = P @ P.T + np.eye(3)
        scaled = Scaled.around(rows, P, lam, np.array([2.0, 3.0]))
        problem = scaled.problem(0.7, np.zeros((9, 9)), [], 1.0)
        inner = rng.normal(size=(3, 3))
        inner, other = inner + inner.T, rng.random(4)
        M = problem.linear(problem.join(inner, other, np.zeros(0)))
        expected = scaled.C.T @ storage(rows, *scaled.witness(inner, other), 0.7).mid @ scaled.C
        np.testing.assert_allclose(M, expected, atol=1e-10)


def test_a_search_that_begins_near_the_boundary_begins_again_in_the_middle() -> None:
    """A trained model with a gain far below what its best contraction proves: Newton's steps end after three."""
    path = Path(__file__).parent / "data" / "lipschitz_f16.json"
    given = json.loads(path.read_text(encoding="utf-8"))
    blocks = {name: torch.tensor(block, dtype=F64) for name, block in given["blocks"].items()}
    lfr = LFR(**blocks, activation=given["activation"], dt=given["dt"])
    claim = Lipschitz(given["gamma"], given["u_scale"], given["y_scale"])
    witness = Witness(*(torch.tensor(given[name], dtype=F64) for name in ("P", "Lambda")))
    sharp = tighten(claim, lfr, proof="float64").claim.gamma
    assert 0.9 * claim.gamma < worst_gain(Rows.of(lfr), np.array(claim.u_scale), np.array(claim.y_scale))[0] < sharp
    assert sharp < claim.gamma  # what the parametrisation promises
    assert tighten(claim, lfr, witness, proof="float64").claim.gamma == pytest.approx(sharp, rel=1e-4)
    with pytest.raises(InputError, match="other sizes"):
        tighten(claim, lfr, Witness(torch.eye(2, dtype=F64), torch.ones(3, dtype=F64)))
