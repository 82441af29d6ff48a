"""Regions of attraction: their sizes, what trajectories do in them, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import eqnets as eq
import eqnets_verify
from eqnets.certification.basin import directions
from eqnets.certification.stability import StabilityCertificate

HANGING = eq.plants.Pendulum(1, 1, 1.0, 0.5, upright=False)


def saturated() -> eq.LFR:
    """The inverted pendulum φ'' = sin φ − 0.2 φ' + u under u = −0.6 sat((2 φ + φ')/0.6), too weak to lift it."""
    return eq.LFR(
        A=[[0.0, 1.0], [1.0, -0.2]], B1=[[0.0, 0.0], [-1.0, -0.6]], B2=[[0.0], [1.0]],
        C1=[[1.0, 0.0], [2.0 / 0.6, 1.0 / 0.6]], D22=[[0.0]], C2=[[1.0, 0.0]],
        activation=["sine_defect", "hardtanh"], dt=None,
    )  # fmt: skip


def runs(lfr: eq.LFR, x: NDArray, u: float, seconds: float, dt: float = 0.05) -> NDArray:
    """Trajectories (time, batch, nx) of ẋ = f(x) by the Runge–Kutta method of order 4, D11 = 0."""
    A, B1, C1, rest = (part.numpy() for part in (lfr.A, lfr.B1, lfr.C1, lfr.B2[:, 0] * u + lfr.bx))

    def f(x: NDArray) -> NDArray:
        return x @ A.T + lfr.activation(torch.from_numpy(x @ C1.T + lfr.bv.numpy())).numpy() @ B1.T + rest

    states = [x]
    for _ in range(round(seconds / dt)):
        k1 = f(x)
        k2 = f(x + dt / 2 * k1)
        k3 = f(x + dt / 2 * k2)
        x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + f(x + dt * k3))
        states.append(x)
    return np.stack(states)


@pytest.fixture(scope="module")
def ellipsoid() -> StabilityCertificate:
    return eq.certify(eq.RegionOfAttraction(bound=2.4, multiplier="circle"), HANGING.lfr())


@pytest.fixture(scope="module")
def lure() -> StabilityCertificate:
    return eq.certify(eq.RegionOfAttraction(bound=3.1), HANGING.lfr())


@pytest.fixture(scope="module")
def regions(ellipsoid: StabilityCertificate, lure: StabilityCertificate) -> dict[str, StabilityCertificate]:
    shifted = eq.RegionOfAttraction(equilibrium=(0.4, 0.0), input=(float(np.sin(0.5)),), bound=1.9)
    return {
        "ellipsoid": ellipsoid,
        "lure": lure,
        "shifted": eq.certify(shifted, HANGING.lfr()),
        "saturated": eq.certify(eq.RegionOfAttraction(bound=(1.0, 1.6), multiplier="circle"), saturated()),
        "sampled": eq.certify(eq.RegionOfAttraction(bound=2.0), HANGING.lfr(0.05, "euler")),
    }


NAMES = ["ellipsoid", "lure", "shifted", "saturated", "sampled"]


def test_areas_of_the_hanging_pendulum(ellipsoid: StabilityCertificate, lure: StabilityCertificate) -> None:
    assert 14.1 < ellipsoid.volume < 14.13
    assert 21.6 < lure.volume < 22.0
    assert lure.numbers.eta[0] == pytest.approx(-0.21, abs=0.005)
    assert "area 21." in lure.summary()
    assert "|v − v*| < (3.1)" in lure.sentence


def test_the_ellipsoid_is_the_one_that_a_conic_solver_finds(ellipsoid: StabilityCertificate) -> None:
    cp = pytest.importorskip("cvxpy")
    lfr, z, high = HANGING.lfr(), 2.4, 1 - np.sin(2.4) / 2.4
    A, B, C = lfr.A.numpy(), lfr.B1.numpy(), lfr.C1.numpy()
    Q, m = cp.Variable((2, 2), symmetric=True), cp.Variable((1, 1), nonneg=True)
    M = cp.bmat([[A @ Q + Q @ A.T, B @ m + Q @ C.T], [(B @ m + Q @ C.T).T, -2 / high * m]])
    cp.Problem(cp.Maximize(cp.log_det(Q)), [M << 0, C @ Q @ C.T <= z**2]).solve(solver="CLARABEL")
    area = np.pi * np.sqrt(np.linalg.det(Q.value))
    assert ellipsoid.volume == pytest.approx(area, rel=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_what_starts_inside_stays_and_arrives(name: str, regions: dict[str, StabilityCertificate]) -> None:
    found = regions[name]
    basin, lfr, center = found.basin, found.lfr, np.array(found.point.x)
    assert basin is not None
    d = directions(2)[::40]
    start = center + 0.999 * basin.radii(d)[:, None] * d
    assert found.contains(start).all()
    assert not found.contains(center + 1.001 * (start - center) / 0.999).any()
    if lfr.dt is None:
        states = runs(lfr, start, found.point.u[0], 60.0)
    else:
        y, _ = eq.simulate(
            lfr.replace(C2=torch.eye(2, dtype=torch.float64), D21=torch.zeros(2, 1, dtype=torch.float64),
                        D22=torch.zeros(2, 1, dtype=torch.float64), by=torch.zeros(2, dtype=torch.float64),
                        y_names=None, y_units=None),
            torch.zeros(len(start), 1200, 1, dtype=torch.float64), torch.from_numpy(start),
        )  # fmt: skip
        states = y.numpy().transpose(1, 0, 2)
    V = basin.value(states - center)
    assert found.contains(states).all()
    assert (np.diff(V, axis=0) < 1e-9).all()
    np.testing.assert_allclose(states[-1], np.tile(center, (len(start), 1)), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_saved_and_a_sceptic_accepts_it(
    name: str, regions: dict[str, StabilityCertificate], tmp_path: Path
) -> None:
    found, path = regions[name], tmp_path / "c.cert.json"
    found.save(path)
    assert eq.verify(path, found.lfr) == found.claim
    sentence = eqnets_verify.verify(path).sentence
    assert "stays there and goes to x* exponentially" in sentence
    with pytest.raises(eq.CertificateError, match="speaks of one equilibrium"):
        eq.Certificate.load(path, found.lfr)
    with pytest.raises(eq.CertificateError, match="other weights"):
        eq.verify(path, found.lfr.replace(A=found.lfr.A * (1 + 1e-15)))


def changed(document: dict, key: str, value: object) -> dict:
    inner = {**document["claim"], key: value} if key in document["claim"] else document["claim"]
    return {**document, "claim": inner, **({key: value} if key in document else {})}


def test_a_file_that_says_more_is_rejected(lure: StabilityCertificate, tmp_path: Path) -> None:
    path = tmp_path / "c.cert.json"
    lure.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    claim = document["claim"]
    more = {
        "P": [[0.98 * x for x in row] for row in document["P"]],  # a larger region
        "bound": [3.2],
        "high": [claim["high"][0] - 1e-3],
        "low": [1e-3],
        "eta": [1.05 * claim["eta"][0]],
        "equilibrium": [0.1, 0.0],
        "input": [],
        "tolerance": -1.0,
        "Lambda": [-document["Lambda"][0]],
    }
    for key, value in more.items():
        path.write_text(json.dumps(changed(document, key, value)), encoding="utf-8")
        with pytest.raises(eqnets_verify.Rejected):
            eqnets_verify.verify(path)
    everywhere = changed(document, "bound", [None])
    path.write_text(json.dumps(everywhere), encoding="utf-8")
    with pytest.raises(eqnets_verify.Rejected, match="sector of neuron 1"):
        eqnets_verify.verify(path)
    path.write_text(json.dumps(changed(document, "P", document["P"])), encoding="utf-8")
    assert eqnets_verify.verify(path).claim["kind"] == "around"


def test_a_region_only_for_a_saturated_controller(regions: dict[str, StabilityCertificate]) -> None:
    for multiplier in ("circle", "lure"):
        with pytest.raises(eq.NotCertified, match=r"gains \(0, 0\).*Remedy: claim RegionOfAttraction"):
            eq.certify(eq.AbsoluteStability(multiplier=multiplier), saturated())
    assert regions["saturated"].volume > 0.3
    hanging = np.array([[np.pi - np.arcsin(0.6), 0.0]])  # where the full torque and gravity balance, and it stays
    np.testing.assert_allclose(runs(saturated(), hanging, 0.0, 20.0)[-1], hanging, atol=1e-9)
    assert not regions["saturated"].contains(hanging).any()


def test_the_bounds_are_searched_where_none_are_given(ellipsoid: StabilityCertificate) -> None:
    found = eq.certify(eq.RegionOfAttraction(multiplier="circle"), HANGING.lfr())
    assert found.volume > ellipsoid.volume
    assert isinstance(found.claim, eq.RegionOfAttraction)
    assert found.bounds[0] == pytest.approx(2.45, abs=0.15)


@pytest.mark.parametrize("dt", [0.1, None])
@pytest.mark.parametrize("activation", ["hardtanh", "tanh", "sine_defect"])
def test_where_the_whole_space_is_a_region_no_bounds_are_searched(activation: str, dt: float | None) -> None:
    """Else they would widen for ever: each is better than the one before."""
    A, eye = np.array([[-1.0, 0.3], [-0.2, -1.5]]), np.eye(2)
    lfr = eq.LFR(A=A if dt is None else eye + dt * A, B1=0.2 * eye * (dt or 1), C1=eye, D22=[[0.0]], dt=dt,
                 activation=activation)  # fmt: skip
    found = eq.certify(eq.RegionOfAttraction(), lfr)
    assert isinstance(found.claim, eq.AbsoluteStability) and found.volume == np.inf
    assert found.contains(1e9 * np.ones((1, 2))).all() and "from every initial state" in found.sentence


def test_a_bound_that_may_grow_for_ever_stops() -> None:
    """One neuron is harmless wherever its argument is, the other holds only near the origin."""
    lfr = eq.LFR(A=[[-1.0, 0.0], [0.0, 0.5]], B1=[[-0.5, 0.0], [0.0, -1.0]], C1=np.eye(2), D22=[[0.0]],
                 activation="hardtanh", dt=None)  # fmt: skip
    found = eq.certify(eq.RegionOfAttraction(multiplier="circle"), lfr)
    assert isinstance(found.claim, eq.RegionOfAttraction) and found.bounds[0] > 100
    assert found.bounds[1] == pytest.approx(2.0, rel=0.1)  # beyond, 0.5 x exceeds what saturates at 1


def test_the_volume_of_an_ellipsoid_in_one_two_and_three_dimensions() -> None:
    for n, ball in ((1, 2.0), (2, np.pi), (3, 4 * np.pi / 3)):
        A = -np.diag(np.arange(1.0, n + 1)) + 0.3 * np.eye(n, k=1)
        lfr = eq.LFR(A=A, B1=np.ones((n, 1)), C1=np.ones((1, n)), D22=[[0.0]], activation="sine_defect", dt=None)
        found = eq.certify(eq.RegionOfAttraction(bound=0.9, multiplier="circle"), lfr)
        exact = ball / np.sqrt(np.linalg.det(found.numbers.P))
        assert found.volume == pytest.approx(exact, rel=1e-9)


def test_what_is_refused_and_why() -> None:
    upright = eq.plants.Pendulum(1, 1, 1.0, 0.5).lfr()
    with pytest.raises(eq.NotCertified, match="the equilibrium is unstable: its linearisation has a pole at Re s"):
        eq.certify(eq.RegionOfAttraction(), upright)
    with pytest.raises(eq.NotCertified, match="smaller bound"):
        eq.certify(eq.RegionOfAttraction(bound=3.2), HANGING.lfr())  # the upright equilibrium lies within
    with pytest.raises(eq.NotConverged, match="no equilibrium was found"):
        eq.certify(eq.RegionOfAttraction(input=(5.0,)), HANGING.lfr())
    for bad in (0.0, -1.0, float("nan"), (1.0, -2.0)):
        with pytest.raises(eq.InputError):
            eq.RegionOfAttraction(bound=bad)
    with pytest.raises(eq.InputError, match="AbsoluteStability"):
        eq.RegionOfAttraction(bound=(None,))
    with pytest.raises(eq.InputError, match="2 bounds"):
        eq.certify(eq.RegionOfAttraction(bound=(1.0, 2.0)), HANGING.lfr())
    with pytest.raises(eq.InputError, match="equilibrium has 1 numbers"):
        eq.certify(eq.RegionOfAttraction(equilibrium=(1.0,)), HANGING.lfr())


def test_whatever_number_of_a_file_is_changed_what_is_accepted_still_holds(
    lure: StabilityCertificate, tmp_path: Path
) -> None:
    """A mutated file is rejected, or it speaks of a region that the dynamics, sampled in float64, keep to."""
    path = tmp_path / "c.cert.json"
    lure.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    accepted = 0
    for _ in range(20):
        key = str(rng.choice(["P", "Lambda", "bound", "low", "high", "eta"]))
        old = document[key] if key in document else document["claim"][key]
        factor = 1 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-12, 0)
        value = [[factor * x for x in row] for row in old] if key == "P" else [factor * x for x in old]
        path.write_text(json.dumps(changed(document, key, value)), encoding="utf-8")
        try:
            verdict = eqnets_verify.verify(path)
        except eqnets_verify.Rejected:
            continue
        accepted += 1
        claim = verdict.claim
        P = np.array([[value[0][0], value[1][0]], [value[1][0], value[1][1]]]) if key == "P" else lure.numbers.P
        basin = lure.basin
        assert basin is not None
        basin = replace(basin, P=P, eta=np.array(claim["eta"]), bounds=np.array(claim["bound"]))
        x = rng.uniform(-3.5, 3.5, size=(4000, 2))
        x = x[basin.contains(x)]
        flow = np.stack([x[:, 1], -np.sin(x[:, 0]) - 0.5 * x[:, 1]], axis=1)
        w = x[:, 0] - np.sin(x[:, 0])
        assert (2 * np.einsum("mi,ij,mj->m", x, P, flow) + 2 * claim["eta"][0] * w * flow[:, 0] < 0).all()
    assert 0 < accepted < 20
