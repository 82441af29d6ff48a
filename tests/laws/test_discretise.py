"""The theorem of the midpoint rule: the continuous model's (P, δΛ) proves the discrete one, for every step size δ.

The models are random contracting ones with P and Λ known (the direct parametrisation in continuous time), with every
activation, acyclic and full D11. The inequalities are written here anew, from the slopes alone.
"""

from __future__ import annotations

import math

import pytest
import torch

from eqnets.system.discretise import discretise, midpoint_witness
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate
from eqnets.system.witness import Supply, Witness

F64 = torch.float64
STEPS = [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3]
ACTIVATIONS = ["relu", "tanh", "softplus", "sigmoid", "leaky_relu(0.2)", "sine_defect"]
NU, NY = 2, 3


def contracting(seed: int, n: int, q: int, rate: float, activation: str, acyclic: bool) -> tuple[LFR, Witness]:
    """A random continuous LFR that (P, Λ) proves contracting with the rate c, for slopes in [0, 1] or [0, 2]."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=F64)

    X, Y1, Y2, Xp, U = random(n + q, n + q), random(n, n), random(q, q), random(n, n), random(n, q)
    H = X.T @ X + 1e-2 * torch.eye(n + q, dtype=F64)
    P = Xp.T @ Xp + 0.1 * torch.eye(n, dtype=F64)
    H11, H12, H22 = H[:n, :n], H[:n, n:], H[n:, n:]
    if acyclic:
        Lambda = torch.diagonal(H22) / 2
        cD11 = -torch.tril(H22, -1)
    else:
        Lambda = torch.exp(random(q))
        cD11 = torch.diag(Lambda) - (H22 + Y2 - Y2.T) / 2
    scale = 2.0 if activation == "sine_defect" else 1.0  # w = 2 w̃ for slopes [0, 2]: then Λ is a quarter
    lfr = LFR(
        A=torch.linalg.solve(P, -(H11 + 2 * rate * P + Y1 - Y1.T) / 2),
        B1=torch.linalg.solve(P, -H12 - U) / scale, B2=random(n, NU), bx=random(n),
        C1=U.T / Lambda[:, None], D11=cD11 / Lambda[:, None] / scale, D12=random(q, NU), bv=random(q),
        C2=random(NY, n), D21=random(NY, q) / scale, D22=random(NY, NU), by=random(NY),
        activation=activation, dt=None,
    )  # fmt: skip
    return lfr, Witness(P, Lambda / scale**2)


def inequality(lfr: LFR, witness: Witness, supply: Supply | None = None) -> torch.Tensor:
    """The matrix that must be positive definite: rate 1 (or c = 0), slopes in [0, β], over (Δx, Δw[, Δu])."""
    n, q = lfr.nx, lfr.nv
    beta = lfr.activation.slope[1] if lfr.activation.name != "sigmoid" else 1.0  # [0, 1/4] lies within [0, 1]
    P, L = witness.P, torch.diag(witness.Lambda)
    nu = lfr.nu if supply else 0
    AB = torch.cat([lfr.A, lfr.B1, lfr.B2[:, :nu]], 1)
    CD = torch.cat([lfr.C1, lfr.D11, lfr.D12[:, :nu]], 1)
    Ex = torch.eye(n, n + q + nu, dtype=F64)
    Ew = torch.eye(n + q + nu, dtype=F64)[n : n + q]
    M = -(Ex.T @ P @ AB + AB.T @ P @ Ex) if lfr.dt is None else Ex.T @ P @ Ex - AB.T @ P @ AB
    M = M + 2 * Ew.T @ L @ Ew - beta * (Ew.T @ L @ CD + CD.T @ L @ Ew)
    if supply:
        Ly = torch.cat([lfr.C2, lfr.D21, lfr.D22], 1)
        Eu = torch.eye(n + q + nu, dtype=F64)[n + q :]
        cross = Eu.T @ supply.S @ Ly
        M = M + Ly.T @ supply.Q @ Ly + cross + cross.T + Eu.T @ supply.R @ Eu
    return M


def smallest(M: torch.Tensor) -> float:
    """The smallest eigenvalue after Jacobi scaling, −1 where a diagonal entry is not positive."""
    if not bool((torch.diagonal(M) > 0).all()):
        return -1.0
    scale = torch.diagonal(M).rsqrt()
    return float(torch.linalg.eigvalsh(scale[:, None] * M * scale)[0])


CASES = [
    (seed, n, q, activation, acyclic)
    for seed, (n, q) in enumerate([(1, 1), (2, 3), (4, 2), (3, 6), (6, 5)])
    for activation in ACTIVATIONS
    for acyclic in (True, False)
]


@pytest.mark.parametrize(("seed", "n", "q", "activation", "acyclic"), CASES)
def test_continuous_proof_is_a_midpoint_proof(seed, n, q, activation, acyclic):
    lfr, witness = contracting(seed, n, q, 0.05, activation, acyclic)
    M_c = inequality(lfr, witness)
    assert smallest(M_c) > 0
    for delta in STEPS:
        step = discretise(lfr, delta, "midpoint")
        discrete = midpoint_witness(witness, delta)
        assert torch.equal(discrete.P, witness.P)
        M_d = inequality(step, discrete)
        # the identity behind the theorem: M_d = δ TᵀM_c T, T: (Δx, Δw) ↦ (Δm, Δw)
        N = torch.linalg.inv(torch.eye(n, dtype=F64) - delta / 2 * lfr.A)
        T = torch.eye(n + q, dtype=F64)
        T[:n, :n], T[:n, n:] = N, delta / 2 * N @ lfr.B1
        expected = delta * T.T @ M_c @ T
        noise = 1e-12 * float(torch.linalg.matrix_norm(witness.P) + torch.linalg.matrix_norm(expected))
        torch.testing.assert_close(M_d, expected, rtol=1e-9, atol=noise)
        assert smallest(expected) > 0
        assert smallest(M_d) > 0
        # if and only if, in the activation's own slopes (for a lower bound α > 0 the same (P, Λ) may fail in both)
        assert (discrete.rate(step) < 1) == (witness.rate(lfr) > 0)


@pytest.mark.parametrize("delta", STEPS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_trajectories_contract_in_P(activation, delta):
    """Two trajectories under one input: V never grows, at any step size, and the equilibrium is always found."""
    for seed, acyclic in ((11, True), (12, False)):
        lfr, witness = contracting(seed, 3, 4, 0.05, activation, acyclic)
        generator = torch.Generator().manual_seed(seed)
        u = 3 * torch.randn(4, 25, NU, generator=generator, dtype=F64)
        x = 5 * torch.randn(2, 4, 3, generator=generator, dtype=F64)
        step = discretise(lfr, delta, "midpoint").replace(C2=torch.eye(3, dtype=F64), D21=None, D22=None, by=None)
        step = step.replace(D22=torch.zeros(3, NU, dtype=F64), D21=torch.zeros(3, 4, dtype=F64))
        (first, last1), (second, last2) = simulate(step, u, x[0]), simulate(step, u, x[1])
        gap = torch.cat([first - second, (last1 - last2)[:, None]], 1)
        V = torch.einsum("bti,ij,btj->bt", gap, witness.P, gap)
        assert bool((V[:, 1:] <= V[:, :-1] * (1 + 1e-9) + 1e-15).all())
        assert bool((V[:, -1] < V[:, 0]).all())


def test_the_other_methods_do_not_keep_it():
    """Why midpoint: for some contracting model, euler and exact expand where midpoint cannot."""
    expanding = {"euler": 0, "exact": 0, "midpoint": 0}
    for seed in range(10):
        lfr, _ = contracting(seed, 3, 4, 0.05, "relu", True)
        for method in expanding:
            step = discretise(lfr, 1.0, method)
            on = step.replace(D11=torch.zeros(4, 4, dtype=F64)) if method != "midpoint" else step
            # all neurons on (slope 1) is one of the linearisations
            gain = torch.linalg.inv(torch.eye(4, dtype=F64) - step.D11)
            radius = torch.linalg.eigvals(on.A + step.B1 @ gain @ step.C1).abs().max()
            expanding[method] += int(float(radius) > 1)
    assert expanding["midpoint"] == 0
    assert expanding["euler"] > 0 and expanding["exact"] > 0


@pytest.mark.parametrize("seed", range(6))
def test_gains_are_kept_with_the_output_at_the_midpoint(seed):
    """A supply s of the continuous system becomes δs; with output='sample' the same witness may fail."""
    lfr, witness = contracting(seed, 3, 4, 0.2, "tanh", seed % 2 == 0)
    eye_y, eye_u, zero = torch.eye(NY, dtype=F64), torch.eye(NU, dtype=F64), torch.zeros(NU, NY, dtype=F64)
    gamma = 1.0
    while True:
        supply = Supply(-eye_y / gamma, zero, gamma * eye_u)
        if smallest(inequality(lfr, witness, supply)) > 0:
            break
        gamma *= 1.3
        assert gamma < 1e6
    sampled = []
    for delta in STEPS:
        discrete = midpoint_witness(Witness(witness.P, witness.Lambda, supply), delta)
        step = discretise(lfr, delta, "midpoint", output="midpoint")
        assert smallest(inequality(step, discrete, discrete.supply)) > 0
        sampled.append(smallest(inequality(discretise(lfr, delta, "midpoint"), discrete, discrete.supply)))
        u = torch.randn(2, 1, 60, NU, generator=torch.Generator().manual_seed(seed), dtype=F64)
        gap = simulate(step, u[0])[0] - simulate(step, u[1])[0]
        assert float(gap.norm()) <= gamma * float((u[0] - u[1]).norm())
    assert min(sampled) < 0


def test_the_rate_that_a_step_proves():
    """V(Δx⁺) ≤ V(Δx) − 2cδ V(Δm): e^{−cδ} to first order for small steps, and near 1 for huge ones."""
    lfr, witness = contracting(3, 2, 3, 0.3, "tanh", True)
    c = witness.rate(lfr)
    assert c >= 0.3
    small = midpoint_witness(witness, 1e-4).rate(discretise(lfr, 1e-4, "midpoint"))
    assert -math.log(small) / 1e-4 == pytest.approx(c, rel=1e-2)
    huge = midpoint_witness(witness, 1e6).rate(discretise(lfr, 1e6, "midpoint"))
    assert 0.999 < huge < 1
