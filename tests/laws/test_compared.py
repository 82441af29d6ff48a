"""What every recurrent model keeps, certified or compared: one calling convention, exact derivatives, true settings."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import eqnets as eq
from eqnets.errors import InputError

NU, NY = 2, 1
MAKERS = {
    "ContractingREN": lambda g, dtype: eq.ContractingREN(NU, 2, 3, NY, activation="tanh", generator=g, dtype=dtype),
    "FreeREN": lambda g, dtype: eq.FreeREN(NU, 2, 3, NY, activation="tanh", generator=g, dtype=dtype),
    "RNN": lambda g, dtype: eq.RNN(NU, 3, NY, generator=g, dtype=dtype),
    "GRU": lambda g, dtype: eq.GRU(NU, 3, NY, generator=g, dtype=dtype),
    "LSTM": lambda g, dtype: eq.LSTM(NU, 2, NY, generator=g, dtype=dtype),
    "NeuralODE rk4": lambda g, dtype: eq.NeuralODE(NU, 2, NY, 3, generator=g, dtype=dtype),
    "NeuralODE deep": lambda g, dtype: eq.NeuralODE(NU, 2, NY, (3, 2), substeps=2, generator=g, dtype=dtype),
    "NeuralODE midpoint": lambda g, dtype: eq.NeuralODE(NU, 2, NY, 3, method="midpoint", generator=g, dtype=dtype),
    "NeuralODE dopri5": lambda g, dtype: eq.NeuralODE(
        NU, 2, NY, 3, method="dopri5", rtol=1e-8, atol=1e-10, generator=g, dtype=dtype
    ),
}
BLACK = [name for name in MAKERS if name.startswith(("GRU", "LSTM", "NeuralODE"))]
every = pytest.mark.parametrize("name", MAKERS)


def setting(name: str, time: int = 6, dtype: torch.dtype = torch.float64):
    g = torch.Generator().manual_seed(1)
    model = MAKERS[name](g, dtype)
    u = torch.randn(3, time, NU, generator=g, dtype=torch.float64).to(dtype)
    with torch.no_grad():
        nx = model(u)[1].shape[1]
    return model, u, torch.randn(3, nx, generator=g, dtype=torch.float64).to(dtype)


@every
def test_a_record_can_be_continued(name: str) -> None:
    model, u, x0 = setting(name)
    y, last = model(u, x0)
    first, between = model(u[:, :2], x0)
    second, end = model(u[:, 2:], between)
    tolerance = 1e-5 if "dopri5" in name else 1e-12  # an adaptive solver takes other steps
    torch.testing.assert_close(torch.cat([first, second], 1), y, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(end, last, rtol=tolerance, atol=tolerance)
    assert y.shape == (3, 6, NY) and last.shape == x0.shape


@every
def test_it_is_causal_and_its_state_starts_at_zero(name: str) -> None:
    model, u, x0 = setting(name)
    changed = u.clone()
    changed[:, 4:] += 1.0
    tolerance = 1e-5 if "dopri5" in name else 0.0
    before, after = model(u, x0)[0], model(changed, x0)[0]
    torch.testing.assert_close(before[:, :4], after[:, :4], rtol=tolerance, atol=tolerance)
    assert not torch.equal(before[:, 4:], after[:, 4:])
    assert torch.equal(model(u)[0], model(u, torch.zeros_like(x0))[0])
    assert torch.equal(model(u, x0[0])[0], model(u, x0[0].expand_as(x0))[0])


@every
def test_its_derivatives_are_exact_to_second_order(name: str) -> None:
    model, u, x0 = setting(name, time=3)
    u, x0 = u[:1].requires_grad_(), x0[:1].requires_grad_()
    names = [n for n, _ in model.named_parameters()]
    theta = [value.detach().clone().requires_grad_() for _, value in model.named_parameters()]

    def run(u: torch.Tensor, x0: torch.Tensor, *theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.func.functional_call(model, dict(zip(names, theta, strict=True)), (u, x0))

    loose = {"rtol": 1e-3, "atol": 1e-4} if "dopri5" in name else {}  # the solution is known to its tolerance only
    assert gradcheck(run, (u, x0, *theta), **loose)
    assert gradgradcheck(run, (u, x0, *theta), **loose)


@every
def test_settings_and_state_dict_give_it_back(name: str) -> None:
    model, u, x0 = setting(name)
    twin = type(model)(**model.settings()).double()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(u, x0)[0], model(u, x0)[0])


@every
def test_randomness_is_the_generators_alone(name: str) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    a, b = (MAKERS[name](torch.Generator().manual_seed(7), torch.float64) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@every
def test_it_computes_in_the_dtype_of_u(name: str) -> None:
    model, u, x0 = setting(name)
    y, last = model(u.float(), x0.float())
    assert y.dtype == last.dtype == torch.float32
    torch.testing.assert_close(y.double(), model(u, x0)[0], rtol=1e-3, atol=1e-4)


@every
def test_wrong_input_is_refused_in_words(name: str) -> None:
    model, u, x0 = setting(name)
    for bad in (u[0], u[..., :1], u.long(), "u"):
        with pytest.raises(InputError, match="u must"):
            model(bad)
    for bad in (x0[:, :1], x0[:2], x0.float()):
        with pytest.raises(InputError, match="x0"):
            model(u, bad)


@pytest.mark.parametrize("name", BLACK)
def test_what_has_no_lfr_says_so(name: str) -> None:
    model, u, x0 = setting(name)
    for ask in (model.explicit, model.witness):
        with pytest.raises(InputError, match="no LFR"):
            ask()
    y, last = model(u[:, :0], x0)
    assert y.shape == (3, 0, NY) and torch.equal(last, x0)
