"""The least-squares linear model: never worse, within the radius, and unbiased where vector fitting is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.identification.conftest import random_lti, records_of

from eqnets.identification.data import Data
from eqnets.identification.moments import initial_states, moments
from eqnets.identification.output_error import balanced, refine
from eqnets.identification.record import Record
from eqnets.identification.start import largest_radius, spectra, vector_fit
from eqnets.system.lti import LTI
from eqnets.system.simulate import simulate


def error(lti: LTI, x0: torch.Tensor, data: Data) -> float:
    squares, count = 0.0, 0
    for record, x in zip(data.records, x0, strict=True):
        y = simulate(lti.to_lfr(), torch.from_numpy(record.u.copy())[None], x)[0][0].numpy()
        squares, count = squares + float(((y - record.y) ** 2).sum()), count + y.size
    return (squares / count) ** 0.5


def fitted(data: Data, order: int) -> tuple[LTI, torch.Tensor, float]:
    radius = largest_radius(data)
    lti = balanced(vector_fit(spectra(data, torch.Generator().manual_seed(0)), order, radius, data.dt))
    return lti, initial_states(lti.to_lfr(), data, moments(lti.to_lfr(), data)), radius


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_never_worse_and_never_beyond_the_radius(order: int, seed: int) -> None:
    data = records_of(random_lti(3, 2, 2, seed), [200, 90], seed, noise=0.1)
    lti, x0, radius = fitted(data, order)
    better, start = refine(lti, x0, data, radius)
    assert error(better, start, data) <= error(lti, x0, data)
    assert better.spectral_radius() <= radius


@pytest.mark.parametrize("seed", range(3))
def test_coloured_noise_is_not_modelled(seed: int) -> None:
    """Noise of a quarter of the output's size, with a spectrum of its own: the system is found within a few percent."""
    true = random_lti(2, 1, 1, seed, radius=0.8)
    data = records_of(true, [4000], seed)
    noise = records_of(random_lti(2, 1, 1, seed + 50, radius=0.97), [4000], seed + 50).records[0].y
    record = data.records[0]
    noisy = replace(data, records=(Record(record.u, record.y + 0.25 * record.y.std() / noise.std() * noise, "r"),))
    lti, x0, radius = fitted(noisy, 2)
    better, start = refine(lti, x0, noisy, radius)
    assert error(better, start, data) < 0.06 * record.y.std()
    assert error(better, start, data) <= error(lti, x0, data)


@pytest.mark.parametrize("seed", range(3))
def test_balanced_is_the_same_system(seed: int) -> None:
    lti = random_lti(4, 2, 3, seed)
    u = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 80, 2)))
    a, b = (simulate(system.to_lfr(), u)[0] for system in (lti, balanced(lti)))
    assert torch.allclose(a, b, rtol=1e-8, atol=1e-8 * float(a.abs().max()))
    P = balanced(lti)
    controllable = sum(
        (torch.linalg.matrix_power(P.A, k) @ P.B) @ (torch.linalg.matrix_power(P.A, k) @ P.B).mT for k in range(400)
    )
    assert torch.allclose(controllable, torch.diag(torch.diagonal(controllable)), atol=1e-8 * float(controllable.max()))
