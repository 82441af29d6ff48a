"""Willems' storage around one equilibrium: what holds there and not between pairs, what is refused, what is saved."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import eqnets as eq
import eqnets_verify

GAIN = 6.0


def spring(kp: float = 0.6, dt: float | None = None) -> eq.LFR:
    """A hanging pendulum, g/l = 1, c = 1 1/s, on a spring that is too weak to forbid the slope at the top."""
    plant = eq.plants.Pendulum(1, 1, 1.0, 1.0, upright=False, kp=kp)
    lfr = plant.lfr() if dt is None else plant.lfr(dt, "euler")
    return lfr.replace(u_names=("torque",), y_names=("angle",), u_units=("N m",), y_units=("rad",))


def gain(gamma: float, **at) -> eq.DissipativeAround:
    return eq.DissipativeAround([[-1.0]], [[0.0]], [[gamma**2]], **at)


@pytest.fixture(scope="module", params=[None, 0.05])
def found(request):
    return eq.certify(gain(GAIN), spring(dt=request.param))


def test_it_holds_around_the_point_and_not_between_pairs(found) -> None:
    lfr, claim = found.lfr, found.claim
    assert found.margin > 0 and "Around the equilibrium x* = (0, 0)" in found.summary()
    assert "torque [N m]" in found.sentence and "angle [rad]" in found.sentence
    with pytest.raises(eq.NotCertified):
        eq.certify(claim.supply, lfr)
    # and it cannot be proved: near θ = π the pendulum runs away from itself
    top = torch.tensor([np.pi, 0.0], dtype=torch.float64)
    v = lfr.C1 @ top
    A = lfr.A + lfr.B1 @ torch.diag(lfr.activation.derivative(v)) @ lfr.C1
    poles = np.linalg.eigvals(A.numpy())
    assert poles.real.max() > 0 if lfr.dt is None else np.abs(poles).max() > 1


def test_the_energy_of_simulated_runs_keeps_to_it() -> None:
    lfr = spring(dt=0.05)
    found = eq.certify(gain(GAIN), lfr)
    g = torch.Generator().manual_seed(0)
    x0 = 3 * torch.randn(50, 2, generator=g, dtype=torch.float64)
    x0[:25] = 0.0  # half of them from the equilibrium
    scale = torch.logspace(-2, 1, 25, dtype=torch.float64).repeat(2)[:, None, None]
    u = scale * torch.cumsum(torch.randn(50, 200, 1, generator=g, dtype=torch.float64), dim=1) / 5
    y, _ = eq.simulate(lfr, u, x0)
    total = (GAIN**2 * u**2 - y**2).sum(2).cumsum(1)
    stored = torch.einsum("bi,ij,bj->b", x0, torch.from_numpy(found.numbers.P), x0)
    assert (total >= -stored[:, None] * (1 + 1e-9) - 1e-12).all()
    assert (total[25:].amin(1) < 0).any()  # what was stored is what allows it


def test_a_sceptic_accepts_the_file_and_says_it_in_units(found, tmp_path: Path) -> None:
    path = tmp_path / "s.cert.json"
    found.save(path)
    said = eqnets_verify.verify(path).sentence
    assert "around the equilibrium" in said and "'torque': 1.0 'N m'" in said and "'angle': 1.0 'rad'" in said
    assert ("∫" if found.lfr.dt is None else "Σ") in said and "nothing of pairs of trajectories" in said
    assert eq.verify(path, found.lfr) == found.claim
    with pytest.raises(eq.CertificateError, match="other weights"):
        eq.verify(path, found.lfr.replace(A=found.lfr.A * (1 + 1e-15)))
    document = json.loads(path.read_text(encoding="utf-8"))
    for change in ({"R": [[0.9 * GAIN**2]]}, {"Q": [[-1.5]]}, {"S": [[1.0]]}, {"eta": [0.1]}, {"bound": [2.0]},
                   {"high": [1.2]}, {"tolerance": 1e-3}, {"R": [[1.0], [2.0]]}):  # fmt: skip
        path.write_text(json.dumps(document | {"claim": document["claim"] | change}), encoding="utf-8")
        with pytest.raises(eqnets_verify.Rejected):
            eqnets_verify.verify(path)
    path.write_text(json.dumps(document | {"rate": 0.5}), encoding="utf-8")
    with pytest.raises(eqnets_verify.Rejected, match="nothing about pairs"):
        eqnets_verify.verify(path)


def test_an_equilibrium_under_a_constant_input() -> None:
    lfr = eq.LFR(
        A=[[0.5]], B1=[[0.3]], B2=[[1.0]], C1=[[1.0]], D12=[[0.2]], C2=[[1.0]], D22=[[0.1]], activation="tanh", dt=1.0
    )
    found = eq.certify(gain(8.0, input=(0.7,)), lfr)
    x, u = found.point.x[0], 0.7
    assert found.point.tolerance > 0 and "Newton" in found.sentence
    assert abs(0.5 * x + 0.3 * np.tanh(x + 0.2 * u) + u - x) < 1e-12


def test_a_linear_system_is_dissipative_where_its_hinf_norm_says_so() -> None:
    lfr = eq.LFR(A=[[0.0, 1.0], [-1.0, -0.4]], B2=[[0.0], [1.0]], C2=[[1.0, 0.0]], D22=[[0.0]], dt=None)
    peak = 1 / (0.4 * np.sqrt(1 - 0.04))  # 1/(c √(1 − c²/4))
    assert eq.certify(gain(1.001 * peak), lfr).margin > 0
    with pytest.raises(eq.NotCertified, match="takes out more than is supplied"):
        eq.certify(gain(0.99 * peak), lfr)


@pytest.mark.parametrize("claim, lfr, words", [
    (gain(0.6), spring(), "at 1.028 rad/s the linearisation"), (gain(0.6), spring(dt=0.05), "rad a sample"),
    (gain(9.0), eq.plants.Pendulum(1, 1, 1.0, 0.5).lfr(), "it is unstable"),
    (gain(2.0), spring(), "does not mean that the claim is false"),
    (gain(9.0), spring().replace(D11=[[0.1]]), "D11"),
])  # fmt: skip
def test_what_is_refused_and_why(claim, lfr: eq.LFR, words: str) -> None:
    with pytest.raises(eq.NotCertified, match=words):
        eq.certify(claim, lfr)


def test_wrong_input_is_a_sentence() -> None:
    with pytest.raises(eq.InputError, match="symmetric"):
        eq.DissipativeAround([[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0]], [[1.0]])
    with pytest.raises(eq.InputError, match="other sizes"):
        eq.certify(eq.DissipativeAround([[-1.0]], [[0.0]], [[1.0, 0.0], [0.0, 1.0]]), spring())
    with pytest.raises(eq.InputError, match="equilibrium has 1 numbers"):
        eq.certify(gain(9.0, equilibrium=(1.0,)), spring())
    with pytest.raises(eq.InputError, match="stores nothing"):
        eq.certify(gain(9.0), eq.LFR(D22=[[1.0]]))
    with pytest.raises(eq.InputError, match="without a witness"):
        eq.certify(gain(9.0), spring(), proof="float64")
