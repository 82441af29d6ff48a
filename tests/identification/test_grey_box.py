"""Grey boxes find the numbers that made the records, and their intervals hold them as often as they say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

import eqnets as eq
from eqnets.errors import InputError, NotConverged
from eqnets.identification.data import Data
from eqnets.identification.grey_box import GreyBox
from eqnets.identification.record import Record
from eqnets.models import ContractingREN
from eqnets.system.plants import Pendulum

TRUE = {"g/l": 24.525, "μ/ml²": 0.6, "1/ml²": 12.5}
KP, KD, DT = 40.0, 4.0, 0.05


def pendulum(values: Mapping[str, float]) -> eq.LFR:
    """The PD-stabilised inverted pendulum in its three unknown numbers; kp and kd are the controller's, known."""
    G, friction, gain = values["g/l"], values["μ/ml²"], values["1/ml²"]
    return eq.LFR(
        A=[[0.0, 1.0], [G - KP, -friction - KD]], B1=[[0.0], [-G]], B2=[[0.0], [gain]], C1=[[1.0, 0.0]],
        C2=[[1.0, 0.0]], D22=[[0.0]], activation="sine_defect", dt=None,
    )  # fmt: skip


def records(seed: int, n_records: int = 2, duration: float = 15.0, noise: float = 2e-3) -> Data:
    ml2 = 1 / TRUE["1/ml²"]
    plant = Pendulum(mass=ml2 / 0.16, length=0.4, gravity=0.4 * TRUE["g/l"], damping=TRUE["μ/ml²"] * ml2, kp=KP, kd=KD)
    pairs = plant.records(
        torch.Generator().manual_seed(seed), n_records=n_records, duration=duration, dt=DT, noise=noise
    )
    return eq.read(pairs, u=["torque"], y=["angle"], dt=DT)


def test_without_noise_it_finds_the_pendulum_exactly() -> None:
    found = GreyBox(pendulum, {"g/l": 15.0, "μ/ml²": 2.0, "1/ml²": 8.0}).fit(records(0, noise=0.0))
    assert found.values == pytest.approx(TRUE, rel=1e-6)
    assert found.score.rmse[0] < 1e-8 and np.abs(found.x0).max() < 1e-6


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """95 % of 3 × 12: at least 30 of 36 (fewer: 1 in 400 by chance)."""
    inside, widths = 0, []
    for seed in range(12):
        found = GreyBox(pendulum, {"g/l": 20.0, "μ/ml²": 1.0, "1/ml²": 10.0}).fit(records(seed, 1, 8.0))
        inside += sum(found.intervals[name][0] <= TRUE[name] <= found.intervals[name][1] for name in TRUE)
        widths.append(found.intervals["g/l"][1] - found.intervals["g/l"][0])
    assert inside >= 30
    assert np.median(widths) < 0.02 * TRUE["g/l"]  # and they are not wide for it


def test_entries_of_an_lfr_by_block() -> None:
    start = pendulum({"g/l": 24.525, "μ/ml²": 1.5, "1/ml²": 9.0})
    found = GreyBox(start, {"A": [(1, 1)], "B2": [(1, 0)]}).fit(records(1, noise=0.0))
    assert found.values == pytest.approx({"A[1,1]": -0.6 - KD, "B2[1,0]": 12.5}, rel=1e-6)
    assert found.lfr.dt is None and float(found.lfr.B2[1, 0]) == found.values["B2[1,0]"]


def test_a_discrete_network_with_neurons_that_feed_each_other() -> None:
    """Several channels, lengths and initial states; four distinct sizes."""
    g = torch.Generator().manual_seed(3)
    lfr = ContractingREN(2, 3, 5, 4, activation="tanh", generator=g, dtype=torch.float64).explicit().detach()
    lfr = lfr.replace(dt=DT, D11=torch.tril(torch.randn(5, 5, generator=g, dtype=torch.float64), -1))
    made = []
    for n in (80, 130):
        u = torch.randn(1, n, 2, generator=g, dtype=torch.float64)
        y, _ = eq.simulate(lfr, u, torch.randn(3, generator=g, dtype=torch.float64))
        made.append(Record(u[0].numpy(), y[0].numpy()))
    free = {"C2": [(i, j) for i in range(4) for j in range(3)], "bv": [0, 4]}
    start = lfr.replace(C2=1.1 * lfr.C2, bv=lfr.bv + torch.tensor([0.1, 0.0, 0.0, 0.0, 0.1], dtype=torch.float64))
    result = GreyBox(start, free).fit(Data(tuple(made), DT))
    assert result.score.rmse.max() < 1e-7
    assert torch.allclose(result.lfr.C2, lfr.C2, atol=1e-6) and torch.allclose(result.lfr.bv, lfr.bv, atol=1e-6)


@pytest.mark.parametrize(
    ("system", "free", "word"),
    [(pendulum(TRUE), {}, "at least one"), (pendulum(TRUE), {"E": [(0, 0)]}, "no block 'E'"),
     (pendulum(TRUE), {"A": [(2, 0)]}, r"no entry \(2, 0\)"), (pendulum, {"g/l": "much"}, "number to start from")],
)  # fmt: skip
def test_what_cannot_be_free_is_refused(system: object, free: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        GreyBox(system, free)  # type: ignore[arg-type]


def test_what_does_not_fit_the_data_is_refused() -> None:
    data = records(0, 1, 5.0)
    discrete = pendulum(TRUE).replace(dt=0.1)
    with pytest.raises(InputError, match=r"0\.1 s.*0\.05 s"):
        GreyBox(discrete, {"A": [(1, 0)]}).fit(data)
    with pytest.raises(InputError, match="2 inputs"):
        GreyBox(pendulum(TRUE).replace(B2=None, D12=None, D22=[[0.0, 0.0]]), {"A": [(1, 0)]}).fit(data)
    with pytest.raises(InputError, match="triangular"):
        GreyBox(pendulum(TRUE).replace(D11=[[0.5]]), {"A": [(1, 0)]}).fit(data)
    with pytest.raises(NotConverged, match="does not matter"):
        GreyBox(pendulum(TRUE).replace(B1=[[0.0], [0.0]]), {"bv": [0]}).fit(data)
    with pytest.raises(NotConverged, match="not finite"):
        GreyBox(pendulum(TRUE).replace(A=[[500.0, 1.0], [0.0, 400.0]]), {"A": [(1, 0)]}).fit(data)
