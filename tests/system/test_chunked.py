"""Chunks change no output by more than the proved bound, and nothing is chunked without a proof."""

from __future__ import annotations

import pytest
import torch

from eqnets.errors import InputError
from eqnets.models.ren import ContractingREN, LipschitzREN
from eqnets.system.chunked import output_gain
from eqnets.system.simulate import simulate
from eqnets.system.witness import Witness


def model(kind, seed, activation="tanh", acyclic=True):
    generator = torch.Generator().manual_seed(seed)
    if kind == "lipschitz":
        ren = LipschitzREN(2, 4, 6, 3, gamma=2.0, rate=0.9, activation=activation, acyclic=acyclic, generator=generator)
    else:
        ren = ContractingREN(2, 4, 6, 3, rate=0.9, activation=activation, acyclic=acyclic, generator=generator)
    with torch.no_grad():
        for parameter in ren.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return ren.to(torch.float64), generator


@pytest.mark.parametrize("kind", ["contracting", "lipschitz"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu(0.2)"])
@pytest.mark.parametrize("atol", [1e-3, 1e-9])
def test_the_error_keeps_the_bound_and_the_bound_the_tolerance(kind, activation, atol):
    for seed in range(3):
        ren, generator = model(kind, seed, activation)
        lfr, witness = ren.explicit().detach(), ren.witness()
        u = 3 * torch.randn(2, 4001, 2, generator=generator, dtype=torch.float64)
        x0 = 10 * torch.randn(2, 4, generator=generator, dtype=torch.float64)
        exact, last = simulate(lfr, u, x0)
        y, end, info = simulate(lfr, u, x0, method="chunked", witness=witness, atol=atol, return_info=True)
        assert info.method == "chunked"
        assert (info.bound > 0).all() and (info.bound <= atol).all()  # it was chunked
        error = torch.linalg.vector_norm(y - exact, dim=-1).amax(1)
        assert (error <= info.bound + 1e-12 * exact.abs().max()).all()
        torch.testing.assert_close(end, last, rtol=0, atol=100 * atol)


def test_an_overlap_that_is_too_short_shows_in_the_bound(monkeypatch):
    ren, generator = model("contracting", 5)
    lfr, witness = ren.explicit().detach(), ren.witness()
    monkeypatch.setattr("eqnets.system.chunked._steps", lambda factor, rate: 3)
    u = torch.randn(1, 2000, 2, generator=generator, dtype=torch.float64)
    y, _, info = simulate(lfr, u, method="chunked", witness=witness, atol=1e3, return_info=True)
    error = torch.linalg.vector_norm(y - simulate(lfr, u)[0], dim=-1).amax(1)
    assert (error > 1e-6).all()  # three steps forget little
    assert (error <= info.bound).all()


@pytest.mark.parametrize("acyclic", [True, False])
def test_gradients_are_those_of_the_sequential_rollout(acyclic):
    ren, generator = model("contracting", 7, acyclic=acyclic)
    witness = ren.witness()
    u = torch.randn(1, 600, 2, generator=generator, dtype=torch.float64)
    found = []
    for options in ({}, {"method": "chunked", "witness": witness, "atol": 1e-10}):
        ren.zero_grad()
        x0 = torch.ones(4, dtype=torch.float64, requires_grad=True)
        simulate(ren.explicit(), u, x0, **options)[0].square().mean().backward()
        found.append([x0.grad, *(p.grad.clone() for p in ren.parameters() if p.grad is not None)])
    for mine, truth in zip(*found, strict=True):
        torch.testing.assert_close(mine, truth, rtol=1e-6, atol=1e-8 * float(truth.abs().max() + 1))


def test_a_short_record_is_not_chunked():
    ren, generator = model("contracting", 8)
    lfr = ren.explicit().detach()
    for time in (0, 1, 20):
        u = torch.randn(3, time, 2, generator=generator, dtype=torch.float64)
        y, _, info = simulate(lfr, u, method="chunked", witness=ren.witness(), return_info=True)
        torch.testing.assert_close(y, simulate(lfr, u)[0])
        assert not info.bound.any()


def test_the_output_gain_bounds_every_pair_of_states():
    for seed in range(5):
        ren, generator = model("contracting", seed, "relu")
        lfr, witness = ren.explicit().detach(), ren.witness()
        gain = output_gain(lfr, witness)
        a, b = (3 * torch.randn(500, 4, generator=generator, dtype=torch.float64) for _ in range(2))
        u = torch.randn(500, 1, 2, generator=generator, dtype=torch.float64)
        dy = (simulate(lfr, u, a)[0] - simulate(lfr, u, b)[0])[:, 0]
        dx = (a - b) @ torch.linalg.cholesky(witness.P)
        ratio = torch.linalg.vector_norm(dy, dim=-1) / torch.linalg.vector_norm(dx, dim=-1)
        assert float(ratio.max()) <= gain
        assert float(ratio.max()) > gain / 100  # it is a bound, not a formality


def test_nothing_is_chunked_without_a_proof():
    ren, _ = model("contracting", 9)
    lfr, witness = ren.explicit().detach(), ren.witness()
    u = torch.zeros(1, 500, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="needs witness="):
        simulate(lfr, u, method="chunked")
    with pytest.raises(InputError, match="proved rate below 1"):
        simulate(lfr.replace(A=3 * lfr.A), u, method="chunked", witness=witness)
    with pytest.raises(InputError, match="negative multiplier"):
        simulate(lfr, u, method="chunked", witness=Witness(witness.P, -witness.Lambda))


def test_an_empty_batch_is_an_empty_answer():
    ren, _ = model("contracting", 1)
    u = torch.zeros(0, 600, 2, dtype=torch.float64)
    y, last, info = simulate(ren.explicit().detach(), u, method="chunked", witness=ren.witness(), return_info=True)
    assert y.shape == (0, 600, 3) and last.shape == (0, 4) and info.bound.shape == (0,)
