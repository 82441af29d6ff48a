"""A cell that is not one function during a solve is refused, with the submodule's name and the remedy."""

from __future__ import annotations

import pytest
import torch
from tests.models.cells import Tanh, inputs
from torch import nn

import eqnets as eq

BAD = {
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4, dtype=torch.float64), "LayerNorm or GroupNorm"),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), "LayerNorm or GroupNorm"),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4, track_running_stats=True), "GroupNorm"),
    "Dropout": (lambda: nn.Dropout(0.1), "eqnets.FixedDropout"),
    "Dropout2d": (lambda: nn.Dropout2d(0.1), "eqnets.FixedDropout"),
    "AlphaDropout": (lambda: nn.AlphaDropout(0.1), "eqnets.FixedDropout"),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 1, dropout=0.1), "eqnets.FixedDropout"),
    "GRU": (lambda: nn.GRU(4, 4, 2, dropout=0.1), "eqnets.FixedDropout"),
    "RReLU": (nn.RReLU, "LeakyReLU"),
    "Linear": (lambda: torch.nn.utils.spectral_norm(nn.Linear(4, 4)), "parametrizations.spectral_norm"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.*is deprecated:FutureWarning")
def test_layers_that_change_or_mix_are_refused_before_the_solve(name):
    make, remedy = BAD[name]
    cell = Tanh(inner=nn.Sequential(nn.Identity(), make()))
    with pytest.raises(eq.InputError, match=remedy) as caught:
        eq.DEQ(cell, 4)(inputs(5, 3))
    assert "'inner.1'" in str(caught.value) and name in str(caught.value)
    assert cell.calls == 0


@pytest.mark.parametrize("make", [BAD["BatchNorm1d"][0], BAD["Dropout"][0], BAD["AlphaDropout"][0]])
def test_in_eval_mode_they_are_fixed_functions(make):
    deq = eq.DEQ(Tanh(inner=make()), 4).eval()
    assert deq.solve(inputs(5, 3)).converged.all()


def test_batchnorm_without_statistics_mixes_samples_in_eval_mode_too():
    norm = nn.BatchNorm1d(4, track_running_stats=False, dtype=torch.float64)
    with pytest.raises(eq.InputError, match="mixes the samples"):
        eq.DEQ(Tanh(inner=norm), 4).eval()(inputs(5, 3))


@pytest.mark.parametrize(
    "good", [nn.Dropout(0.0), nn.LayerNorm(4, dtype=torch.float64), nn.GroupNorm(2, 4, dtype=torch.float64)]
)
def test_what_is_fixed_is_let_through(good):
    assert eq.DEQ(Tanh(inner=good, gain=0.2), 4).solve(inputs(5, 3)).converged.all()


def test_running_statistics_are_untouched_by_a_solve():
    norm = nn.BatchNorm1d(4, dtype=torch.float64)
    deq = eq.DEQ(Tanh(inner=norm), 4).eval()
    before = {name: t.clone() for name, t in norm.state_dict().items()}
    deq(inputs(5, 3)).sum().backward()
    with pytest.raises(eq.InputError):
        deq.train()(inputs(5, 3))
    assert all(torch.equal(before[name], t) for name, t in norm.state_dict().items())
