"""Neural ODEs against solutions that are known, and against each other."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import nn

import eqnets as eq
from eqnets.errors import InputError, NotConverged
from eqnets.models.neural_ode import ADAPTIVE, FIXED, flow


def oscillator() -> eq.LTI:
    """Poles 0.9 e^{±0.5j} and 0.7: a continuous system has them all."""
    c, s = 0.9 * math.cos(0.5), 0.9 * math.sin(0.5)
    A = torch.tensor([[c, s, 0.0], [-s, c, 0.3], [0.0, 0.0, 0.7]], dtype=torch.float64)
    B, C = torch.tensor([[1.0], [0.5], [0.2]], dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    return eq.LTI(A, B, C, torch.full((1, 1), 0.3, dtype=torch.float64), dt=0.02)


def inputs(time: int = 12) -> torch.Tensor:
    return torch.randn(2, time, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE])
def test_begun_at_a_linear_system_it_is_that_system(method: str) -> None:
    """Inputs jump at every sample: a solver that looks across a jump, or holds the wrong sample, fails."""
    rtol = 1e-6 if method == "adaptive_heun" else 1e-9
    substeps, loose = {"euler": (128, 2e-2), "midpoint": (32, 1e-3)}.get(method, (16, 1e-5))
    ode = eq.NeuralODE.from_linear(
        oscillator(), 4, generator=torch.Generator().manual_seed(0), method=method, substeps=substeps, rtol=rtol,
        atol=rtol,
    )  # fmt: skip
    u = inputs()
    with torch.no_grad():
        y, last = ode(u)
    expected, end = eq.simulate(oscillator().to_lfr(), u)
    scale = float(expected.abs().max())
    assert float((y - expected).abs().max()) < loose * scale
    assert float((last - end).abs().max()) < loose * float(end.abs().max())


def test_rk4_is_of_fourth_order() -> None:
    def error(substeps: int) -> float:
        g = torch.Generator().manual_seed(2)
        x = torch.randn(5, 2, generator=g, dtype=torch.float64)
        end = flow(lambda k, x: torch.sin(3 * x.flip(1)) - x, x, 2, substeps=substeps)[-1]
        return float((end - flow(lambda k, x: torch.sin(3 * x.flip(1)) - x, x, 2, substeps=512)[-1]).abs().max())

    assert 12 < error(8) / error(16) < 20  # 2⁴ = 16


@pytest.mark.parametrize("pole", [-0.9, 1e-9, 0.0, 0.999])
def test_a_pole_that_no_integrator_keeps_begins_stable(pole: float) -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    ode = eq.NeuralODE.from_linear(eq.LTI(pole * one, one, one, 0 * one, dt=1.0), 3)
    with torch.no_grad():
        y, last = ode(torch.zeros(1, 200, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    assert float(y.abs().max()) <= 1 and float(last.abs()) < 1


def test_torchdiffeq_is_missed_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    g = torch.Generator().manual_seed(0)
    assert eq.NeuralODE(1, 2, 1, 3, generator=g, dtype=torch.float64)(inputs())[0].isfinite().all()
    with pytest.raises(ImportError, match=r"pip install 'eqnets\[ode\]'"):
        eq.NeuralODE(1, 2, 1, 3, method="dopri5", generator=g, dtype=torch.float64)(inputs())


@pytest.mark.parametrize(
    ("options", "word"),
    [({"method": "rk45"}, "dopri5"), ({"substeps": 0}, "steps"), ({"rtol": 0.0}, "rtol"), ({"hidden": 0}, "hidden"),
     ({"hidden": ()}, "hidden"), ({"dt": 0.0}, "dt"), ({"nx": 0}, "states")],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        eq.NeuralODE(**{"nu": 1, "nx": 2, "ny": 1, **options})


def linear_field(M: torch.Tensor) -> nn.Linear:
    field = nn.Linear(*M.shape, bias=False, dtype=torch.float64)
    with torch.no_grad():
        field.weight.copy_(M)
    return field


@pytest.mark.parametrize("method", ["rk4", "midpoint", "dopri5"])
def test_a_block_is_the_flow_over_unit_time(method: str) -> None:
    M = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    block = eq.ODEBlock(linear_field(M), method=method, steps=400 if method == "midpoint" else 50)
    torch.testing.assert_close(block(z), z @ torch.matrix_exp(M).mT, rtol=1e-4, atol=1e-5)


def test_one_more_dimension_undoes_what_a_flow_cannot() -> None:
    """A flow on the line keeps order. With a zero appended, half a turn in the plane takes z to −z."""
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    torch.manual_seed(0)
    inside = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    assert bool((eq.ODEBlock(inside)(z).diff(dim=0) > 0).all())
    turn = math.pi * torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    out = eq.ODEBlock(linear_field(turn), augment=1, steps=64)(z)
    torch.testing.assert_close(out, torch.cat([-z, 0 * z], dim=1), rtol=1e-5, atol=1e-5)


def test_a_block_takes_images_and_trains() -> None:
    torch.manual_seed(0)
    field = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 3, padding=1))
    block = eq.ODEBlock(field, augment=2, steps=2)
    z = torch.randn(2, 1, 5, 5)
    optimiser = torch.optim.Adam(block.parameters(), lr=1e-2)
    errors = []
    for _ in range(30):
        loss = (block(z)[:, 0] + z[:, 0]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(loss.detach()))
    assert block(z).shape == (2, 3, 5, 5) and errors[-1] < 0.5 * errors[0]


def test_a_block_refuses_in_words() -> None:
    with pytest.raises(InputError, match="keeps the shape"):
        eq.ODEBlock(nn.Linear(2, 3))(torch.zeros(4, 2))
    with pytest.raises(InputError, match="features"):
        eq.ODEBlock(nn.Identity())(torch.zeros(4))
    with pytest.raises(InputError, match="augment"):
        eq.ODEBlock(nn.Identity(), augment=-1)


def test_a_solution_that_escapes_is_said() -> None:
    class Square(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z * z  # from 2 it is infinite at t = 1/2

    with pytest.raises(NotConverged, match="no step small enough"):
        eq.ODEBlock(Square(), method="dopri5")(torch.full((1, 1), 2.0, dtype=torch.float64))
