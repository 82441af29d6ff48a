"""The error of a model over frequency: the true one lies below the bound, and the bound below the weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.identification.conftest import random_lti, records_of

import eqnets as eq
from eqnets.errors import DataError, InputError
from eqnets.identification.identified import Identified
from eqnets.identification.initial_state import Prior
from eqnets.identification.weight import smallest_weight
from eqnets.system.lti import LTI


def known(lti: LTI) -> Identified:
    eye = torch.eye(lti.nx, dtype=torch.float64)
    return Identified(lti.to_lfr(), Prior(eye[0] * 0, eye, torch.full((lti.ny,), 0.1, dtype=torch.float64)))


def wrong(lti: LTI) -> LTI:
    return LTI(0.95 * lti.A, 1.1 * lti.B, lti.C, lti.D, lti.dt)


def true_error(plant: LTI, model: LTI, hertz: np.ndarray) -> np.ndarray:
    omega = torch.from_numpy(2 * np.pi * hertz)
    return (plant.frequency_response(omega) - model.frequency_response(omega)).abs().numpy()


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2)])
def test_the_true_error_lies_below_the_bound_as_often_as_stated(sizes: tuple[int, int]) -> None:
    misses = 0
    for seed in range(12):
        plant = random_lti(2, *sizes, seed=seed, radius=0.7)
        found = eq.model_error(known(wrong(plant)), records_of(plant, [1500, 1500], seed, noise=0.2))
        truth = true_error(plant, wrong(plant), found.hertz)
        misses += bool(((truth > found.upper) & found.excited[:, None, :]).any())
        assert (found.estimate <= found.upper).all()
    assert misses <= 3  # of 12 at 5 %: more has a probability of 0.2 %


def test_more_data_bring_the_bound_of_a_true_model_down() -> None:
    plant = random_lti(2, 1, 1, seed=1, radius=0.7)
    sizes = [eq.model_error(known(plant), records_of(plant, [n], 0, noise=0.2)).upper.mean() for n in (10_000, 160_000)]
    assert sizes[1] == pytest.approx(sizes[0] / 4, rel=0.5)


@pytest.mark.parametrize("order", [2, 4])
def test_the_weight_bounds_the_bound_and_is_stable_with_its_inverse(order: int) -> None:
    plant = random_lti(3, 2, 1, seed=4, radius=0.8)
    found = eq.model_error(known(wrong(plant)), records_of(plant, [6000], 0, noise=0.1))
    for j in range(2):
        weight = found.weight(0, j, order)
        there = found.excited[:, j]
        size = weight.frequency_response(torch.from_numpy(2 * np.pi * found.hertz[there])).abs().numpy()[:, 0, 0]
        assert (size >= found.upper[there, 0, j]).all()
        assert weight.nx == order and weight.spectral_radius() < 1
        inverse = weight.A - weight.B @ weight.C / weight.D
        assert torch.linalg.eigvals(inverse).abs().max() < 1


def test_a_weight_finds_a_curve_of_its_own_kind() -> None:
    hertz = np.linspace(0.05, 4.9, 200)
    z = np.exp(2j * np.pi * hertz * 0.1)
    curve = 3 * np.abs((1 - 0.8 / z + 0.3 / z**2) / (1 - 1.2 / z + 0.6 / z**2))
    found = smallest_weight(hertz, curve, 2, 0.1).frequency_response(torch.from_numpy(2 * np.pi * hertz)).abs().numpy()
    assert (found[:, 0, 0] >= curve).all() and (found[:, 0, 0] <= 1.2 * curve).all()


def test_a_curve_of_zeros_has_a_weight_of_zero() -> None:
    assert float(smallest_weight(np.ones(3), np.zeros(3), 2, 0.1).D) == 0


def test_it_says_that_it_is_no_proof_and_refuses_what_cannot_be() -> None:
    plant = random_lti(2, 1, 1, seed=0)
    data = records_of(plant, [1200], 0, noise=0.1)
    assert "not a proof" in eq.model_error(known(plant), data).sentence
    with pytest.raises(InputError, match="between 0 and 1"):
        eq.model_error(known(plant), data, confidence=1.0)
    with pytest.raises(InputError, match="even"):
        eq.model_error(known(plant), data).weight(order=3)
    with pytest.raises(DataError, match="too short"):
        eq.model_error(known(plant), data.head(500))
