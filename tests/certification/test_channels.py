"""Chosen channels: the gain between them, whatever the other inputs are."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.certification.channels import channels
from eqnets.errors import InputError
from eqnets.system.lfr import LFR

F64 = torch.float64
NAMES = {
    "u_names": ("force", "heat", "light"), "u_units": ("N", "K", "lx"), "y_names": ("x", "y"), "y_units": ("m", "V"),
}  # fmt: skip


def system(seed: int = 0) -> LFR:
    model = eq.LipschitzREN(3, 3, 6, 2, gamma=2.0, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return model.explicit().detach().replace(**NAMES)


def test_channels_keep_their_names_units_and_signals() -> None:
    lfr = system()
    part = channels(lfr, ["light", "force"], ["y"])
    assert part.u_names == ("light", "force") and part.u_units == ("lx", "N") and part.y_units == ("V",)
    u = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    u[..., 1] = 0
    expected = eq.simulate(lfr, u)[0][..., [1]]
    assert torch.allclose(eq.simulate(part, u[..., [2, 0]])[0], expected, atol=1e-12)
    assert channels(lfr).digest() == lfr.digest() and channels(lfr, [1]).u_names == ("heat",)


def test_the_gain_between_channels_holds_whatever_the_others_are() -> None:
    lfr, g = system(), torch.Generator().manual_seed(0)
    whole = eq.tighten(eq.Lipschitz(1.0, (1.0,) * 3, (1.0,) * 2), lfr).claim.gamma
    for name in NAMES["u_names"]:
        at = NAMES["u_names"].index(name)
        gamma = eq.tighten(eq.Lipschitz(1.0), channels(lfr, [name], ["x"])).claim.gamma
        assert gamma <= whole * (1 + 1e-4)
        u, d = (torch.randn(64, 30, 3, generator=g, dtype=F64) for _ in range(2))
        u = 10 * u
        d[..., [i for i in range(3) if i != at]] = 0
        moved = (eq.simulate(lfr, u + d)[0] - eq.simulate(lfr, u)[0])[..., 0]
        ratio = float((moved.norm(dim=1) / d.flatten(1).norm(dim=1)).max())
        assert 0.05 * gamma < ratio <= gamma


@pytest.mark.parametrize("inputs", [["wind"], [3], [-1], ["force", 0], [True]])
def test_what_is_no_channel_is_a_sentence(inputs) -> None:
    with pytest.raises(InputError, match="it has force, heat, light"):
        channels(system(), inputs)
