"""Choose the order of the linear start on the validation tails."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.initial_state import Prior
from eqnets.identification.moments import initial_states, moments
from eqnets.identification.output_error import balanced, refine
from eqnets.identification.simulation_error import validation_rmse
from eqnets.identification.start import largest_radius, spectra, vector_fit
from eqnets.identification.streams import Streams
from eqnets.system.lti import LTI

LONG = 20_000
"""From this many training samples on, records count as long: more orders, more neurons, truncated sequences."""

_ORDERS = {False: (1, 2, 3, 4, 5, 6), True: (2, 4, 6, 8, 12, 16, 20, 24)}
_CLOSE = 1.02


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear model between normalised signals.

    Args:
        lti: the model.
        prior: of its initial state.
        x0: (record, nx) the records' initial states.
        val_rmse: its root mean square error on the validation streams.
    """

    lti: LTI
    prior: Prior
    x0: Tensor
    val_rmse: float


def linear_models(heads: Data, check: Streams, orders: list[int], generator: torch.Generator) -> list[Linear]:
    """The best linear models of the given orders, each with its error on the validation streams.

    Args:
        heads: the normalised training parts.
        check: the normalised validation streams.
        orders: the numbers of states, rising; those the records are too short for are left out if one remains.
        generator: draws the frequency bins of long records.

    Returns:
        One an order.

    Raises:
        DataError: the records are too short for every order.
    """  # noqa: DOC502
    bins, radius, found = spectra(heads, generator), largest_radius(heads), []
    for k, order in enumerate(orders):
        try:
            lti = vector_fit(bins, order, radius, heads.dt)
        except DataError:
            if k == 0:
                raise
            break
        long = heads.n_samples > LONG  # of short records validation does not tell the two apart
        lti = balanced(lti) if long else lti
        lfr = lti.to_lfr()
        prior = moments(lfr, heads)
        x0 = initial_states(lfr, heads, prior)
        if long:
            lti, x0 = refine(lti, x0, heads, radius)
            lfr = lti.to_lfr()
            prior = moments(lfr, heads, x0)
        found.append(Linear(lti, prior, x0, validation_rmse(lfr, check, x0)))
    return found


def choose_linear(heads: Data, check: Streams, nx: int | None, generator: torch.Generator) -> Linear:
    """The linear model of order nx; or of the smallest order within 2 % of the best error on the validation streams.

    Every order is tried: a structure's modes may show only after several orders that gain nothing.

    Args:
        heads: the normalised training parts.
        check: the normalised validation streams.
        nx: the order, or None to choose it.
        generator: draws the frequency bins of long records.

    Returns:
        The model with its error.
    """
    orders = list(_ORDERS[heads.n_samples > LONG]) if nx is None else [nx]
    found = linear_models(heads, check, orders, generator)
    best = min(model.val_rmse for model in found)
    return next(model for model in found if model.val_rmse <= _CLOSE * best)
