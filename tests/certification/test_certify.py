"""certify: what it proves, what it refuses and how it says why."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eqnets.certification import Contracting, Lipschitz, WellPosed, certify
from eqnets.errors import InputError, NotCertified
from eqnets.models.rnn import rnn
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI, hinf_norm
from eqnets.system.witness import Supply, Witness

F64 = torch.float64
SIZES = [(2, 3, 5, 4), (2, 3, 0, 4), (2, 0, 5, 4), (4, 5, 3, 2), (2, 0, 0, 3)]


def _linear(seed: int, nu: int, nx: int, ny: int, radius: float = 0.9) -> LTI:
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(nx, nx, generator=g, dtype=F64)
    A = A * (radius / float(torch.linalg.eigvals(A).abs().max())) if nx else A
    return LTI(A, *(torch.randn(s, generator=g, dtype=F64) for s in ((nx, nu), (ny, nx), (ny, nu))), dt=0.1)


# what is proved -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [0.1, None])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_known_witness_proves_every_claim(small_gain, sizes: tuple[int, ...], dt: float | None) -> None:
    lfr, witness = small_gain(0, *sizes, gamma=2.0, dt=dt)
    for claim in (WellPosed(), Contracting(), Contracting(0.5), Lipschitz(2.0)):
        cert = certify(claim, lfr, witness)
        assert 0 < cert.margin <= 1 + 1e-12
        assert cert.digest == lfr.digest()


@pytest.mark.parametrize("factor", [1 / 2.0, 1.0, 37.0, 1e-6])
def test_the_form_of_the_supply_does_not_matter(small_gain, factor: float) -> None:
    lfr, w = small_gain(1, 2, 3, 5, 4, gamma=2.0)
    scaled = Witness(
        factor * w.P, factor * w.Lambda, Supply(*(factor * m for m in (w.supply.Q, w.supply.S, w.supply.R)))
    )
    assert certify(Lipschitz(2.0), lfr, scaled).margin == pytest.approx(
        certify(Lipschitz(2.0), lfr, w).margin, rel=1e-9
    )
    assert certify(Lipschitz(2.0), lfr, Witness(scaled.P, scaled.Lambda)).margin > 0  # no supply: the factor is found
    assert certify(Lipschitz(50.0), lfr, scaled).margin > 0  # a larger γ needs another factor


def test_the_certificate_holds_the_numbers_that_prove_its_own_claim(small_gain) -> None:
    lfr, w = small_gain(2, 2, 3, 5, 4, gamma=2.0)
    cert = certify(Lipschitz(2.0), lfr, Witness(5 * w.P, 5 * w.Lambda))
    again = certify(Lipschitz(2.0), lfr, cert.witness)
    assert torch.equal(again.witness.P, cert.witness.P) and torch.equal(again.witness.Lambda, cert.witness.Lambda)
    torch.testing.assert_close(cert.witness.supply.R, 4.0 * torch.eye(2, dtype=F64))


def test_scales_in_the_claim_and_units_folded_into_the_model_are_the_same_thing(small_gain) -> None:
    # normalised: ‖Δy‖ ≤ 2‖Δu‖; physical signals u = s_u u_n, y = s_y y_n
    lfr, w = small_gain(3, 2, 3, 5, 4, gamma=2.0)
    s_u, s_y = torch.tensor([10.0, 1e-3], dtype=F64), torch.tensor([1.0, 100.0, 1e4, 0.1], dtype=F64)
    rows = s_y[:, None]
    physical = lfr.replace(B2=lfr.B2 / s_u, D12=lfr.D12 / s_u, C2=rows * lfr.C2, D21=rows * lfr.D21,
                           D22=rows * lfr.D22 / s_u, u_units=("N", "m"), y_units=("m", "N", "s", "V"))  # fmt: skip
    claim = Lipschitz(2.0, tuple(s_u.tolist()), tuple(s_y.tolist()))
    assert certify(claim, physical, w).margin == pytest.approx(certify(Lipschitz(2.0), lfr, w).margin, rel=1e-6)
    half_form = Witness(w.P / 2, w.Lambda / 2, Supply(w.supply.Q / 2, w.supply.S, w.supply.R / 2))
    assert certify(claim, physical, half_form).margin > 0
    with pytest.raises(InputError, match="different units"):
        certify(Lipschitz(2.0), physical, w)
    with pytest.raises(NotCertified):
        certify(Lipschitz(2.0, tuple(s_u.tolist()), (1.0,) * 4), physical, w)


def test_the_rate_of_the_certificate_is_proved_and_has_a_time_constant(small_gain) -> None:
    lfr, w = small_gain(4, 2, 3, 5, 4, dt=0.1)
    cert = certify(Contracting(), lfr, w)
    assert cert.rate == pytest.approx(w.rate(lfr), rel=1e-3) and cert.rate >= w.rate(lfr)
    assert cert.time_constant == pytest.approx(-0.1 / math.log(cert.rate))
    assert certify(Contracting(cert.rate), lfr, w).margin > 0
    with pytest.raises(NotCertified):
        certify(Contracting(0.999 * w.rate(lfr)), lfr, w)
    continuous, w = small_gain(4, 2, 3, 5, 4, dt=None)
    cert = certify(Contracting(), continuous, w)
    assert 0.5 < cert.rate <= w.rate(continuous) and cert.time_constant == pytest.approx(1 / cert.rate)
    with pytest.raises(NotCertified, match="proves about c ="):
        certify(Contracting(1.01 * w.rate(continuous)), continuous, w)


def test_the_stated_rate_is_never_worse_than_the_claim() -> None:
    # all but a hair of the rate is used up: what rounding adds must not make the stated rate exceed the claimed one
    for hair in (1e-7, 1e-9, 1e-11):
        lfr = LFR(A=[[1 - hair]], B2=[[1.0]], C2=[[1.0]], D22=[[0.0]])
        cert = certify(Contracting(), lfr, Witness(torch.ones(1, 1, dtype=F64), torch.zeros(0, dtype=F64)))
        assert 1 - hair <= cert.rate <= 1
        tight = Contracting(1 - hair / 2)
        assert certify(tight, lfr, cert.witness).rate <= tight.rate


def test_float32_blocks_are_certified_at_their_exact_values(small_gain) -> None:
    lfr, w = small_gain(5, 2, 3, 5, 4)
    assert certify(Lipschitz(2.0), lfr.to(torch.float32), w).digest == lfr.to(torch.float32).digest()


# sharp boundaries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sizes", [(1, 4, 1), (3, 5, 2), (2, 3, 4), (2, 0, 3)])
def test_a_linear_system_is_certified_just_above_its_gain_and_never_below(seed: int, sizes: tuple[int, ...]) -> None:
    lti = _linear(seed, sizes[0], sizes[1], sizes[2])
    lfr, norm = lti.to_lfr(), hinf_norm(lti)
    cert = certify(Lipschitz(1.001 * norm), lfr)
    assert cert.margin > 0
    with pytest.raises(NotCertified, match="gain"):
        certify(Lipschitz(0.999 * norm), lfr)
    with pytest.raises(NotCertified):
        certify(Lipschitz(0.999 * norm), lfr, cert.witness)


@pytest.mark.parametrize("seed", range(4))
def test_a_linear_system_contracts_just_above_its_spectral_radius(seed: int) -> None:
    lfr = _linear(seed, 2, 4, 3, radius=0.9).to_lfr()
    assert certify(Contracting(0.901), lfr).rate <= 0.901
    with pytest.raises(NotCertified, match="spectral radius"):
        certify(Contracting(0.899), lfr)


def test_a_continuous_linear_system_without_a_witness() -> None:
    # first order: 3/(s + 2), gain 1.5, pole −2
    lfr = LFR(A=[[-2.0]], B2=[[1.0]], C2=[[3.0]], D22=[[0.0]], dt=None)
    assert certify(Lipschitz(1.501), lfr).margin > 0
    with pytest.raises(NotCertified):
        certify(Lipschitz(1.499), lfr)
    assert certify(Contracting(1.999), lfr).rate == pytest.approx(2.0, rel=1e-3)
    with pytest.raises(NotCertified, match="slowest pole"):
        certify(Contracting(2.001), lfr)
    for claim in (Contracting(), Lipschitz(10.0)):
        with pytest.raises(NotCertified, match="pole"):
            certify(claim, lfr.replace(A=torch.tensor([[0.1]], dtype=F64)))


def test_a_scalar_neuron_is_certified_up_to_its_exact_limit() -> None:
    # x⁺ = 0.2 x + 0.6 relu(x): increments contract by 0.8, no less; with P = 1, Λ = 0.48 the inequality says just that
    lfr = LFR(A=[[0.2]], B1=[[0.6]], B2=[[1.0]], C1=[[1.0]], C2=[[1.0]], D22=[[0.0]])
    cert = certify(Contracting(), lfr)  # the small-gain theorem: 0.5 + 0.3 < 1
    assert 0.8 <= cert.rate < 1
    with pytest.raises(NotCertified):
        certify(Contracting(0.79), lfr)
    exact = Witness(torch.ones(1, 1, dtype=F64), torch.tensor([0.48], dtype=F64))
    assert certify(Contracting(0.8 + 1e-9), lfr, exact).rate == pytest.approx(0.8)
    with pytest.raises(NotCertified):
        certify(Contracting(0.8 - 1e-9), lfr, exact)


# without a witness ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.3)", "sine_defect", "sigmoid"])
@pytest.mark.parametrize("nv, scale", [(5, 1.0), (5, 30.0), (40, 1.0), (120, 0.3)])
def test_every_acyclic_network_is_proved_well_posed(random_lfr, nv: int, scale: float, activation: str) -> None:
    lfr = random_lfr(7, 2, 3, nv, 4, scale=scale, activation=activation, acyclic=True)
    assert certify(WellPosed(), lfr).margin > 0


def test_an_acyclic_network_beyond_the_range_of_float64_is_well_posed_by_its_structure(random_lfr) -> None:
    lfr = random_lfr(7, 2, 3, 300, 4, acyclic=True)
    assert "geometric" in certify(WellPosed(), lfr.replace(D11=lfr.D11 / 100)).method
    assert "forward substitution" in certify(WellPosed(), lfr).method
    lfr.D11[0, 0] = 3.0  # one loop, and the structure proves nothing
    with pytest.raises(NotCertified):
        certify(WellPosed(), lfr)


def test_static_networks_need_no_witness(random_lfr) -> None:
    lfr = random_lfr(8, 2, 0, 5, 4, scale=0.5, acyclic=True)
    assert certify(Contracting(), lfr).margin > 0
    assert certify(Lipschitz(1000.0), lfr).margin > 0
    full = random_lfr(8, 2, 0, 5, 4, scale=0.15)
    assert certify(WellPosed(), full).margin > 0 and certify(Lipschitz(100.0), full).margin > 0


def test_a_diagonally_scaled_network_needs_more_than_equal_multipliers() -> None:
    # similar to a monotone W by a diagonal scaling: I − (W + Wᵀ)/2 is indefinite, Perron multipliers find Λ
    W, d = np.array([[0.0, 0.9], [0.9, 0.0]]), np.array([1.0, 30.0])
    lfr = LFR(D11=W * d[:, None] / d[None, :], D22=np.zeros((1, 1)))
    with pytest.raises(NotCertified, match="neuron block"):
        certify(WellPosed(), lfr, Witness(torch.zeros(0, 0), torch.ones(2, dtype=F64)))
    assert "Perron" in certify(WellPosed(), lfr).method


def test_where_no_witness_exists_the_refusal_says_so(random_lfr) -> None:
    lfr = random_lfr(9, 2, 3, 5, 4)
    for claim in (Contracting(), Lipschitz(5.0)):
        with pytest.raises(NotCertified, match=r"no P and Λ"):
            certify(claim, lfr)


# refusals say why -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", [WellPosed(), Contracting(), Lipschitz(2.0)])
@pytest.mark.parametrize("spoil, block", [
    (lambda lfr, w: (lfr, Witness(w.P, -w.Lambda)), "Lambda"),
    (lambda lfr, w: (lfr, Witness(w.P, w.Lambda * float("nan"))), "Lambda"),
    (lambda lfr, w: (lfr.replace(D11=lfr.D11 + 1.5 * torch.eye(5, dtype=F64)), w), "neurons"),
])  # fmt: skip
def test_what_breaks_every_claim_is_named(small_gain, claim, spoil, block: str) -> None:
    with pytest.raises(NotCertified) as caught:
        certify(claim, *spoil(*small_gain(10, 2, 3, 5, 4)))
    assert caught.value.block == block and "Remedy" in str(caught.value)


@pytest.mark.parametrize("claim", [Contracting(), Lipschitz(2.0)])
@pytest.mark.parametrize("spoil, block", [
    (lambda lfr, w: (lfr, Witness(-w.P, w.Lambda)), "P"),
    (lambda lfr, w: (lfr, Witness(w.P - 1.5 * torch.ones(3, 3, dtype=F64), w.Lambda)), "P"),
    (lambda lfr, w: (lfr.replace(A=lfr.A + 2 * torch.eye(3, dtype=F64)), w), "states"),
    (lambda lfr, w: (lfr.replace(B1=lfr.B1 * 100), w), "neurons"),
    (lambda lfr, w: (lfr.replace(C1=lfr.C1 * 100), w), "states and neurons"),
])  # fmt: skip
def test_what_breaks_contraction_is_named(small_gain, claim, spoil, block: str) -> None:
    with pytest.raises(NotCertified) as caught:
        certify(claim, *spoil(*small_gain(11, 2, 3, 5, 4)))
    assert caught.value.block == block
    assert caught.value.margin is not None and caught.value.margin < 0


def test_what_breaks_a_gain_is_named_with_the_gain_that_is_proved(small_gain) -> None:
    lfr, w = small_gain(12, 2, 3, 5, 4, gamma=2.0)
    with pytest.raises(NotCertified, match="D22 alone has the gain 0.1") as caught:
        certify(Lipschitz(0.05), lfr, w)
    assert caught.value.block == "input"
    with pytest.raises(NotCertified, match="this witness proves about gamma = ") as caught:
        certify(Lipschitz(0.1001), lfr, w)
    assert caught.value.block == "gain"
    proved = float(str(caught.value).split("gamma = ")[1].split(";")[0])
    assert certify(Lipschitz(proved), lfr, w).margin > 0
    with pytest.raises(NotCertified):
        certify(Lipschitz(proved * 0.999), lfr, w)


def test_a_true_claim_below_float64_is_refused_as_such_and_proved_in_integers() -> None:
    # contraction by 1 − 2⁻⁵³ is true and M = 1 − A² rounds to what no float proof can tell from its own error
    lfr = LFR(A=[[1 - 2.0**-53]], B2=[[1.0]], C2=[[1.0]], D22=[[0.0]])
    witness = Witness(torch.ones(1, 1, dtype=F64), torch.zeros(0, dtype=F64))
    with pytest.raises(NotCertified) as caught:
        certify(Contracting(), lfr, witness, proof="float64")
    assert caught.value.block == "rounding"
    assert certify(Contracting(), lfr, witness).margin > 0  # integers can
    with pytest.raises(NotCertified):
        certify(Contracting(1 - 2.0**-53), lfr, witness)  # strictly below is false


@pytest.mark.parametrize("call, words", [
    (lambda lfr, w: certify("contracting", lfr, w), "not a claim"),
    (lambda lfr, w: certify(Contracting(), torch.eye(2), w), "explicit"),
    (lambda lfr, w: certify(Contracting(), lfr, (w.P, w.Lambda)), "Witness"),
    (lambda lfr, w: certify(Contracting(), lfr, Witness(w.P[:2, :2], w.Lambda)), "nx=3 and nv=5"),
    (lambda lfr, w: certify(Contracting(), lfr, Witness(w.P, w.Lambda[:4])), "nx=3 and nv=5"),
    (lambda lfr, w: certify(Contracting(), lfr, Witness(w.P + torch.triu(w.P + 1, 1), w.Lambda)), "symmetric"),
    (lambda lfr, w: certify(Contracting(1.5), lfr, w), "0 < rate"),
])  # fmt: skip
def test_wrong_input_is_a_sentence(small_gain, call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(*small_gain(13, 2, 3, 5, 4))


# false claims ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_an_expanding_rnn_is_never_certified(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(4, 4, generator=g, dtype=F64)
    W = W * (1.05 / float(torch.linalg.eigvals(W).abs().max()))
    lfr = rnn(W, torch.randn(4, 2, generator=g, dtype=F64), torch.zeros(4, dtype=F64), torch.ones(1, 4, dtype=F64))
    tries: list[Witness | None] = [None]
    for _ in range(20):  # h⁺ = tanh(Wh + …) expands at 0, so no P and Λ whatever may pass
        G = torch.randn(4, 4, generator=g, dtype=F64)
        tries.append(Witness(G @ G.T + 1e-3 * torch.eye(4, dtype=F64), 10 ** torch.randn(4, generator=g, dtype=F64)))
    for witness in tries:
        for claim in (Contracting(), Lipschitz(1e6)):
            with pytest.raises(NotCertified):
                certify(claim, lfr, witness)


def test_a_network_with_two_solutions_is_never_well_posed() -> None:
    # w = relu(2w − 1) has the solutions 0 and 1
    lfr = LFR(D11=[[2.0]], D22=[[0.0]], bv=[-1.0])
    for multiplier in (None, 1e-6, 1.0, 1e6):
        w = None if multiplier is None else Witness(torch.zeros(0, 0), torch.tensor([multiplier], dtype=F64))
        with pytest.raises(NotCertified):
            certify(WellPosed(), lfr, w)


def test_a_published_rate_formula_that_loosens_is_refused() -> None:
    # E = (H11 + ᾱ P + …)/2 in place of P/ᾱ², as found in public code: at ᾱ = 0.25 many models expand beyond ᾱ
    refused, n, q, rate = 0, 3, 4, 0.25
    for seed in range(60):
        X = torch.randn(2 * n + q, 2 * n + q, generator=torch.Generator().manual_seed(seed), dtype=F64)
        H = X.T @ X + 1e-3 * torch.eye(2 * n + q, dtype=F64)
        P, F, B1 = H[n + q :, n + q :], H[n + q :, :n], H[n + q :, n : n + q]
        E, Lam = (H[:n, :n] + rate * P) / 2, torch.diag(H[n : n + q, n : n + q]) / 2
        lfr = LFR(A=torch.linalg.solve(E, F), B1=torch.linalg.solve(E, B1), B2=torch.zeros(n, 1, dtype=F64),
                  C1=-H[n : n + q, :n] / Lam[:, None], D11=-torch.tril(H[n : n + q, n : n + q], -1) / Lam[:, None],
                  D22=torch.zeros(1, 1, dtype=F64))  # fmt: skip
        expands = float(torch.linalg.eigvals(lfr.A).abs().max()) > rate
        if expands:  # φ' = 0 everywhere is in the class: the claim is false
            refused += 1
            for witness in (Witness(E.T @ torch.linalg.solve(P, E), Lam), None):
                with pytest.raises(NotCertified):
                    certify(Contracting(rate), lfr, witness)
    assert refused >= 10


# an outside solver ----------------------------------------------------------------------------------------------


def _sdp(lfr: LFR) -> tuple[float, Witness]:
    """The smallest γ of (★) by cvxpy (slopes in [0, 1], discrete), written as in Revay, Wang, Manchester eq. 29."""
    import cvxpy as cp

    b = {k: v.numpy() for k, v in lfr.blocks().items()}
    nx, nv, nu = lfr.nx, lfr.nv, lfr.nu
    P, lam, g2 = cp.Variable((nx, nx), symmetric=True), cp.Variable(nv), cp.Variable()
    L = cp.diag(lam)
    AB, CD = np.hstack([b["A"], b["B1"], b["B2"]]), np.hstack([b["C2"], b["D21"], b["D22"]])
    left = cp.bmat([
        [P, -b["C1"].T @ L, np.zeros((nx, nu))],
        [-L @ b["C1"], 2 * L - L @ b["D11"] - b["D11"].T @ L, -L @ b["D12"]],
        [np.zeros((nu, nx)), -b["D12"].T @ L, g2 * np.eye(nu)],
    ])  # fmt: skip
    M = left - AB.T @ P @ AB - CD.T @ CD
    slack = [M >> 0, P >> 1e-9 * np.eye(nx), lam >= 1e-9]
    best = cp.Problem(cp.Minimize(g2), slack)
    best.solve(solver=cp.CLARABEL)
    gamma = math.sqrt(float(g2.value))
    margin = cp.Variable()
    cp.Problem(cp.Maximize(margin), [M >> margin * np.eye(nx + nv + nu), P >> 1e-9 * np.eye(nx), lam >= 1e-9,
                                     g2 == 1.02 * gamma**2]).solve(solver=cp.CLARABEL)  # fmt: skip
    return gamma, Witness(torch.from_numpy((P.value + P.value.T) / 2), torch.from_numpy(lam.value))


@pytest.mark.parametrize("seed", range(3))
def test_certify_agrees_with_a_semidefinite_solver(small_gain, seed: int) -> None:
    lfr, _ = small_gain(seed, 2, 3, 5, 4)
    lfr = lfr.replace(**{k: 3 * getattr(lfr, k) for k in ("A", "B1", "C1", "D11")})
    gamma, witness = _sdp(lfr)
    assert certify(Lipschitz(1.02 * gamma), lfr, witness).margin > 0
    with pytest.raises(NotCertified):
        certify(Lipschitz(0.995 * gamma), lfr, witness)
    assert certify(Contracting(), lfr, witness).margin > 0
