"""(★) as an identity: ξᵀMξ is the supply and storage balance of increments, term by term, with four distinct sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import eqnets as eq
from eqnets.certification.claim import Lipschitz
from eqnets.certification.enclosure import Array, Ball
from eqnets.certification.inequality import Rows, condensed, storage, supply, supply_of
from eqnets.certification.labels import Labels
from eqnets.errors import InputError

NU, NX, NV, NY = 2, 3, 5, 4


def _balance(lfr, P: Array, Lam: Array, rate: float, Q: Array, S: Array, R: Array, xi: Array) -> float:  # type: ignore[no-untyped-def]
    """ρ²V − V⁺ + 2Σλ(dw − αdv)(dw − βdv) + s, from the LFR's equations written out."""
    b = {k: v.numpy() for k, v in lfr.blocks().items()}
    dx, dw, du = np.split(xi, [lfr.nx, lfr.nx + lfr.nv])
    step = b["A"] @ dx + b["B1"] @ dw + b["B2"] @ du
    dv = b["C1"] @ dx + b["D11"] @ dw + b["D12"] @ du
    dy = b["C2"] @ dx + b["D21"] @ dw + b["D22"] @ du
    low, high = (s.numpy() for s in lfr.activation.slopes(lfr.nv))
    flow = rate**2 * dx @ P @ dx - step @ P @ step if lfr.dt else -2 * dx @ P @ step - 2 * rate * dx @ P @ dx
    slopes = 2 * np.sum(Lam * (dw - low * dv) * (dw - high * dv))
    return float(flow + slopes + dy @ Q @ dy + 2 * du @ S @ dy + du @ R @ du)


@pytest.mark.parametrize("dt", [0.1, None])
@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu(0.2)", "sine_defect", "relu,tanh,sigmoid,identity,sine_defect"]
)
@pytest.mark.parametrize(
    "sizes", [(NU, NX, NV, NY), (NU, 0, NV, NY), (NU, NX, 0, NY), (0, NX, NV, NY), (NU, NX, NV, 0)]
)
def test_the_inequality_is_the_balance_of_increments(
    random_lfr, dt: float | None, activation: str, sizes: tuple[int, ...]
) -> None:
    nu, nx, nv, ny = sizes
    lfr = random_lfr(3, nu, nx, nv, ny, dt=dt, activation=activation if nv else "relu")
    rng = np.random.default_rng(4)
    P, Q, R = (g @ g.T for g in (rng.standard_normal((n, n)) for n in (nx, ny, nu)))
    S, Lam, rate = rng.standard_normal((nu, ny)), rng.uniform(0.1, 2, nv), 0.7
    rows = Rows.of(lfr)
    M = storage(rows, P, Lam, rate) + supply(rows, Ball.exact(-Q), Ball.exact(S), Ball.exact(R))
    for _ in range(5):
        xi = rng.standard_normal(nx + nv + nu)
        assert xi @ M.mid @ xi == pytest.approx(_balance(lfr, P, Lam, rate, -Q, S, R, xi), rel=1e-9, abs=1e-9)
    assert np.all(M.radius <= 1e-10)


def test_without_input_and_neurons_alone_are_the_leading_and_the_middle_block(random_lfr) -> None:
    lfr = random_lfr(5, NU, NX, NV, NY)
    rows = Rows.of(lfr)
    P, Lam = np.eye(NX), np.arange(1.0, NV + 1)
    M, w = storage(rows, P, Lam, 0.9).mid, rows.parts()["w"]
    inner = storage(rows.without_input(), P, Lam, 0.9).mid
    np.testing.assert_allclose(inner, M[: NX + NV, : NX + NV], atol=1e-12)
    alone = storage(rows.neurons_alone(), np.zeros((0, 0)), Lam, 1.0).mid
    D11, L = lfr.D11.numpy(), np.diag(Lam)
    np.testing.assert_allclose(alone, 2 * L - L @ D11 - D11.T @ L, atol=1e-12)
    np.testing.assert_allclose(alone - lfr.B1.numpy().T @ lfr.B1.numpy(), M[w, w], atol=1e-12)


def test_the_supply_of_a_gain_is_the_scaled_one() -> None:
    labels = Labels(NX, NU, NY, 1.0)
    claim = Lipschitz(3.0, u_scale=(2.0, 5.0), y_scale=(1.0, 2.0, 4.0, 8.0))
    Q, S, R = supply_of(claim, labels)
    np.testing.assert_allclose(Q.mid, -np.diag([1, 1 / 4, 1 / 16, 1 / 64]), rtol=1e-14)
    np.testing.assert_allclose(R.mid, np.diag([9 / 4, 9 / 25]), rtol=1e-14)
    assert S.mid.shape == (NU, NY) and not S.mid.any()


def test_nan_in_a_block_is_named(random_lfr) -> None:
    lfr = random_lfr(6, NU, NX, NV, NY)
    lfr.C1[1, 2] = float("nan")
    with pytest.raises(InputError, match="block C1"):
        Rows.of(lfr)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "sine_defect"])
def test_the_condensed_gain_is_the_schur_complement_of_its_inputs(random_lfr, activation: str) -> None:
    lfr = random_lfr(0, 9, 0, 4, 3, activation=activation)
    lfr = lfr.replace(D22=torch.zeros_like(lfr.D22))
    rows, labels, Lambda = Rows.of(lfr), Labels.of(lfr), np.array([0.3, 2.0, 1.0, 0.7])
    claim = Lipschitz(1.7, tuple(0.5 + 0.1 * i for i in range(9)), (2.0, 1.0, 3.0))
    small = condensed(rows, claim, labels, Lambda)
    assert small is not None
    M = storage(rows, np.zeros((0, 0)), Lambda, 1.0).mid + supply(rows, *supply_of(claim, labels)).mid
    schur = M[:4, :4] - M[:4, 4:] @ np.linalg.solve(M[4:, 4:], M[4:, :4])
    assert np.abs(small.mid - 1.7**2 * schur).max() < 1e-12 and small.radius.max() < 1e-12
    for other in (lfr.replace(D22=lfr.D22 + 1), lfr.replace(activation="leaky_relu(0.1)"), random_lfr(0, 4, 0, 4, 3)):
        assert condensed(Rows.of(other), Lipschitz(1.0), Labels.of(other), Lambda) is None


def test_wide_networks_are_proved_in_float64_just_where_they_are_exactly() -> None:
    g = torch.Generator().manual_seed(0)
    lfr = eq.MonotoneDEQ(40, 6, m=0.5, generator=g, dtype=torch.float64).explicit().detach()
    gamma = eq.tighten(eq.Lipschitz(1.0), lfr).claim.gamma
    assert eq.tighten(eq.Lipschitz(1.0), lfr, proof="float64").claim.gamma == gamma
    with pytest.raises(eq.NotCertified):
        eq.certify(eq.Lipschitz(gamma * (1 - 1e-4)), lfr, proof="float64")
