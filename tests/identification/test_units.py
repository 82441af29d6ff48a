"""Units: exact where the parameters are the blocks, and a unit's move moves the system by about one, for every REN."""

from __future__ import annotations

import pytest
import torch
from tests.identification.conftest import random_lti, records_of
from torch import nn

from eqnets.identification.adam import Adam
from eqnets.identification.streams import Streams, training_streams
from eqnets.identification.units import units
from eqnets.models import GRU, ContractingREN, FreeREN, LipschitzREN, PassiveREN
from eqnets.models.base import REN
from eqnets.models.inverse import implicit
from eqnets.system.lti import LTI
from eqnets.system.simulate import simulate


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def streams_of(seed: int = 0) -> Streams:
    return training_streams(records_of(random_lti(2, 1, 1, seed), [80, 60], seed, noise=0.02), [80, 60], 4, 20)


def network(kind: str, seed: int) -> REN | FreeREN:
    options = {"activation": "tanh", "generator": generator(seed), "dtype": torch.float64}
    if kind == "contracting":
        return ContractingREN(1, 3, 4, 1, **options)
    if kind == "cyclic":
        return ContractingREN(1, 3, 4, 1, acyclic=False, **options)
    if kind == "lipschitz":
        return LipschitzREN(1, 3, 4, 1, gamma=2.0, **options)
    return PassiveREN(1, 3, 4, 1, **options) if kind == "passive" else FreeREN(1, 3, 4, 1, **options)


def moves(model: nn.Module, streams: Streams) -> list[torch.Tensor]:
    """‖J e_j‖ of every parameter, from the whole Jacobian."""
    names = [name for name, _ in model.named_parameters()]

    def seen(*parameters: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, parameters, strict=True))
        lfr = torch.func.functional_call(_Explicit(model), {f"model.{k}": v for k, v in given.items()}, ())
        y, _ = simulate(lfr, streams.u, streams.u.new_zeros(len(streams), lfr.nx))
        rms = (y * (streams.weight[:, :, None] / streams.weight.sum()).sqrt()).flatten()
        return torch.cat([*(block.flatten() for block in lfr.blocks().values()), rms])

    jacobian = torch.autograd.functional.jacobian(seen, tuple(p.detach() for p in model.parameters()))
    return [J.square().sum(0).sqrt() for J in jacobian]


class _Explicit(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self):  # noqa: ANN201
        return self.model.explicit()  # type: ignore[operator]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["contracting", "cyclic", "lipschitz", "passive", "free"])
def test_a_unit_moves_the_system_by_about_one_and_never_by_much_more(kind: str, seed: int) -> None:
    model, streams = network(kind, seed), streams_of(seed)
    for (name, p), unit, move in zip(
        model.named_parameters(), units(model, streams), moves(model, streams), strict=True
    ):
        assert unit.shape == p.shape and unit.dtype == p.dtype and not unit.requires_grad
        assert bool((unit > 0).all()) and bool((unit <= 1).all())
        moved = unit * move  # 32 signs tell a mean square within a factor of about 2
        assert bool((moved < 2).all()), name
        expected = move.clamp(min=1.0)
        if name == "X":
            continue  # which its pivots may bind too
        assert bool((unit * expected > 0.5).all()), name


def test_a_column_of_X_moves_no_farther_than_its_pivot() -> None:
    slow = LTI(*(torch.tensor(m, dtype=torch.float64) for m in ([[0.9999]], [[0.02]], [[1.0]], [[0.0]])), dt=1.0)
    model = ContractingREN.from_linear(slow, 5, activation="tanh", generator=generator())
    found = dict(zip([name for name, _ in model.named_parameters()], units(model, streams_of()), strict=True))
    P, Lambda = model.witness().P, model.witness().Lambda  # ΛD12 moves by Λ where D12 moves by one
    pivots = torch.diagonal(torch.linalg.cholesky(implicit(model.explicit().detach(), P, Lambda, 1.0)[0]))
    assert bool((found["X"] <= (1 + 1e-6) * pivots).all())
    torch.testing.assert_close(found["cD12"][:, 0], Lambda, rtol=0.5, atol=0.0)
    assert float(Lambda.max()) < 0.01


def test_without_streams_and_without_an_lfr_all_move_alike() -> None:
    for unit in (*units(network("contracting", 0), None), *units(GRU(1, 3, 1, generator=generator()), streams_of())):
        assert bool((unit == 1).all())


def test_adam_in_units_is_adam_over_the_parameters_in_their_units() -> None:
    unit, target = torch.tensor([1.0, 1e-2, 1e-4]), torch.tensor([0.3, -0.02, 5e-4])
    ours, scaled = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    mine, plain = Adam([ours], [unit]), torch.optim.Adam([scaled])
    for _ in range(20):
        for optimiser, theta in ((mine, ours), (plain, unit * scaled)):
            optimiser.param_groups[0]["lr"] = 0.1
            optimiser.zero_grad()
            ((theta - target) / unit).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours / unit, scaled, rtol=1e-3, atol=1e-6)
