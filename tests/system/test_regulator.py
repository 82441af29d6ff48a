"""Gains are optimal, rules keep what they say, and the observer's own model is one of its trajectories."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.system.connect import connect, series
from eqnets.system.lti import hinf_norm, lyapunov, riccati
from eqnets.system.observer import kalman, observer, state_output
from eqnets.system.regulator import integral_state_feedback, lqr, pi, with_integrator

F64 = torch.float64


def plant(seed: int, nx: int = 3, nu: int = 2, ny: int = 2, scale: float = 0.6) -> eq.LTI:
    g = torch.Generator().manual_seed(seed)
    shapes = ((nx, nx), (nx, nu), (ny, nx), (ny, nu))
    return eq.LTI(*(scale * torch.randn(shape, generator=g, dtype=F64) for shape in shapes), 0.1)


def first_order(T: float, gain: float, dt: float = 0.1) -> eq.LTI:
    a = float(torch.exp(torch.tensor(-dt / T, dtype=F64)))
    return eq.LTI([[a]], [[gain * (1 - a)]], [[1.0]], [[0.0]], dt)


def sensitivity(controller: eq.LTI, lti: eq.LTI) -> float:
    one = torch.ones(1, 1, dtype=F64)
    return hinf_norm(eq.linearise(connect(series(controller, lti), -one, one, -one, one)))


@pytest.mark.parametrize("seed", range(4))
def test_lqr_is_optimal_and_stabilises(seed: int) -> None:
    lti, eye = plant(seed, scale=1.0), torch.eye(3, dtype=F64)
    Q, R = eye, 0.5 * torch.eye(2, dtype=F64)
    P, K = riccati(lti.A, lti.B, Q, R), lqr(lti, Q, R)
    closed = lti.A - lti.B @ K
    assert float(torch.linalg.eigvals(closed).abs().max()) < 1
    torch.testing.assert_close(P, lti.A.T @ P @ closed + Q, rtol=1e-9, atol=1e-9)  # the equation itself

    def cost(gain: torch.Tensor) -> torch.Tensor:
        return lyapunov(lti.A - lti.B @ gain, Q + gain.T @ R @ gain)

    torch.testing.assert_close(cost(K), P, rtol=1e-8, atol=1e-8)
    g = torch.Generator().manual_seed(seed)
    for _ in range(5):  # every other gain costs more, from every state
        other = K + 1e-3 * torch.randn(K.shape, generator=g, dtype=F64)
        assert float(torch.linalg.eigvalsh(cost(other) - P)[0]) > -1e-9


@pytest.mark.parametrize("seed", range(3))
def test_lqr_with_integrator_reaches_the_reference_without_an_offset(seed: int) -> None:
    lti = plant(seed)
    lti = eq.LTI(lti.A, lti.B, lti.C, torch.zeros(2, 2), 0.1)
    augmented = with_integrator(lti)
    K = lqr(augmented, torch.eye(5, dtype=F64), torch.eye(2, dtype=F64))
    model = lti.to_lfr().replace(by=torch.tensor([0.3, -0.2], dtype=F64))  # an offset that the design did not know
    eye, zeros = torch.eye(3, dtype=F64), torch.zeros(5, 2, dtype=F64)
    by = torch.cat([model.by, zeros[:3, 0]])
    seen = model.replace(C2=torch.cat([model.C2, eye]), D21=None, D22=zeros, by=by)  # its state is measured too
    loop = eq.interconnect(
        {"plant": seen, "lqr": integral_state_feedback(K, lti)},
        {**{f"plant.u{i}": f"lqr.y{i}" for i in (1, 2)},
         **{f"lqr.u{i}": [f"r{i}", f"-plant.y{i}"] for i in (1, 2)},
         **{f"lqr.u{i + 2}": f"plant.y{i + 2}" for i in (1, 2, 3)}},
        ["r1", "r2"], ["plant.y1", "plant.y2"],
    )  # fmt: skip
    r = torch.tensor([1.0, -0.5], dtype=F64)
    torch.testing.assert_close(eq.operating_point(loop, r).y, r, rtol=1e-9, atol=1e-9)
    expected = torch.linalg.eigvals(augmented.A - augmented.B @ K).abs()
    assert eq.linearise(loop).spectral_radius() == pytest.approx(float(expected.max()), rel=1e-9) and expected.max() < 1


@pytest.mark.parametrize(("T", "gain"), [(2.0, 3.0), (50.0, -0.4), (0.5, 100.0)])
def test_pi_cancels_the_pole_of_a_first_order_plant(T: float, gain: float) -> None:
    lti = first_order(T, gain)
    controller = pi(lti)
    Kp, slope = float(controller.D[0, 0]), float(controller.C[0, 0])
    residence = 0.1 / (1 - float(lti.A[0, 0]))  # Σ k dt h_k / Σ h_k of a geometric series
    assert Kp / slope == pytest.approx(residence, rel=1e-9) and Kp * gain > 0


@pytest.mark.parametrize("limit", [1.2, 1.4, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_pi_keeps_its_distance_from_the_critical_point_and_uses_it_up(seed: int, limit: float) -> None:
    lags = [first_order(T, g) for T, g in ((3.0 + seed, 2.0), (1.0, 1.0), (0.4, -1.0 - seed))]
    lti = eq.linearise(series(*lags))
    controller = pi(lti, limit)
    assert limit * (1 - 1e-3) < sensitivity(controller, lti) <= limit * (1 + 1e-5)
    loop = eq.feedback(series(controller, lti))
    y, _ = eq.simulate(loop, torch.ones(1, 4000, 1, dtype=F64))
    assert float(y[0, -1, 0]) == pytest.approx(1.0, abs=1e-6)


def test_pi_keeps_the_small_gain_condition_for_what_the_plant_leaves_out() -> None:
    """A part of gain γ beside the plant: the certificates of the two parts prove that the loop contracts."""
    lti = eq.linearise(series(first_order(3.0, 2.0), first_order(1.0, 1.0)))
    gamma = 1.5
    controller = pi(lti, 2.0, uncertainty=gamma)
    peak = hinf_norm(eq.linearise(eq.feedback(controller, lti)))
    assert 0.89 < gamma * peak <= 0.9 * (1 + 1e-5) and sensitivity(controller, lti) < 2
    ren = eq.LipschitzREN(1, 2, 3, 1, gamma=gamma, generator=torch.Generator().manual_seed(0), dtype=F64, dt=0.1)
    left_out = eq.certify(eq.Lipschitz(gamma), ren.explicit().detach(), ren.witness())
    seen = eq.interconnect({"pi": controller, "plant": lti}, {"plant.u1": "pi.y1", "pi.u1": ["-plant.y1", "-d"]},
                           ["d"], ["pi.y1"])  # fmt: skip
    parts = [left_out, eq.certify(eq.Lipschitz(peak * 1.01), seen)]
    assert eq.certify_connection(eq.Contracting(), eq.feedback(left_out.lfr, seen, 1), parts).margin > 0
    with pytest.raises(eq.InputError, match="uncertainty of a plant under integral action"):
        pi(lti, uncertainty=1.9)


@pytest.mark.parametrize("output", ["y", "x"])
def test_the_model_is_a_trajectory_of_its_observer_and_wrong_starts_are_forgotten(output: str) -> None:
    model = eq.ContractingREN(2, 3, 4, 2, rate=0.95, generator=torch.Generator().manual_seed(1), dtype=F64)
    lfr = model.explicit().detach().replace(u_names=("a", "b"), y_names=("c", "d"))
    L = kalman(eq.linearise(lfr), torch.eye(3, dtype=F64), torch.eye(2, dtype=F64))
    watcher = observer(lfr, L, output)
    g = torch.Generator().manual_seed(0)
    u, x0 = torch.randn(1, 300, 2, dtype=F64, generator=g), torch.randn(1, 3, dtype=F64, generator=g)
    y, _ = eq.simulate(lfr, u, x0)
    fed = torch.cat([u, y], dim=2)
    expected = y if output == "y" else eq.simulate(state_output(lfr), u, x0)[0]
    torch.testing.assert_close(eq.simulate(watcher, fed, x0)[0], expected, rtol=1e-10, atol=1e-11)
    wrong, _ = eq.simulate(watcher, fed, x0 + 1)
    assert float((wrong - expected)[0, -1].abs().max()) < 1e-6 * float((wrong - expected)[0, 0].abs().max())
    assert watcher.u_names == ("a", "b", "c", "d")


def test_what_a_rule_cannot_do_is_refused() -> None:
    one, eye = first_order(1.0, 1.0), torch.eye(1, dtype=F64)
    wrong_way = eq.linearise(eq.parallel(first_order(0.3, 2.0), first_order(3.0, -1.0)))
    nothing = eq.linearise(eq.parallel(first_order(0.3, 1.0), first_order(3.0, 1.0), signs=(1, -1)))
    unstable = eq.LTI([[1.5]], [[0.0]], [[1.0]], [[0.0]], 0.1)
    for make, words in (
        (lambda: pi(plant(0)), "one input and one output"), (lambda: pi(one, 0.9), "exceeds 1"),
        (lambda: pi(unstable), "stable plant"), (lambda: pi(nothing), "static gain of this plant is zero"),
        (lambda: pi(wrong_way), "wrong direction"), (lambda: lqr(unstable, eye, eye), "no stabilising solution"),
        (lambda: integral_state_feedback(eye, one), "K has shape"),
        (lambda: observer(one.to_lfr(), eye[:0]), "L has shape"),
        (lambda: observer(one.to_lfr(), eye, "z"), "no output 'z'"),  # type: ignore[arg-type]
    ):  # fmt: skip
        with pytest.raises(eq.InputError, match=words):
            make()
