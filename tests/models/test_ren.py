"""How recurrent equilibrium networks behave as modules: conventions, dtypes, storage, refusals, speed."""

from __future__ import annotations

import copy
import json
import time

import pytest
import torch
from torch.func import functional_call

from eqnets.errors import InputError
from eqnets.models import ContractingREN, LipschitzREN
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Nonlinearity
from eqnets.system.witness import Supply, Witness


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def both(nu=2, nx=3, nv=4, ny=5, **kwargs):
    kwargs = {"dtype": torch.float64, "generator": generator(), **kwargs}
    return [ContractingREN(nu, nx, nv, ny, **kwargs), LipschitzREN(nu, nx, nv, ny, gamma=2.0, **kwargs)]


def scrambled(ren):
    with torch.no_grad():
        for k, value in enumerate(ren.parameters()):
            value.add_(0.5 * torch.randn(value.shape, generator=generator(k), dtype=torch.float64))
    return ren


@pytest.mark.parametrize("ren", [scrambled(ren) for ren in both(activation="tanh")], ids=lambda r: type(r).__name__)
def test_the_rollout_is_the_house_equations_with_y_from_x_t_and_every_bias_once(ren):
    u = torch.randn(2, 6, 2, generator=generator(1), dtype=torch.float64)
    x = torch.randn(2, 3, generator=generator(2), dtype=torch.float64)
    y, x_last = ren(u, x)
    b = ren.explicit().blocks()
    assert all(float(b[name].detach().abs().min()) > 1e-3 for name in ("bx", "bv", "by"))
    expected = []
    for t in range(6):
        v = x @ b["C1"].T + u[:, t] @ b["D12"].T + b["bv"]
        w = torch.zeros(2, 4, dtype=torch.float64)
        for _ in range(4):
            w = torch.tanh(v + w @ b["D11"].T)
        expected.append(x @ b["C2"].T + w @ b["D21"].T + u[:, t] @ b["D22"].T + b["by"])
        x = x @ b["A"].T + w @ b["B1"].T + u[:, t] @ b["B2"].T + b["bx"]
    torch.testing.assert_close(y, torch.stack(expected, 1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(x_last, x, rtol=1e-10, atol=1e-10)


def test_a_record_can_be_continued_from_the_last_state():
    u = torch.randn(3, 20, 2, generator=generator(1), dtype=torch.float64)
    for ren in both(acyclic=False):
        y, last = ren(u)
        first, middle = ren(u[:, :7])
        second, end = ren(u[:, 7:], middle)
        torch.testing.assert_close(torch.cat([first, second], 1), y)
        torch.testing.assert_close(end, last)


@pytest.mark.parametrize("sizes", [(2, 0, 4, 3), (2, 3, 0, 4), (3, 0, 0, 2), (0, 3, 4, 2), (2, 3, 4, 0), (0, 0, 0, 0)])
def test_zero_sizes_run(sizes):
    for ren in both(*sizes):
        y, last = ren(torch.ones(2, 5, sizes[0], dtype=torch.float64))
        assert y.shape == (2, 5, sizes[3]) and last.shape == (2, sizes[1])


def test_float32_parameters_give_a_float64_system_and_a_float32_rollout():
    for ren in both(dtype=torch.float32, nx=20, nv=30):
        lfr = ren.explicit()
        assert lfr.dtype == torch.float64 and all(p.dtype == torch.float32 for p in ren.parameters())
        exact = copy.deepcopy(ren).double().explicit()  # the same numbers, built from float64 parameters
        assert torch.equal(lfr.A, exact.A) and torch.equal(lfr.D22, exact.D22)
        y, last = ren(torch.ones(1, 4, 2))
        assert y.dtype == last.dtype == torch.float32
        y.sum().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in ren.parameters())


def test_float_rounding_of_the_whole_module_keeps_the_promise():
    for ren in both(nx=10, nv=12, rate=0.9):
        ren = ren.float()
        assert ren.witness().rate(ren.explicit()) <= 0.9


@pytest.mark.parametrize("acyclic", [True, False])
def test_a_module_is_restored_from_its_settings_and_state(acyclic):
    for ren in both(acyclic=acyclic, activation="leaky_relu(0.1)", rate=0.7, dt=0.01, bias=acyclic):
        ren = scrambled(ren)
        settings = json.loads(json.dumps(ren.settings()))
        again = type(ren)(**settings, dtype=torch.float64, generator=generator(9))
        assert again.explicit().digest() != ren.explicit().digest()
        again.load_state_dict(ren.state_dict())
        assert again.explicit().digest() == ren.explicit().digest()
        assert copy.deepcopy(ren).explicit().digest() == ren.explicit().digest()
        assert ("bx" in dict(ren.named_parameters())) == acyclic
        assert again.explicit().dt == 0.01 and "rate=0.7" in repr(again)


def test_a_start_with_a_smaller_eps_is_restored_exactly():
    ren = ContractingREN(1, 2, 0, 1, dtype=torch.float64, generator=generator())
    lfr = ren.explicit().detach()
    tight = ContractingREN.from_lfr(lfr, ren.witness(), eps=1e-9)
    again = ContractingREN(**tight.settings(), dtype=torch.float64)
    again.load_state_dict(tight.state_dict())
    assert again.explicit().digest() == tight.explicit().digest() and float(again.eps) == 1e-9


def test_functional_call_uses_the_parameters_given():
    u = torch.randn(1, 5, 2, generator=generator(), dtype=torch.float64)
    for ren in both():
        parameters = {name: 0.5 * value.detach() for name, value in ren.named_parameters()}
        y, _ = functional_call(ren, parameters, (u,))
        other = copy.deepcopy(ren)
        other.load_state_dict(parameters, strict=False)
        torch.testing.assert_close(y, other(u)[0])
        assert not torch.allclose(y, ren(u)[0])


def test_a_smaller_rate_tightens_the_same_parameters():
    for ren in map(scrambled, both(ny=3)):
        rates = []
        for rate in (1.0, 0.7, 0.3):
            ren.rate = rate
            rates.append(ren.witness().rate(ren.explicit()))
            assert rates[-1] <= rate
        assert rates[0] > rates[1] > rates[2]


def test_the_same_generator_gives_the_same_start():
    for one, two in zip(both(), both(), strict=True):
        assert one.explicit().digest() == two.explicit().digest()
    assert both(generator=generator(1))[0].explicit().digest() != both()[0].explicit().digest()


@pytest.mark.parametrize("activation", ["sine_defect", Nonlinearity("dip", torch.sin, torch.cos, (-1.0, 1.0))])
def test_a_slope_outside_the_unit_interval_is_refused_with_the_remedy(activation):
    for make in (ContractingREN, lambda *a, **k: LipschitzREN(*a, gamma=1.0, **k)):
        with pytest.raises(InputError, match=r"slope lies in \[0, 1\].*Halve it"):
            make(1, 2, 3, 1, activation=activation)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"rate": 1.1}, {"rate": float("nan")}, {"gamma": 0.0}, {"gamma": -1.0}, {"gamma": float("inf")},
     {"eps": 0.0}, {"dt": 0.0}, {"nu": -1}, {"nv": 2.5}, {"dtype": torch.float16},
     {"acyclic": "no"}, {"bias": 0}],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_words(wrong):
    arguments = {"nu": 1, "nx": 2, "nv": 3, "ny": 1, "gamma": 1.0, **wrong}
    with pytest.raises(InputError, match=next(iter(wrong))):
        LipschitzREN(**arguments)


# ---- the inverse map --------------------------------------------------------------------------------------------


def test_from_lfr_keeps_the_biases_and_rescales_either_form_of_the_supply():
    ren = scrambled(LipschitzREN(2, 3, 4, 5, gamma=4.0, dtype=torch.float64, generator=generator()))
    lfr, witness = ren.explicit().detach(), ren.witness()
    assert all(float(lfr.blocks()[name].abs().min()) > 1e-3 for name in ("bx", "bv", "by"))
    eye = torch.eye(5, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    other = Witness(4 * witness.P, 4 * witness.Lambda, Supply(-eye[0], witness.supply.S, 16 * eye[1]))
    for given in (witness, other):
        back = LipschitzREN.from_lfr(lfr, given)
        assert back.gamma == pytest.approx(4.0)
        torch.testing.assert_close(back.witness().P, witness.P, rtol=1e-9, atol=1e-12)
        for name, block in back.explicit().blocks().items():
            torch.testing.assert_close(block, lfr.blocks()[name], rtol=1e-9, atol=1e-11)
    wider = LipschitzREN.from_lfr(lfr, witness, gamma=5.0)
    assert wider.gamma == 5.0
    torch.testing.assert_close(wider.explicit().A, lfr.A)


def test_a_lipschitz_system_is_a_contracting_one():
    ren = LipschitzREN(2, 3, 4, 5, gamma=4.0, rate=0.8, dtype=torch.float64, generator=generator())
    back = ContractingREN.from_lfr(ren.explicit(), ren.witness(), rate=0.8)
    torch.testing.assert_close(back.explicit().B1, ren.explicit().B1)


def test_from_lfr_refuses_a_witness_that_does_not_prove_the_promise():
    contracting, lipschitz = both(rate=1.0)
    lfr, witness = contracting.explicit().detach(), contracting.witness()
    with pytest.raises(InputError, match="does not prove contraction at rate 0.5.*smallest eigenvalue"):
        ContractingREN.from_lfr(lfr, witness, rate=0.5)
    with pytest.raises(InputError, match="does not prove"):
        ContractingREN.from_lfr(lfr.replace(A=2 * lfr.A), witness)
    with pytest.raises(InputError, match="not positive definite"):
        ContractingREN.from_lfr(lfr, Witness(-witness.P, witness.Lambda))
    with pytest.raises(InputError, match="Lambda must be positive"):
        ContractingREN.from_lfr(lfr, Witness(witness.P, -witness.Lambda))
    with pytest.raises(InputError, match="same model"):
        ContractingREN.from_lfr(lfr, Witness(witness.P[:2, :2], witness.Lambda))
    with pytest.raises(InputError, match="continuous"):
        ContractingREN.from_lfr(lfr.replace(dt=None), witness)
    with pytest.raises(InputError, match="contraction alone"):
        LipschitzREN.from_lfr(lfr, witness)
    full = ContractingREN(2, 3, 4, 5, acyclic=False, dtype=torch.float64, generator=generator())
    with pytest.raises(InputError, match="acyclic=False"):
        ContractingREN.from_lfr(scrambled(full).explicit(), full.witness(), acyclic=True)
    with pytest.raises(InputError, match="slope lies in"):
        ContractingREN.from_lfr(lfr.replace(activation="sine_defect"), witness)
    system, proof = lipschitz.explicit().detach(), lipschitz.witness()
    with pytest.raises(InputError, match="proves the gain 2.*gamma = 1"):
        LipschitzREN.from_lfr(system, proof, gamma=1.0)
    with pytest.raises(InputError, match="D22 alone uses"):
        LipschitzREN.from_lfr(system.replace(D22=3 * torch.ones(5, 2, dtype=torch.float64)), proof)
    with pytest.raises(InputError, match="does not prove"):
        LipschitzREN.from_lfr(system.replace(C2=100 * torch.ones(5, 3, dtype=torch.float64)), proof)


def test_an_mlp_by_hand_becomes_a_static_network():
    """nx = 0: y = W2 relu(W1 u + b1) + b2 with Λ = c I and the gain that the inequality allows."""
    W1 = torch.tensor([[0.5, 0.1], [0.2, -0.4], [0.3, 0.3]], dtype=torch.float64)
    W2 = torch.tensor([[0.4, -0.2, 0.1]], dtype=torch.float64)
    b1, b2 = torch.tensor([0.1, 0.2, -0.3]).double(), torch.tensor([0.7]).double()
    lfr = LFR(D12=W1, D21=W2, D22=torch.zeros(1, 2).double(), bv=b1, by=b2)
    eye = torch.eye(2, dtype=torch.float64)
    supply = Supply(-eye[:1, :1], torch.zeros(2, 1).double(), eye)
    ren = LipschitzREN.from_lfr(lfr, Witness(torch.zeros(0, 0).double(), torch.ones(3).double(), supply))
    u = torch.randn(4, 1, 2, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(ren(u)[0], torch.relu(u @ W1.T + b1) @ W2.T + b2)


# ---- speed ------------------------------------------------------------------------------------------------------


def test_the_build_is_fast_enough_for_every_training_step():
    """nx = 75, nv = 150, forward and backward: about 10 ms on one thread; the bound leaves room for a busy machine."""
    for ren in both(nu=2, nx=75, nv=150, ny=3):
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            sum(block.sum() for block in ren.explicit().blocks().values()).backward()
            best = min(best, time.perf_counter() - start)
        assert best < 0.1
