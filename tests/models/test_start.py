"""Linear starts: exact where the linear system keeps the promise, refused in words elsewhere; neurons that learn."""

from __future__ import annotations

import itertools

import pytest
import torch

from eqnets.errors import InputError
from eqnets.models import ContractingREN, LipschitzREN, shrink
from eqnets.models.supply import gain_supply
from eqnets.system.lti import LTI, hinf_norm
from eqnets.system.simulate import simulate


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(nx, nu, ny, radius=0.95, seed=0, dt=0.05) -> LTI:
    g = generator(seed)
    A = torch.randn(nx, nx, generator=g, dtype=torch.float64)
    if nx:
        A = A * (radius / torch.linalg.eigvals(A).abs().max())
    B, C, D = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((nx, nu), (ny, nx), (ny, nu)))
    return LTI(A, B, C, D, dt)


def assert_same_linear(ren, lti, rtol=1e-9):
    lfr = ren.explicit().detach()
    for name, block in {"A": lti.A, "B2": lti.B, "C2": lti.C, "D22": lti.D}.items():
        if block.numel():
            assert float((lfr.blocks()[name] - block).abs().max()) <= rtol * float(block.abs().max()), name
    assert float(lfr.B1.abs().sum()) < 1e-9 and not lfr.D21.any()
    u = torch.randn(2, 30, lti.nu, generator=generator(5), dtype=torch.float64)
    y, expected = ren(u)[0], simulate(lti.to_lfr(), u)[0]
    torch.testing.assert_close(y, expected, rtol=1e-7, atol=1e-7 * max(1.0, float(torch.linalg.vector_norm(expected))))
    assert lfr.dt == lti.dt


SHAPES = [(4, 2, 3), (3, 3, 1), (0, 2, 3), (5, 1, 1)]


@pytest.mark.parametrize("nv", [0, 7])
@pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])
@pytest.mark.parametrize(("radius", "rate"), [(0.3, 0.5), (0.95, 1.0), (0.9999, 1.0)])
def test_a_contracting_start_is_the_linear_system(radius, rate, acyclic, nv):
    for nx, nu, ny in SHAPES:
        lti = linear(nx, nu, ny, radius)
        ren = ContractingREN.from_linear(lti, nv, rate=rate, acyclic=acyclic, generator=generator(1))
        assert_same_linear(ren, lti)
        assert ren.witness().rate(ren.explicit()) < rate


@pytest.mark.parametrize("nv", [0, 7])
@pytest.mark.parametrize(("room", "rate"), [(1.01, 1.0), (2.0, 1.0), (1.2, 0.97)])
def test_a_lipschitz_start_is_the_linear_system(room, rate, nv):
    for (nx, nu, ny), acyclic in itertools.product(SHAPES, (True, False)):
        lti = linear(nx, nu, ny)
        gamma = room * hinf_norm(LTI(lti.A / rate, lti.B / rate, lti.C, lti.D))
        ren = LipschitzREN.from_linear(lti, nv, gamma=gamma, rate=rate, acyclic=acyclic, generator=generator(1))
        assert_same_linear(ren, lti)
        assert ren.witness().rate(ren.explicit()) < rate


def test_a_start_without_inputs_or_outputs():
    for nu, ny in ((0, 2), (2, 0)):
        lti = linear(3, nu, ny)
        assert_same_linear(ContractingREN.from_linear(lti, 4, generator=generator()), lti)
        assert_same_linear(LipschitzREN.from_linear(lti, 4, gamma=1.0, generator=generator()), lti)


def test_a_linear_system_outside_the_promise_is_refused_by_how_much():
    lti = linear(4, 2, 3, radius=0.95)
    with pytest.raises(InputError, match=r"spectral radius 0\.95.*not below the rate 0\.9 \(by 0\.05\)"):
        ContractingREN.from_linear(lti, 3, rate=0.9)
    with pytest.raises(InputError, match="spectral radius 1.2"):
        ContractingREN.from_linear(linear(4, 2, 3, radius=1.2))
    norm = hinf_norm(lti)
    with pytest.raises(InputError, match="has the gain .* not below gamma"):
        LipschitzREN.from_linear(lti, 3, gamma=0.99 * norm)
    with pytest.raises(InputError, match="at the asked rate"):
        LipschitzREN.from_linear(lti, 3, gamma=1.01 * norm, rate=0.96)
    with pytest.raises(InputError, match="give gamma="):
        LipschitzREN.from_linear(lti)
    with pytest.raises(InputError, match="x_scale must hold 4 positive numbers"):
        ContractingREN.from_linear(lti, 3, x_scale=torch.tensor([1.0, 0.0, 1.0, 1.0]))


@pytest.mark.parametrize("gamma", [None, 50.0])
def test_neurons_of_a_linear_start_listen_at_unit_size_and_can_learn(gamma):
    lti = linear(4, 2, 3, radius=0.9)
    u_scale = torch.tensor([10.0, 0.1], dtype=torch.float64)
    lti = LTI(lti.A, lti.B / u_scale, lti.C / 5, lti.D / u_scale)
    options = {} if gamma is None else {"gamma": max(gamma, 1.5 * hinf_norm(lti))}
    kind = ContractingREN if gamma is None else LipschitzREN
    ren = kind.from_linear(lti, 60, u_scale=u_scale, generator=generator(2), activation="relu", **options)
    lfr = ren.explicit()
    u = u_scale * torch.randn(4, 150, 2, generator=generator(3), dtype=torch.float64)
    listening = lfr.detach().replace(C2=lfr.C1.detach(), D21=lfr.D11.detach(), D22=lfr.D12.detach(), by=None)
    v, _ = simulate(listening, u)
    size = v[:, 50:].std(dim=(0, 1))
    assert 0.5 < float(size.mean()) < 2.0 and float(size.min()) > 0.1
    assert float(lfr.bv.detach().std()) > 0.5  # kinks are spread
    on = (v + lfr.bv.detach() > 0).double().mean(dim=(0, 1))
    assert bool(((on > 0.01) & (on < 0.99)).double().mean() > 0.7)
    (ren(u)[0].sum() / 100).backward()
    gradient = torch.func.grad(lambda b1: simulate(lfr.detach().replace(B1=b1), u)[0].sum())(lfr.B1.detach())
    assert float(gradient.abs().min()) > 0  # every neuron pulls at every state
    assert float(ren.D21.grad.abs().min()) > 0
    assert float(ren.X.grad.abs().max()) > 0


def test_a_few_steps_of_descent_find_what_no_linear_system_can_do():
    """The plant is the linear system plus the relu of one combination of its states and input."""
    lti = linear(2, 1, 1, radius=0.8)
    u = torch.randn(4, 100, 1, generator=generator(4), dtype=torch.float64)
    plant = ContractingREN.from_linear(lti, 1, generator=generator(7)).explicit().detach()
    target, _ = simulate(plant.replace(D21=2 * torch.ones_like(plant.D21)), u)
    final = {}
    for nv in (0, 12):
        ren = ContractingREN.from_linear(lti, nv, generator=generator(6))
        optimiser = torch.optim.Adam(ren.parameters(), 1e-2)
        losses = []
        for _ in range(80):
            loss = (ren(u)[0] - target).square().mean()
            losses.append(float(loss.detach()))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        final[nv] = losses[-1] / losses[0]
    assert final[12] < 0.25 * final[0] and final[12] < 0.05


def test_scales_change_the_neurons_and_not_the_map():
    lti = linear(3, 1, 1)
    wide = ContractingREN.from_linear(lti, 5, x_scale=torch.full((3,), 100.0), generator=generator(1))
    close = ContractingREN.from_linear(lti, 5, x_scale=torch.ones(3), generator=generator(1))
    torch.testing.assert_close(100 * wide.explicit().C1, close.explicit().C1)
    assert_same_linear(wide, lti)


def test_a_start_is_seeded():
    lti = linear(3, 1, 1)
    digests = [ContractingREN.from_linear(lti, 5, generator=generator(s)).explicit().digest() for s in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_the_supply_of_a_gain_is_minus_one_over_gamma_and_gamma():
    supply = gain_supply(4.0, 2, 3)
    assert torch.equal(supply.Q, -0.25 * torch.eye(3).double()) and torch.equal(supply.R, 4 * torch.eye(2).double())
    assert supply.S.shape == (2, 3) and not supply.S.any()


# ---- shrink -----------------------------------------------------------------------------------------------------


def test_shrink_leaves_a_system_that_keeps_the_promise_alone():
    lti = linear(4, 2, 3, radius=0.9)
    for options in ({}, {"rate": 0.95}, {"gamma": 1.01 * hinf_norm(lti)}):
        near, cost = shrink(lti, **options)
        assert near is lti and cost == 0.0


@pytest.mark.parametrize("rate", [1.0, 0.9])
@pytest.mark.parametrize("share", [0.5, 2.0])
def test_shrink_lands_inside_and_tells_the_cost(share, rate):
    lti = linear(4, 2, 3, radius=0.95)
    gamma = share * hinf_norm(lti)
    near, cost = shrink(lti, rate, gamma)
    ren = LipschitzREN.from_linear(near, 3, gamma=gamma, rate=rate, generator=generator())
    assert_same_linear(ren, near)
    omega = torch.linspace(0, torch.pi / lti.dt, 2000, dtype=torch.float64)
    error = torch.linalg.matrix_norm(lti.frequency_response(omega) - near.frequency_response(omega), 2).max()
    assert cost == pytest.approx(float(error), rel=1e-2, abs=1e-12)
    assert (cost == 0.0) == (near is lti)


def test_shrink_moves_only_the_eigenvalues_outside():
    T = torch.randn(3, 3, generator=generator(3), dtype=torch.float64)
    A = T @ torch.diag(torch.tensor([1.1, 0.7, 0.2], dtype=torch.float64)) @ torch.linalg.inv(T)
    near, cost = shrink(LTI(A, torch.ones(3, 1), torch.ones(1, 3), torch.zeros(1, 1)))
    found = torch.linalg.eigvals(near.A).real.sort().values
    torch.testing.assert_close(found, torch.tensor([0.2, 0.7, 0.999], dtype=torch.float64))
    assert cost == float("inf")  # the given system has no finite gain


def test_shrink_handles_a_defective_matrix():
    A = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)  # a double integrator
    near, _ = shrink(LTI(A, torch.ones(2, 1), torch.ones(1, 2), torch.zeros(1, 1)))
    assert near.spectral_radius() < 1
    assert_same_linear(ContractingREN.from_linear(near, 2, generator=generator()), near)


def test_shrink_refuses_nonsense():
    with pytest.raises(InputError, match="shrink needs"):
        shrink(linear(2, 1, 1), rate=1.5)
