"""The theorems of dissipative and passive RENs: they hold for every parameter value, supply, size and kind of D11."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch.func import functional_call

from eqnets.certification import Dissipative, Passive, certify, lower_bound
from eqnets.errors import InputError
from eqnets.models import DissipativeREN, LipschitzREN, PassiveREN, shrink
from eqnets.models.base import REN
from eqnets.models.feedthrough import feedthrough
from eqnets.models.supply import admitted, frame, gain_supply, normalised, passive_supply, scatter, unscatter
from eqnets.system.lti import LTI, hinf_norm
from eqnets.system.simulate import simulate

F64 = torch.float64
PASSIVE = [(0.0, 0.0), (0.7, 0.0), (0.0, 0.4), (0.5, 0.3), (-0.3, 0.0), (0.0, 20.0)]
ACYCLIC = pytest.mark.parametrize("acyclic", [True, False], ids=["acyclic", "full"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def eye(n: int, value: float = 1.0) -> torch.Tensor:
    return value * torch.eye(n, dtype=F64)


def random_supply(nu: int, ny: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Q ≺ 0 at random, S at random, R as low as leaves room: R − S Q⁻¹ Sᵀ = I."""
    g = generator(seed)
    root = torch.randn(ny, ny, generator=g, dtype=F64)
    Q = -(root @ root.T + eye(ny, 0.1))
    S = torch.randn(nu, ny, generator=g, dtype=F64)
    R = eye(nu) + S @ torch.linalg.solve(Q, S.T)
    return (Q + Q.T) / 2, S, (R + R.T) / 2


SUPPLIES = {  # nu, ny and the supply: Q definite, singular, zero; more inputs, more outputs
    "gain": (2, 3, (-eye(3, 0.5), torch.zeros(2, 3, dtype=F64), eye(2, 2.0))),
    "bi-lipschitz": (2, 2, (-eye(2, 2 / 3.5), eye(2), -eye(2, 2 * 1.5 / 3.5))),
    "random, wide": (3, 2, random_supply(3, 2)),
    "random, tall": (2, 4, random_supply(2, 4, 1)),
    "singular Q": (2, 3, (torch.diag(torch.tensor([0.0, -1.0, -2.0], dtype=F64)), torch.ones(2, 3, dtype=F64), eye(2))),
    "Q = 0, weighted S": (2, 2, (eye(2, 0.0), torch.tensor([[3.0, 1.0], [0.0, 0.01]], dtype=F64), eye(2, -0.001))),
}
SIZES = [(3, 4), (0, 4), (3, 0)]  # nx, nv


def scramble(ren: REN, seed: int, spread: float = 1.0) -> REN:
    g = generator(seed)
    with torch.no_grad():
        for value in ren.parameters():
            value.copy_(spread * torch.randn(value.shape, generator=g, dtype=F64))
    return ren


def members(acyclic: bool):
    """Every promise with every size, each with another rate; the claim beside it."""
    rates = itertools.cycle([1.0, 0.8])
    for nx, nv in SIZES:
        kwargs = {"acyclic": acyclic, "activation": "tanh", "dtype": F64}
        for nu, epsilon in PASSIVE:
            yield (
                PassiveREN(2, nx, nv, 2, nu, epsilon, next(rates), generator=generator(), **kwargs),
                Passive(nu, epsilon),
            )
        for nu, ny, (Q, S, R) in SUPPLIES.values():
            ren = DissipativeREN(nu, nx, nv, ny, Q, S, R, next(rates), generator=generator(), **kwargs)
            yield ren, Dissipative(Q, S, R)


@ACYCLIC
def test_every_member_is_certified_from_its_witness(acyclic):
    for ren, claim in members(acyclic):
        for seed in (None, 1):
            ren = ren if seed is None else scramble(ren, seed)
            lfr, witness = ren.explicit().detach(), ren.witness()
            assert certify(claim, lfr, witness).margin > 0
            assert witness.rate(lfr) <= ren.rate
            if acyclic:
                assert not torch.triu(lfr.D11).any()


@ACYCLIC
def test_the_storage_of_two_trajectories_never_grows_by_more_than_the_supply(acyclic):
    for k, (ren, _) in enumerate(members(acyclic)):
        lfr, witness = scramble(ren, k).explicit().detach(), ren.witness()
        nx, nv, nu = lfr.nx, lfr.nv, lfr.nu
        g = generator(k)
        seen = lfr.replace(
            C2=torch.cat([lfr.C2, eye(nx)]), by=torch.cat([lfr.by, torch.zeros(nx, dtype=F64)]),
            D21=torch.cat([lfr.D21, torch.zeros(nx, nv, dtype=F64)]),
            D22=torch.cat([lfr.D22, torch.zeros(nx, nu, dtype=F64)]),
        )  # fmt: skip
        u = 3 * torch.randn(8, 10, nu, generator=g, dtype=F64)
        x0 = torch.randn(4, nx, generator=g, dtype=F64).repeat(2, 1) + torch.randn(8, nx, generator=g, dtype=F64)
        out, last = simulate(seen, u, x0)
        dy, dx = (out[4:] - out[:4]).split([lfr.ny, nx], dim=-1)
        dx = torch.cat([dx, (last[4:] - last[:4])[:, None]], dim=1)
        du, s, P = u[4:] - u[:4], witness.supply, witness.P
        V = torch.einsum("bti,ij,btj->bt", dx, P, dx)
        parts = torch.stack([
            torch.einsum("bti,ij,btj->bt", dy, s.Q, dy), 2 * torch.einsum("bti,ij,btj->bt", du, s.S, dy),
            torch.einsum("bti,ij,btj->bt", du, s.R, du),
        ])  # fmt: skip
        rounding = 1e-11 * (V[:, 1:] + V[:, :-1] + parts.abs().sum(0))
        assert bool((V[:, 1:] - ren.rate**2 * V[:, :-1] <= parts.sum(0) + rounding).all())


@ACYCLIC
def test_no_attack_breaks_passivity(acyclic):
    for nu, epsilon in PASSIVE[:4]:
        ren = scramble(PassiveREN(2, 3, 4, 2, nu, epsilon, acyclic=acyclic, dtype=F64, generator=generator()), 5, 0.7)
        found = lower_bound(Passive(nu, epsilon), ren.explicit().detach(), time=12, tries=3, steps=20)
        assert found.attained is not None and not found.refuted


def test_a_feedthrough_can_use_almost_all_of_the_passivity():
    for nu, epsilon in PASSIVE:
        ren = scramble(PassiveREN(2, 3, 4, 2, nu, epsilon, dtype=F64, generator=generator()), 5)
        with torch.no_grad():
            ren.get_parameter("X3").mul_(1e-3)
        N = normalised(ren.explicit().D22.detach(), ren.witness().supply)
        assert 0.99 < float(torch.linalg.matrix_norm(N, 2)) < 1


def test_the_supply_of_a_gain_bound_is_a_lipschitz_ren():
    lipschitz = scramble(LipschitzREN(2, 3, 4, 5, gamma=0.7, rate=0.9, dtype=F64, generator=generator()), 2)
    supply = gain_supply(0.7, 2, 5)
    twin = DissipativeREN(2, 3, 4, 5, supply.Q, supply.S, supply.R, rate=0.9, dtype=F64, generator=generator(1))
    twin.load_state_dict(lipschitz.state_dict())
    for a, b in zip(twin.explicit().blocks().values(), lipschitz.explicit().blocks().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_frame_turns_every_supply_into_a_gain_bound():
    for nu, ny, blocks in [*SUPPLIES.values(), *((3, 3, vars(passive_supply(3, 3, *p)).values()) for p in PASSIVE)]:
        Q, S, R = blocks
        V = torch.cat([torch.cat(rows, 1) for rows in zip(*[iter(frame(admitted(Q, S, R, nu, ny)))] * 2, strict=True)])
        whole = torch.cat([torch.cat([Q, S.mT], 1), torch.cat([S, R], 1)])
        expected = torch.block_diag(-eye(ny), eye(nu))
        torch.testing.assert_close(V.T @ whole @ V, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", list(SUPPLIES))
def test_a_feedthrough_leaves_what_it_says(name):
    nu, ny, (Q, S, R) = SUPPLIES[name]
    supply, d, g = admitted(Q, S, R, nu, ny), min(nu, ny), generator(3)
    X3, Y3 = torch.randn(2, d, d, generator=g, dtype=F64)
    Z3 = torch.randn(abs(ny - nu), d, generator=g, dtype=F64)
    D, K = feedthrough(X3, Y3, Z3, torch.tensor(1e-3, dtype=F64), supply)
    left = R + S @ D + D.T @ S.T + D.T @ Q @ D
    torch.testing.assert_close(K.T @ K @ left, eye(nu), rtol=1e-7, atol=1e-7)
    assert float(torch.linalg.matrix_norm(normalised(D, supply), 2)) < 1


@ACYCLIC
def test_the_inverse_map_gives_the_system_back(acyclic):
    for ren, _ in members(acyclic):
        lfr, witness = scramble(ren, 3).explicit().detach(), ren.witness()
        options = ren._promise() if isinstance(ren, PassiveREN) else {}  # else: the supply of the witness
        again = type(ren).from_lfr(lfr, witness, **options, rate=ren.rate, acyclic=acyclic)
        for name, block in again.explicit().blocks().items():
            if block.numel():
                size = float(lfr.blocks()[name].abs().max())
                assert float((block - lfr.blocks()[name]).detach().abs().max()) <= 1e-8 * size, name
        stored = json.loads(json.dumps(ren.settings()))
        twin = type(ren)(**stored, dtype=F64, generator=generator(9))
        twin.load_state_dict(ren.state_dict())
        assert twin.explicit().digest() == lfr.digest() and twin.witness().supply.S.equal(witness.supply.S)


@ACYCLIC
@pytest.mark.parametrize("which", ["passive", "singular Q", "random, wide"])
def test_finite_differences_agree_with_the_gradients_of_explicit(which, acyclic):
    if which == "passive":
        ren: REN = PassiveREN(2, 2, 3, 2, 0.3, rate=0.9, acyclic=acyclic, dtype=F64, generator=generator())
    else:
        nu, ny, (Q, S, R) = SUPPLIES[which]
        ren = DissipativeREN(nu, 2, 3, ny, Q, S, R, acyclic=acyclic, dtype=F64, generator=generator())
    scramble(ren, 4, 0.5)
    names = [name for name, _ in ren.named_parameters()]

    class Explicit(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ren = ren

        def forward(self):
            return torch.cat([block.flatten() for block in self.ren.explicit().blocks().values()])

    module = Explicit()

    def blocks(*values):
        return functional_call(module, {f"ren.{n}": v for n, v in zip(names, values, strict=True)}, ())

    values = tuple(value.detach().clone().requires_grad_() for value in ren.parameters())
    assert torch.autograd.gradcheck(blocks, values, eps=1e-6, atol=1e-5, rtol=1e-5)


def linear(nx: int, nu: int, ny: int, seed: int = 0) -> LTI:
    g = generator(seed)
    A = torch.randn(nx, nx, generator=g, dtype=F64)
    A = A * (0.9 / torch.linalg.eigvals(A).abs().max()) if nx else A
    B, C, D = (torch.randn(*s, generator=g, dtype=F64) for s in ((nx, nu), (ny, nx), (ny, nu)))
    return LTI(A, B, C, D, 0.05)


def test_scattering_is_invertible_and_a_supply_is_a_gain_below_one():
    for nu, ny, blocks in SUPPLIES.values():
        supply, lti = admitted(*blocks, nu, ny), linear(4, nu, ny)
        image, back = scatter(lti, supply)
        again = unscatter(image, supply)
        for name in "ABCD":
            torch.testing.assert_close(getattr(again, name), getattr(lti, name), rtol=1e-7, atol=1e-7)
        assert back.shape == (4 + nu, 4 + nu)


@ACYCLIC
def test_a_linear_start_is_the_linear_system_or_is_refused_and_moved_inside(acyclic):
    supplies = [(nu, ny, blocks, None) for nu, ny, blocks in SUPPLIES.values()]
    supplies += [(2, 2, None, strict) for strict in PASSIVE]
    refused = 0
    for k, (nu, ny, blocks, strict) in enumerate(supplies):
        if strict is None:
            supply = admitted(*blocks, nu, ny)
            make, promise = DissipativeREN.from_linear, dict(zip("QSR", blocks, strict=True))
        else:
            supply = passive_supply(nu, ny, *strict)
            make, promise = PassiveREN.from_linear, {"input_strict": strict[0], "output_strict": strict[1]}
        options = {"rate": 0.95, "acyclic": acyclic, "generator": generator(1)}
        lti = linear((3, 0)[k % 2], nu, ny, seed=k)
        near, cost = shrink(lti, 0.95, supply=supply, margin=1e-2)
        if cost > 0:
            refused += 1
            with pytest.raises(InputError, match="shrink|D22"):
                make(lti, 5, **promise, **options)
        assert cost <= 1.01 * hinf_norm(LTI(lti.A, lti.B, lti.C, lti.D - frame_centre(supply), lti.dt))
        ren = make(near, 5, **promise, **options)
        lfr = ren.explicit().detach()
        for name, block in {"A": near.A, "B2": near.B, "C2": near.C, "D22": near.D}.items():
            torch.testing.assert_close(lfr.blocks()[name], block, rtol=1e-8, atol=1e-9)
        claim = Dissipative(supply.Q, supply.S, supply.R) if strict is None else Passive(*strict)
        assert certify(claim, lfr, ren.witness()).margin > 0
        assert shrink(near, 0.95, supply=supply) == (near, 0.0)
    assert refused > 6  # the refusal was seen


def frame_centre(supply) -> torch.Tensor:
    V = frame(supply)
    return V.V12 @ torch.linalg.inv(V.V22)


BAD = [
    ({"Q": [[1.0]], "S": [[0.0]], "R": [[1.0]]}, "negative semidefinite"),
    ({"Q": [[-1.0]], "S": [[0.0]], "R": [[-1.0]]}, "no system keeps this supply"),
    ({"Q": [[-1.0]], "S": [[1.0]], "R": [[-1.0]]}, "no system keeps this supply"),
    ({"Q": [[0.0]], "S": [[0.0]], "R": [[1.0]]}, "does not see every output"),
    ({"Q": [[-1.0, 0.0]], "S": [[0.0]], "R": [[1.0]]}, "must be a matrix"),
    ({"Q": [["a"]], "S": [[0.0]], "R": [[1.0]]}, "matrix"),
    ({"Q": [[float("nan")]], "S": [[0.0]], "R": [[1.0]]}, "finite"),
]


@pytest.mark.parametrize(("supply", "words"), BAD)
def test_a_supply_that_cannot_be_kept_is_refused_in_words(supply, words):
    with pytest.raises(InputError, match=words):
        DissipativeREN(1, 2, 3, 1, **supply)


def test_what_is_not_passive_is_refused_in_words():
    for options, words in (
        ({"input_strict": 1.0, "output_strict": 0.25}, "below 1/4"),
        ({"output_strict": -1.0}, "output_strict >= 0"),
        ({"input_strict": float("inf")}, "finite"),
    ):
        with pytest.raises(InputError, match=words):
            PassiveREN(2, 3, 4, 2, **options)
    with pytest.raises(InputError, match="pairs inputs with outputs"):
        PassiveREN(2, 3, 4, 1)
    with pytest.raises(InputError, match="not symmetric|symmetric"):
        DissipativeREN(1, 2, 3, 2, [[-1.0, 0.5], [0.0, -1.0]], [[0.0, 0.0]], [[1.0]])
    ren = PassiveREN(1, 2, 3, 1, dtype=F64, generator=generator())
    lfr, witness = ren.explicit().detach(), ren.witness()
    with pytest.raises(InputError, match="D22 alone|does not prove"):
        PassiveREN.from_lfr(lfr, witness, input_strict=1e3)
    with pytest.raises(InputError, match="S, R is missing"):
        DissipativeREN.from_lfr(lfr, witness, Q=[[0.0]])
    with pytest.raises(InputError, match="not both"):
        shrink(linear(2, 1, 1), gamma=1.0, supply=witness.supply)
