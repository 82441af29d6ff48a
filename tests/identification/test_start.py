"""The linear start: it finds the linear system that made the data, and is stable whatever made it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.identification.conftest import random_lti, records_of

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.order import choose_linear
from eqnets.identification.record import Record
from eqnets.identification.start import balanced_truncation, largest_radius, spectra, vector_fit
from eqnets.identification.streams import validation_streams
from eqnets.system.lti import LTI, hinf_norm


def difference(a: LTI, b: LTI) -> LTI:
    return LTI(torch.block_diag(a.A, b.A), torch.cat([a.B, b.B]), torch.cat([a.C, -b.C], 1), a.D - b.D, a.dt)


def fitted(data: Data, order: int) -> LTI:
    return vector_fit(spectra(data, torch.Generator().manual_seed(0)), order, largest_radius(data), data.dt)


@pytest.mark.parametrize(("nu", "ny"), [(1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("nx", [1, 3, 4])
def test_it_finds_the_system_that_made_the_records(nx: int, nu: int, ny: int) -> None:
    """Without noise, exactly: from several lengths and from initial states that are not zero."""
    for seed in range(3):
        truth = random_lti(nx, nu, ny, seed)
        found = fitted(records_of(truth, [300, 411], seed), nx)
        assert found.nx == nx
        assert hinf_norm(difference(truth, found)) <= 1e-6 * hinf_norm(truth)


def test_it_is_stable_whatever_made_the_data() -> None:
    rng = np.random.default_rng(0)
    for growth in (1.0, 1.01):  # an integrator, and a system that explodes
        u, y = rng.standard_normal((400, 1)), np.zeros((400, 1))
        for t in range(399):
            y[t + 1] = growth * y[t] + u[t]
        data = Data((Record(u, y),), dt=1.0)
        for order in (1, 2, 5):
            assert fitted(data, order).spectral_radius() <= largest_radius(data) * (1 + 1e-9) < 1


def test_too_short_for_the_order() -> None:
    with pytest.raises(DataError, match="order 9"):
        fitted(records_of(random_lti(2, 1, 1, 0), [12], 0), 9)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_balanced_truncation_keeps_its_bound(order: int) -> None:
    """‖G − Gr‖∞ ≤ 2 Σ of the Hankel singular values cut off (Enns 1984)."""
    for seed in range(3):
        lti = random_lti(6, 2, 2, seed)
        A, B, C = (m.numpy() for m in (lti.A, lti.B, lti.C))
        eye = np.eye(36)
        gramians = [
            np.linalg.solve(eye - np.kron(M, M), (N @ N.T).flatten()).reshape(6, 6) for M, N in ((A, B), (A.T, C.T))
        ]
        hankel = np.sqrt(np.sort(np.linalg.eigvals(gramians[0] @ gramians[1]).real)[::-1])
        small = balanced_truncation(lti, order)
        assert small.nx == order and small.spectral_radius() < 1
        assert hinf_norm(difference(lti, small)) <= 2 * hankel[order:].sum() * (1 + 1e-6)


def test_the_order_is_chosen_on_validation() -> None:
    data = records_of(random_lti(3, 1, 1, 4), [600], 1, noise=0.01)
    check = validation_streams(data, [480], 100, 600)
    heads = data.split(0.2)[0]
    generator = torch.Generator().manual_seed(0)
    chosen = choose_linear(heads, check, None, generator)
    assert chosen.lti.nx == 3
    assert choose_linear(heads, check, 2, generator).lti.nx == 2
