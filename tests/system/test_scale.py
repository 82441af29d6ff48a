"""Folding the units in equals normalise, simulate, denormalise; and the proof stays what it was."""

from __future__ import annotations

import math

import pytest
import torch

from eqnets.errors import InputError
from eqnets.system.lfr import LFR
from eqnets.system.scale import fold
from eqnets.system.simulate import simulate
from eqnets.system.witness import Witness

F64 = torch.float64


def vectors(seed: int, nu: int, ny: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def random(n: int) -> torch.Tensor:
        return torch.randn(n, generator=generator, dtype=F64)

    return {
        "u_offset": 10 * random(nu), "u_scale": torch.exp(3 * random(nu)),
        "y_offset": 10 * random(ny), "y_scale": torch.exp(3 * random(ny)),
    }  # fmt: skip


@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_fold_is_normalise_simulate_denormalise(seed, acyclic, random_lfr):
    lfr = random_lfr(seed, acyclic=acyclic, scale=0.2)
    units = vectors(seed, 4, 5)
    physical = fold(lfr, **units)
    generator = torch.Generator().manual_seed(100 + seed)
    u = units["u_offset"] + units["u_scale"] * torch.randn(3, 30, 4, generator=generator, dtype=F64)
    x0 = torch.randn(3, 2, generator=generator, dtype=F64)
    y_n, x_n = simulate(lfr, (u - units["u_offset"]) / units["u_scale"], x0)
    y, x = simulate(physical, u, x0)
    torch.testing.assert_close((y - units["y_offset"]) / units["y_scale"], y_n, rtol=0, atol=1e-11)
    torch.testing.assert_close(x, x_n, rtol=0, atol=1e-11)  # the states are the same


def test_identity_and_inverse(random_lfr):
    lfr = random_lfr()
    for name, block in fold(lfr).blocks().items():
        torch.testing.assert_close(block, getattr(lfr, name), rtol=0, atol=0)
    units = vectors(1, 4, 5)
    back = {
        "u_offset": -units["u_offset"] / units["u_scale"], "u_scale": 1 / units["u_scale"],
        "y_offset": -units["y_offset"] / units["y_scale"], "y_scale": 1 / units["y_scale"],
    }  # fmt: skip
    for name, block in fold(fold(lfr, **units), **back).blocks().items():
        torch.testing.assert_close(block, getattr(lfr, name), rtol=0, atol=1e-11)


@pytest.mark.parametrize("dt", [0.1, None])
def test_the_contraction_inequality_is_untouched(dt, random_lfr):
    """The blocks that contraction sees are the same tensors, so the rate is equal to the last bit."""
    blocks = random_lfr().blocks()
    stable = {"A": 0.5 * torch.eye(2, dtype=F64) if dt else -torch.eye(2, dtype=F64)}
    small = {name: 0.1 * blocks[name] for name in ("B1", "C1", "D11")}
    lfr = LFR(**{**blocks, **stable, **small}, activation="tanh", dt=dt)
    physical = fold(lfr, **vectors(2, 4, 5))
    for name in ("A", "B1", "C1", "D11"):
        assert torch.equal(getattr(physical, name), getattr(lfr, name))
    witness = Witness(torch.eye(2, dtype=F64), torch.ones(3, dtype=F64))
    assert math.isfinite(witness.rate(lfr))
    assert witness.rate(physical) == witness.rate(lfr)


def test_labels(random_lfr):
    lfr = random_lfr(u_names=list("abcd"), y_units=["V"] * 5)
    physical = fold(lfr, u_units=["N"] * 4, y_units=["m"] * 5)
    assert physical.u_names == ("a", "b", "c", "d")
    assert physical.u_units == ("N",) * 4 and physical.y_units == ("m",) * 5 and physical.y_names is None
    assert (physical.dt, physical.activation) == (lfr.dt, lfr.activation)


def test_numbers_arrays_and_dtype(random_lfr):
    lfr = random_lfr().to(torch.float32)
    physical = fold(lfr, 1, 2, [1, 2, 3, 4, 5], torch.full((5,), 2.0).numpy())
    assert physical.dtype == torch.float32
    torch.testing.assert_close(physical.B2, lfr.B2 / 2)
    torch.testing.assert_close(physical.C2, lfr.C2 * 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"u_scale": [1.0, 2.0, 3.0, 0.0]}, "every u_scale must be positive"),
        ({"y_scale": -1.0}, "every y_scale must be positive"),
        ({"u_offset": torch.zeros(5)}, r"u_offset has shape \(5,\).*\(4,\) is needed"),
        ({"y_offset": torch.zeros(1, 5)}, r"y_offset has shape \(1, 5\)"),
        ({"y_offset": float("nan")}, "y_offset must be finite"),
        ({"u_scale": float("inf")}, "u_scale must be finite"),
        ({"u_scale": "volts"}, "u_scale must be numbers"),
    ],
)
def test_bad_units_are_refused(fields, words, random_lfr):
    with pytest.raises(InputError, match=words):
        fold(random_lfr(), **fields)
