"""What is certified is true: increments of simulated trajectories obey every certificate, for every kind of member."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.certification import Certificate, Contracting, Lipschitz, certify
from eqnets.models.ren import ContractingREN, LipschitzREN
from eqnets.models.rnn import rnn
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate
from eqnets.system.witness import Witness

F64 = torch.float64
ACTIVATIONS = ["relu", "tanh", "leaky_relu(0.2)", "softplus", "sigmoid"]
SIZES = [(2, 3, 5, 4), (4, 5, 3, 2), (2, 3, 0, 4), (2, 0, 5, 4), (1, 1, 2, 3)]


def _ren(kind: str, seed: int, sizes: tuple[int, ...], activation: str, acyclic: bool) -> tuple[LFR, Witness]:
    g = torch.Generator().manual_seed(seed)
    if kind == "contracting":
        model = ContractingREN(*sizes, rate=0.9, activation=activation, acyclic=acyclic, generator=g, dtype=F64)
    else:
        model = LipschitzREN(*sizes, gamma=0.7, activation=activation, acyclic=acyclic, generator=g, dtype=F64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=g, dtype=F64)
    return model.explicit().detach(), model.witness()


def _assert_contracts(cert: Certificate, lfr: LFR, seed: int) -> None:
    """|Δx_t|_P ≤ rateᵗ|Δx_0|_P for random inputs, near and far initial states."""
    assert cert.rate is not None
    g = torch.Generator().manual_seed(seed)
    P, u = cert.witness.P, 3 * torch.randn(8, 1, lfr.nu, generator=g, dtype=F64)
    size = torch.tensor([1e-3, 1.0, 10.0, 100.0], dtype=F64).repeat(2)[:, None]
    a = torch.randn(8, lfr.nx, generator=g, dtype=F64)
    b = a + size * torch.randn(8, lfr.nx, generator=g, dtype=F64)
    before = torch.einsum("bi,ij,bj->b", a - b, P, a - b)
    for _ in range(20):
        u = 3 * torch.randn(8, 1, lfr.nu, generator=g, dtype=F64)
        a, b = simulate(lfr, u, a)[1], simulate(lfr, u, b)[1]
        after = torch.einsum("bi,ij,bj->b", a - b, P, a - b)
        rounding = 1e-12 * float(torch.linalg.matrix_norm(P, 2)) * (1 + a.abs().max() + b.abs().max()) ** 2
        assert bool((after <= cert.rate**2 * before * (1 + 1e-9) + rounding).all())
        before = after


def _assert_gain(cert: Certificate, lfr: LFR, seed: int, steps: int = 25) -> float:
    """‖S_y⁻¹Δy‖ ≤ γ‖S_u⁻¹Δu‖ from one x₀, attacked by gradient ascent; the largest ratio to γ that was reached."""
    claim = cert.claim
    assert isinstance(claim, Lipschitz)
    g = torch.Generator().manual_seed(seed)
    u_scale, y_scale = (torch.tensor(s, dtype=F64) for s in claim.scales(cert.labels))
    u = torch.randn(6, 25, lfr.nu, generator=g, dtype=F64) * u_scale
    x0 = torch.randn(6, lfr.nx, generator=g, dtype=F64)
    d = (torch.randn(6, 25, lfr.nu, generator=g, dtype=F64) * 0.3).requires_grad_()
    optimiser, ratio = torch.optim.Adam([d], lr=0.05), torch.zeros(())
    for _ in range(steps):
        optimiser.zero_grad()
        difference = (simulate(lfr, u + d * u_scale, x0)[0] - simulate(lfr, u, x0)[0]) / y_scale
        ratio = (difference.flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1)).max()
        assert float(ratio.detach()) <= claim.gamma * (1 + 1e-9)
        (-ratio).backward()
        optimiser.step()
    return float(ratio.detach()) / claim.gamma


@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_contracting_rens_are_certified_and_contract(sizes: tuple[int, ...], activation: str, acyclic: bool) -> None:
    for seed in range(2):
        lfr, witness = _ren("contracting", seed, sizes, activation, acyclic)
        cert = certify(Contracting(0.9), lfr, witness)
        if lfr.nx:
            assert cert.rate is not None and cert.rate <= 0.9
            _assert_contracts(cert, lfr, seed)


@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", SIZES)
def test_lipschitz_rens_are_certified_and_no_attack_beats_gamma(
    sizes: tuple[int, ...], activation: str, acyclic: bool
) -> None:
    lfr, witness = _ren("lipschitz", 1, sizes, activation, acyclic)
    _assert_gain(certify(Lipschitz(0.7), lfr, witness), lfr, 1, steps=15 if acyclic else 2)  # a solver is slow
    cert = certify(Contracting(), lfr, witness)  # the witness of a gain proves contraction too
    if lfr.nx:
        _assert_contracts(cert, lfr, 1)


@pytest.mark.parametrize("seed", range(3))
def test_scaled_gains_hold_in_physical_units(seed: int) -> None:
    lfr, witness = _ren("lipschitz", seed, (2, 3, 5, 4), "relu", True)
    s_u, s_y = torch.tensor([5.0, 0.1], dtype=F64), torch.tensor([1.0, 20.0, 0.3, 2.0], dtype=F64)
    physical = lfr.replace(B2=lfr.B2 / s_u, D12=lfr.D12 / s_u, C2=s_y[:, None] * lfr.C2, D21=s_y[:, None] * lfr.D21,
                           D22=s_y[:, None] * lfr.D22 / s_u, by=s_y * lfr.by, u_units=("N", "K"))  # fmt: skip
    cert = certify(Lipschitz(0.7, tuple(s_u.tolist()), tuple(s_y.tolist())), physical, witness)
    _assert_gain(cert, physical, seed)
    for pair in cert.pair_gains():  # a change of one channel
        i, j = cert.labels.outputs().index(pair.output), cert.labels.inputs().index(pair.input)
        u = torch.randn(1, 30, 2, dtype=F64, generator=torch.Generator().manual_seed(seed))
        d = torch.zeros_like(u)
        d[..., j] = torch.randn(1, 30, dtype=F64, generator=torch.Generator().manual_seed(seed + 1))
        dy = simulate(physical, u + d)[0] - simulate(physical, u)[0]
        assert float(dy[..., i].norm()) <= pair.gain * float(d.norm())


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_certified_without_a_witness_holds(seed: int) -> None:
    # RNNs on both sides of the small-gain theorem; the pendulum's nonlinearity with slopes in [0, 2]
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(4, 4, generator=g, dtype=F64)
    W = W * (0.9 / float(torch.linalg.matrix_norm(W, 2)))
    U, b, V = (torch.randn(s, generator=g, dtype=F64) for s in ((4, 2), (4,), (3, 4)))
    for lfr in (rnn(W, U, b, V), rnn(W / 2, U, b, V).replace(activation="sine_defect")):
        cert = certify(Contracting(), lfr)
        _assert_contracts(cert, lfr, seed)
        gain = 100 * float(torch.linalg.matrix_norm(V, 2) * torch.linalg.matrix_norm(U, 2)) / 0.1
        _assert_gain(certify(Lipschitz(gain), lfr), lfr, seed)


def test_an_attack_comes_close_to_a_tight_gain() -> None:
    # a pure gain 0.7 is met exactly: the attack above is able to refute a γ that is too small
    lfr = LFR(D22=0.7 * torch.eye(2, dtype=F64))
    assert _assert_gain(certify(Lipschitz(0.7001), lfr), lfr, 0) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("damping, dt", [(0.8, 0.05), (0.8, 3.0), (2.0, 0.2)])
def test_midpoint_steps_keep_the_contraction_of_a_continuous_model(damping: float, dt: float) -> None:
    # a pendulum under a spring, θ¨ = −4θ − dθ˙ + (θ − sin θ)/4: the continuous P proves every step size
    A, eye = torch.tensor([[0.0, 1.0], [-4.0, -damping]], dtype=F64), torch.eye(2, dtype=F64)
    lfr = LFR(A=A, B1=[[0.0], [0.25]], C1=[[1.0, 0.0]], C2=[[1.0, 0.0]], B2=[[0.0], [1.0]], D22=[[0.0]],
              activation="sine_defect", dt=None)  # fmt: skip
    cert = certify(Contracting(), lfr)
    assert cert.rate is not None and 0 < cert.rate < damping / 2 and "small-gain" in cert.method
    R = torch.linalg.inv(eye - dt / 2 * A)  # z = (x + x⁺)/2 = R (x + dt/2 (B1 w + B2 u)), x⁺ = 2z − x, v = C1 z
    step = lfr.replace(A=2 * R - eye, B1=dt * R @ lfr.B1, B2=dt * R @ lfr.B2, C1=lfr.C1 @ R,
                       D11=dt / 2 * lfr.C1 @ R @ lfr.B1, D12=dt / 2 * lfr.C1 @ R @ lfr.B2, dt=dt)  # fmt: skip
    discrete = certify(Contracting(), step, Witness(cert.witness.P, dt * cert.witness.Lambda))
    assert discrete.time_constant is not None
    _assert_contracts(discrete, step, 0)


@pytest.mark.parametrize(
    "activation", ["sigmoid", "leaky_relu(0.6)", "identity", "relu,sigmoid,tanh,identity,softplus"]
)
def test_a_witness_for_slopes_in_0_1_serves_narrower_slopes(activation: str) -> None:
    for seed in range(4):
        lfr, witness = _ren("contracting", seed, (2, 3, 5, 4), "relu", True)
        narrower = lfr.replace(activation=activation)
        _assert_contracts(certify(Contracting(0.9), narrower, witness), narrower, seed)


NEURONS_ONLY = (eq.WellPosed(), eq.Monotone(0.3 * (1 - 1e-6)))  # rounding to float32 costs a little of m
MEMBERS = {
    "contracting": (lambda n, made: eq.ContractingREN(2, n, n, 2, rate=0.95, **made), (Contracting(0.95),)),
    "full D11": (lambda n, made: eq.ContractingREN(2, n, n, 2, 0.95, acyclic=False, **made), (Contracting(0.95),)),
    "lipschitz": (lambda n, made: eq.LipschitzREN(2, n, n, 2, gamma=0.8, **made), (Lipschitz(0.8), Contracting())),
    "passive": (
        lambda n, made: eq.PassiveREN(2, n, n, 2, input_strict=0.1, **made),
        (eq.Passive(0.1 * (1 - 1e-6)), Contracting()),
    ),
    "monotone": (lambda n, made: eq.MonotoneDEQ(2, n, m=0.3, **made), NEURONS_ONLY),
    "lipschitz static": (lambda n, made: eq.LipschitzDEQ(2, n, 2, 0.8, **made), (Lipschitz(0.8), eq.WellPosed())),
}


@pytest.mark.parametrize("size", [1, 2, 7, 30, 150])
@pytest.mark.parametrize("member", MEMBERS)
def test_every_class_of_every_size_is_proved_from_its_witness_in_float64_and_float32(member: str, size: int) -> None:
    make, claims = MEMBERS[member]
    for seed in range(2 if size < 100 else 1):
        model = make(size, {"generator": torch.Generator().manual_seed(seed), "dtype": F64})
        lfr, witness = model.explicit().detach(), model.witness()
        for deployed in (lfr, lfr.to(torch.float32))[size > 100 :]:
            for claim in claims:
                cert = certify(claim, deployed, witness, proof="exact" if size < 10 else "float64")
                assert cert.margin > 0 and cert.digest == deployed.digest()


@pytest.mark.parametrize("kind", ["circular", "zeros", "two tiers", "three tiers"])
def test_every_convolutional_class_is_proved_frequency_by_frequency(kind: str) -> None:
    for seed in range(2):
        made = {"m": 0.3, "generator": torch.Generator().manual_seed(seed), "dtype": F64}
        if "tiers" in kind:
            model = eq.MultiTierDEQ(1, (2, 3, 4)[: 2 + (kind == "three tiers")], (8, 4), **made)
        else:
            model = eq.MonotoneConvDEQ(1, 4, (7, 6), padding=kind, **made)
        net = model.explicit()
        for deployed in (net, net.to(torch.float32)):
            for claim in NEURONS_ONLY:
                assert certify(claim, deployed).margin > 0
