"""Circle and Lur'e–Postnikov criteria: the limits of frequency-domain theory, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import eqnets as eq
import eqnets_verify
from eqnets.certification.around import find_point
from eqnets.certification.attraction import Program
from eqnets.certification.exact import prove_exactly
from eqnets.certification.inequality import Rows
from eqnets.certification.lure import Numbers, block_diagonal, decrease, levels, within
from eqnets.certification.with_memory import MemoryCertificate


def loop(A: list, b: list, c: list, k: float, dt: float | None) -> eq.LFR:
    """The plant c (σ − A)⁻¹ b in negative feedback with k·relu, one member of the sector [0, k]."""
    b, c = np.array(b, dtype=float), np.array(c, dtype=float)
    return eq.LFR(A=A, B1=-k * b[:, None], C1=c[None, :], D22=[[0.0]], activation="relu", dt=dt)


def circle_limit(A: list, b: list, c: list, dt: float | None) -> float:
    """The largest k with 1 + k Re G > 0 on the boundary of stability (Zames 1966)."""
    w = np.linspace(0, np.pi, 40001) if dt else np.concatenate([np.linspace(0, 20, 100001), np.logspace(1.3, 5, 2000)])
    s = np.exp(1j * w) if dt else 1j * w
    n = len(A)
    G = np.linalg.solve(s[:, None, None] * np.eye(n) - np.array(A), np.array(b, dtype=float)[None, :, None])[..., 0] @ c
    return -1 / G.real.min()


BENCHMARK = ([[1.8, -0.81], [1.0, 0.0]], [1.0, 0.0], [0.1, 0.0])  # G = 0.1 z/(z² − 1.8 z + 0.81)
PLANTS = {
    "benchmark": (*BENCHMARK, 1.0),
    "third order": ([[0.9, 0.2, 0.0], [-0.3, 0.7, 0.4], [0.0, 0.1, 0.5]], [0, 0, 1], [1, 0, 0.2], 0.1),
    "oscillator": ([[0.0, 1.0], [-1.0, -0.4]], [0, 1], [1, 0], None),
    "slow and fast": ([[-1.0, 1.0, 0.0], [0.0, -3.0, 5.0], [0.0, 0.0, -20.0]], [0, 0, 1], [4, 0, 0], None),
}


@pytest.mark.parametrize("name", PLANTS)
def test_the_circle_criterion_reaches_the_limit_of_the_nyquist_plot(name: str) -> None:
    A, b, c, dt = PLANTS[name]
    limit = circle_limit(A, b, c, dt)
    assert limit > 0
    if name == "benchmark":
        assert limit == pytest.approx(0.7934, abs=1e-4)
    found = eq.certify(eq.AbsoluteStability(), loop(A, b, c, 0.9995 * limit, dt))
    assert found.margin > 0
    assert found.volume == np.inf
    assert found.contains(np.full((3, len(A)), 1e9)).all()
    with pytest.raises(eq.NotCertified):
        eq.certify(eq.AbsoluteStability(), loop(A, b, c, 1.0005 * limit, dt))


def test_lure_postnikov_proves_what_popov_proves_and_the_circle_does_not() -> None:
    A, b, c, dt = PLANTS["oscillator"]  # Popov: every sector
    k = 20 * circle_limit(A, b, c, dt)
    with pytest.raises(eq.NotCertified, match="lure"):
        eq.certify(eq.AbsoluteStability(), loop(A, b, c, k, dt))
    found = eq.certify(eq.AbsoluteStability(multiplier="lure"), loop(A, b, c, k, dt))
    assert found.claim.multiplier == "lure"
    assert abs(found.numbers.eta[0]) > 0


def test_lure_postnikov_proves_no_less_than_the_circle() -> None:
    A, b, c, dt = PLANTS["oscillator"]
    lfr = loop(A, b, c, 0.9 * circle_limit(A, b, c, dt), dt)
    for multiplier in ("circle", "lure"):
        assert eq.certify(eq.AbsoluteStability(multiplier=multiplier), lfr).margin > 0


def test_it_is_refused_beyond_the_gain_that_makes_the_linear_loop_unstable() -> None:
    A, b, c, dt = PLANTS["slow and fast"]
    G0 = float(np.array(c) @ np.linalg.solve(-np.array(A), b))
    assert G0 > 0
    gains = np.linspace(1, 4000, 4000)
    loops = [np.linalg.eigvals(np.array(A) - k * np.outer(b, c)).real.max() for k in gains]
    critical = float(gains[np.argmax(np.array(loops) >= 0)])
    with pytest.raises(eq.NotCertified, match=r"gains \(1\), which the sectors allow, the system has a pole at Re s"):
        eq.certify(eq.AbsoluteStability(multiplier="lure"), loop(A, b, c, 1.01 * critical, dt))
    assert eq.certify(eq.AbsoluteStability(multiplier="lure"), loop(A, b, c, 0.9 * critical, dt)).margin > 0  # Popov


@pytest.mark.parametrize("nv", [0, 4])
def test_trajectories_go_to_the_equilibrium_that_newton_found(nv: int, random_lfr: Callable[..., eq.LFR]) -> None:
    for seed in range(3):
        lfr = random_lfr(seed, 1, 3, nv, 1, scale=0.25, activation="relu")
        lfr = lfr.replace(D11=0 * lfr.D11)
        found = eq.certify(eq.AbsoluteStability(input=(0.3,)), lfr)
        x0 = 5 * torch.randn(8, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        _, last = eq.simulate(lfr, torch.full((8, 200, 1), 0.3, dtype=torch.float64), x0)
        np.testing.assert_allclose(last.numpy(), np.tile(found.point.x, (8, 1)), atol=1e-9)
        assert found.point.tolerance > 0
        assert "Newton" in found.sentence


def test_the_storage_falls_at_every_state() -> None:
    """M ≻ 0 says that V falls: checked against V itself."""
    A, b, c, dt = PLANTS["oscillator"]
    lfr = loop(A, b, c, 5.0, dt)
    found = eq.certify(eq.AbsoluteStability(multiplier="lure"), lfr)
    P, eta = found.numbers.P, found.numbers.eta
    rng = np.random.default_rng(0)
    for x in rng.normal(size=(500, 2)):
        w = max(float(np.array(c) @ x), 0.0)
        flow = np.array(A) @ x - 5.0 * np.array(b, dtype=float) * w
        assert 2 * x @ P @ flow + 2 * eta[0] * w * (np.array(c) @ flow) < 0


def test_the_program_is_the_inequality_itself() -> None:
    """The search's matrices, taken back to the system's units, are those that are proved."""
    lfr = eq.plants.Pendulum(1, 1, 2.0, 0.7, upright=False).lfr()
    point, rows, bounds = find_point(eq.RegionOfAttraction(), lfr), Rows.of(lfr), (1.7,)
    sectors = point.sectors(lfr, bounds)
    narrowed = within(rows, sectors)
    program = Program.of(narrowed, sectors, bounds, signed=True)
    assert program is not None
    rng = np.random.default_rng(1)
    for sign in (0, 1):
        y = rng.random(6)
        y[4 + sign] = 0.0  # one of η₊, η₋
        found = program.numbers(y)
        M = np.array(decrease(narrowed, found).numerator, dtype=float) / 2.0 ** decrease(narrowed, found).k
        scale = np.block([[program.T, np.zeros((2, 1))], [np.zeros((1, 2)), np.diag(program.s)]])
        matrix = program.matrix(y)
        np.testing.assert_allclose(matrix[:3, :3], scale.T @ M @ scale / program.tau, atol=1e-9)
        for at, level in zip((3, 5), levels(narrowed, found, sectors, bounds), strict=True):
            exact = np.array(level.numerator / (1 << level.k), dtype=float)
            np.testing.assert_allclose(matrix[at : at + 2, at : at + 2], program.T.T @ exact @ program.T, atol=1e-9)


def test_an_indefinite_storage_is_not_proved() -> None:
    lfr = loop(*BENCHMARK, 0.5, 1.0)
    found = eq.certify(eq.AbsoluteStability(), lfr)
    rows = within(Rows.of(lfr), found.sectors)
    for P in (-found.numbers.P, 0 * found.numbers.P, found.numbers.P - 2 * np.diag(np.diagonal(found.numbers.P))):
        numbers = Numbers(P, found.numbers.Lambda, found.numbers.eta)
        positive = prove_exactly(block_diagonal(levels(rows, numbers, found.sectors, (None,)))).holds
        assert not (positive and prove_exactly(decrease(rows, numbers)).holds)


def test_what_is_refused_and_why(tmp_path: Path) -> None:
    plant = loop(*BENCHMARK, 0.5, 1.0)
    with pytest.raises(eq.NotCertified, match="D11 ≠ 0"):
        eq.certify(eq.AbsoluteStability(), plant.replace(D11=np.full((1, 1), -0.1)))
    with pytest.raises(eq.NotCertified, match="one of continuous time"):
        eq.certify(eq.AbsoluteStability(multiplier="lure"), plant)
    with pytest.raises(eq.NotCertified, match="the whole space is not proved, and no bound .* sector of 'relu'"):
        eq.certify(eq.RegionOfAttraction(), loop(*BENCHMARK, 1.5, 1.0))
    with pytest.raises(eq.InputError, match="circle, lure, memory"):
        eq.AbsoluteStability(multiplier="zames-falb")
    with pytest.raises(eq.InputError, match="without a witness"):
        eq.certify(eq.AbsoluteStability(), plant, proof="float64")  # type: ignore[call-overload]
    with pytest.raises(eq.InputError, match="has no trajectories"):
        eq.certify(eq.AbsoluteStability(), eq.LFR(D22=[[1.0]]))
    lying = eq.Nonlinearity("steep", lambda v: 3 * v, lambda v: 0 * v + 3, (0.0, 1.0))
    with pytest.raises(eq.NotCertified, match="states slopes in"):
        eq.certify(eq.AbsoluteStability(), plant.replace(activation=lying))
    found = eq.certify(eq.AbsoluteStability(), plant)
    assert "not of pairs of trajectories" in found.sentence
    found.save(tmp_path / "a.cert.json")
    verdict = eqnets_verify.verify(tmp_path / "a.cert.json")
    assert "every trajectory under that input goes to x* exponentially" in verdict.sentence
    assert "nothing of pairs of trajectories" in verdict.sentence
    assert eq.verify(tmp_path / "a.cert.json", plant) == found.claim


@pytest.mark.parametrize("claim", [
    eq.AbsoluteStability(), eq.AbsoluteStability(multiplier="memory"), eq.RegionOfAttraction(bound=2.0),
    eq.DissipativeAround([[-1.0]], [[0.0]], [[1e4]]),
])  # fmt: skip
def test_every_certificate_of_one_equilibrium_says_the_same_things(claim) -> None:
    plant = loop(*BENCHMARK, 0.5, 1.0).replace(activation="hardtanh")
    found = eq.certify(claim, plant)
    said = found.summary().splitlines()
    begins = [line.split()[0] for line in said if not line.startswith("region")]
    assert begins == ["claim", "margin", "method", "model"]
    assert said[0].endswith(found.sentence) and found.digest in said[-1] and found.digest == plant.digest()
    assert found.margin > 0 and found.lfr.nx == plant.nx and found.point.tolerance == 0
    assert "exact integer" in found.method and found.claim.kind == claim.kind


def test_a_memory_of_one_step_goes_far_beyond_the_circle_criterion(tmp_path: Path) -> None:
    # Carrasco et al., example 1: circle 0.7934; a Zames–Falb multiplier of that length 12.99; linear loops to 36.1
    claim = eq.AbsoluteStability(multiplier="memory")
    for k in (0.5, 5.0, 12.98):
        found = eq.certify(claim, loop(*BENCHMARK, k, 1.0))
        assert found.margin > 0
        assert "time-invariant" in found.sentence
    with pytest.raises(eq.NotCertified, match="no P and multipliers"):
        eq.certify(claim, loop(*BENCHMARK, 13.05, 1.0))
    with pytest.raises(eq.NotCertified, match="knows no claim with memory"):
        found.save(tmp_path / "a.cert.json")
    with pytest.raises(eq.NotCertified, match="one of discrete time"):
        eq.certify(claim, loop(*PLANTS["oscillator"][:3], 1.0, None))
    with pytest.raises(eq.InputError, match="not by 'memory'"):
        eq.RegionOfAttraction(multiplier="memory")


@pytest.mark.parametrize("activation, steps, k", [
    ("relu", 1, 8.0), ("relu", 3, 8.0), ("leaky_relu(0.2)", 1, 8.0), ("leaky_relu(0.2)", 2, 8.0), ("tanh", 1, 8.0),
    ("tanh", 3, 13.4), ("hardtanh", 3, 13.4),
])  # fmt: skip
def test_the_storage_with_memory_falls_along_trajectories_and_is_positive(activation, steps: int, k: float) -> None:
    lfr, odd = loop(*BENCHMARK, k, 1.0).replace(activation=activation), "tanh" in activation
    found = eq.certify(eq.AbsoluteStability(multiplier="memory", memory=steps), lfr)
    assert isinstance(found, MemoryCertificate) and found.numbers.pairs.odd is odd
    assert (" odd" in found.sentence) is odd and ("3 steps" in found.method) is (steps == 3)
    t, weights = np.polynomial.legendre.leggauss(60)

    def V(x: torch.Tensor) -> torch.Tensor:
        ahead, total = [x], torch.zeros(())
        for c in found.numbers.c[0]:  # in units of β = 1
            v = x @ lfr.C1.T
            ahead.append(lfr.activation(v))
            way = lfr.activation(v * torch.from_numpy((t + 1) / 2)) @ torch.from_numpy(weights / 2)
            total = total + float(c) * v[..., 0] * way
            x = x @ lfr.A.T + ahead[-1] @ lfr.B1.T
        xi = torch.cat(ahead, dim=-1)
        return ((xi @ torch.from_numpy(found.numbers.P)) * xi).sum(-1) + total

    x = 30 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(30):
        following = x @ lfr.A.T + lfr.activation(x @ lfr.C1.T) @ lfr.B1.T
        assert (V(x) > 0).all()
        assert (V(following) < V(x) * (1 + 1e-6)).all()
        x = following


def test_a_longer_memory_goes_further_where_neurons_are_odd() -> None:
    """13.48 with three steps, as Zames–Falb multipliers of that length do for an odd φ (12.99 with one)."""
    claims = [eq.AbsoluteStability(multiplier="memory", memory=steps) for steps in (1, 3)]
    odd = loop(*BENCHMARK, 13.47, 1.0).replace(activation="tanh")
    assert eq.certify(claims[1], odd).margin > 0
    shifted = odd.replace(bv=[0.1])  # about another point it is not odd
    for claim, plant in ((claims[0], odd), (claims[1], loop(*BENCHMARK, 13.47, 1.0)), (claims[1], shifted)):
        with pytest.raises(eq.NotCertified, match=f"memory={claim.memory + 1}"):
            eq.certify(claim, plant)
    for wrong in ({"memory": 0}, {"memory": 2, "multiplier": "circle"}, {"memory": True}, {"memory": 1.5}):
        with pytest.raises(eq.InputError, match="number of steps"):
            eq.AbsoluteStability(**{"multiplier": "memory", **wrong})


def test_memory_for_several_neurons_and_an_equilibrium_that_is_not_zero(random_lfr: Callable[..., eq.LFR]) -> None:
    lfr = random_lfr(3, 1, 3, 2, 1, scale=0.4, activation="softplus")
    lfr = lfr.replace(D11=0 * lfr.D11)
    found = eq.certify(eq.AbsoluteStability(multiplier="memory"), lfr)
    _, last = eq.simulate(lfr, torch.zeros(1, 300, 1, dtype=torch.float64))
    np.testing.assert_allclose(last[0].numpy(), found.point.x, atol=1e-8)
