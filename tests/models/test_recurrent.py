"""GRU and LSTM are torch's own; the free REN is any acyclic LFR."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.errors import InputError


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_it_is_torchs_cell_with_a_linear_readout(name: str) -> None:
    ours = getattr(eq, name)(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = getattr(torch.nn, name)(2, 5, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if k not in ("V", "c")})
    g = torch.Generator().manual_seed(1)
    u, x0 = (torch.randn(*size, generator=g, dtype=torch.float64) for size in ((4, 20, 2), (4, ours.nx)))
    start = x0[None] if name == "GRU" else tuple(part[None].contiguous() for part in x0.split(5, dim=1))
    hidden, end = theirs(u, start)
    y, last = ours(u, x0)
    torch.testing.assert_close(y, hidden @ ours.V.T + ours.c)
    torch.testing.assert_close(last, end[0] if name == "GRU" else torch.cat([end[0][0], end[1][0]], dim=1))
    y.square().sum().backward()
    (hidden @ ours.V.detach().T + ours.c.detach()).square().sum().backward()
    for parameter, value in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(parameter).grad, value.grad)


@pytest.mark.parametrize("options", [{"nh": 0}, {"nu": -1}, {"ny": 0}, {"dt": -1.0}])
def test_sizes_that_cannot_be_are_refused(options: dict) -> None:
    sizes = {"nu": 1, "nh": 2, "ny": 1, **options}
    for cls in (eq.GRU, eq.LSTM):
        with pytest.raises(InputError, match="must be"):
            cls(**sizes)


@pytest.mark.parametrize(
    "x0", [[0.0, 0.0], torch.zeros(3, 2), torch.zeros(4, 2, dtype=torch.float64)], ids=["list", "batch", "dtype"]
)
def test_a_start_that_does_not_fit_is_refused(x0: object) -> None:
    with pytest.raises(InputError, match="x0 must be a tensor"):
        eq.GRU(1, 2, 1)(torch.zeros(4, 5, 1), x0)


def test_a_free_ren_is_the_lfr_that_it_is_given() -> None:
    g = torch.Generator().manual_seed(0)
    lfr = eq.ContractingREN(2, 3, 4, 2, activation="tanh", generator=g, dtype=torch.float64, dt=0.1).explicit().detach()
    free = eq.FreeREN.from_lfr(lfr)
    assert all(torch.equal(block, lfr.blocks()[name]) for name, block in free.explicit().blocks().items())
    unstable = lfr.replace(A=3 * torch.eye(3, dtype=torch.float64))  # nothing is promised
    assert torch.equal(eq.FreeREN.from_lfr(unstable).explicit().A, unstable.A)


def test_a_free_ren_stays_well_posed_whatever_its_numbers() -> None:
    free = eq.FreeREN(1, 2, 5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        for value in free.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=value.dtype))
    assert free.explicit().is_acyclic
    free(torch.ones(1, 3, 1, dtype=torch.float64))[0].sum().backward()
    assert free.D11.grad is not None and not bool(free.D11.grad.triu().any()) and bool(free.D11.grad.any())


def test_a_free_ren_refuses_what_it_cannot_be() -> None:
    g = torch.Generator().manual_seed(0)
    full = eq.ContractingREN(1, 2, 3, 1, acyclic=False, generator=g, dtype=torch.float64).explicit().detach()
    for lfr in (full, full.replace(D11=None, dt=None)):
        with pytest.raises(InputError, match="strictly lower triangular"):
            eq.FreeREN.from_lfr(lfr)
