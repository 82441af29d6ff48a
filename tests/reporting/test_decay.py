from __future__ import annotations

import numpy as np
import pytest
import torch

from eqnets.errors import InputError
from eqnets.reporting import envelope, wrong_starts
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness


@pytest.mark.parametrize("seed", range(3))
def test_wrong_starts_stay_inside_the_proved_envelope(case, seed: int) -> None:
    found = wrong_starts(case.fit.lfr, case.fit.certificate.witness, case.test.records[0].u, seed=seed)
    assert found.ratio.shape[0] == 10
    assert np.allclose(found.ratio[:, 0], 1.0)
    assert (found.ratio <= found.bound * (1 + 1e-9)).all()
    assert 0 < found.worst <= 1 + 1e-9


def test_the_decay_of_a_linear_system_is_known() -> None:
    lfr = LFR(A=[[0.9, 0.0], [0.0, 0.5]], B2=[[1.0], [1.0]], C2=[[1.0, 1.0]], dt=0.1)
    witness = Witness(torch.eye(2, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
    found = wrong_starts(lfr, witness, np.ones((50, 1)), n=4)
    assert found.rate == pytest.approx(0.9)
    share = found.ratio[:, 1] ** 2  # = 0.81 c + 0.25 (1 − c) with c the first axis' share of the start
    c = (share - 0.25) / 0.56
    steps = np.arange(found.ratio.shape[1])
    assert np.allclose(found.ratio**2, np.outer(c, 0.81**steps) + np.outer(1 - c, 0.25**steps), rtol=1e-6, atol=1e-20)


def test_the_figure_shows_the_starts_and_the_bound(case) -> None:
    figure = envelope(case.fit, u=case.test.records[0].u, n=7, seed=3)
    assert len(figure.data) == 8
    assert figure.layout.yaxis.type == "log"
    same = envelope(case.fit.lfr, case.fit.certificate.witness, case.test.records[0].u, n=7, seed=3)
    assert figure.to_json() == same.to_json()


def test_nothing_is_drawn_where_nothing_is_proved(case) -> None:
    with pytest.raises(InputError, match="needs a witness"):
        envelope(case.fit.lfr)
    weak = LFR(A=[[1.0]], B2=[[1.0]], C2=[[1.0]])
    with pytest.raises(InputError, match="only a rate below 1"):
        wrong_starts(
            weak, Witness(torch.eye(1, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)), np.ones((5, 1))
        )
    with pytest.raises(InputError, match="time, nu=1"):
        wrong_starts(case.fit.lfr, case.fit.certificate.witness, np.ones((5, 2)))
    with pytest.raises(InputError, match="with a state"):
        static = LFR(D22=[[1.0]])
        empty = torch.zeros(0, dtype=torch.float64)
        wrong_starts(static, Witness(empty.reshape(0, 0), empty), np.ones((5, 1)))
