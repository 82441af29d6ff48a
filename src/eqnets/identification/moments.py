"""What training records show of a model's states: their moments, the size of the error, where each record starts."""

from __future__ import annotations

import torch
from torch import Tensor

from eqnets.errors import NotConverged
from eqnets.identification.data import Data
from eqnets.identification.dynamics import trajectory
from eqnets.identification.initial_state import Prior, estimate_x0
from eqnets.models import BlackBox
from eqnets.system.lfr import LFR

_SEEN = 32_768
"""Samples that suffice to know moments."""


def initial_states(lfr: LFR, heads: Data, prior: Prior, n: int = 100) -> Tensor:
    """The state each record starts from, estimated from its first samples.

    Args:
        lfr: the model between normalised signals.
        heads: normalised records.
        prior: of the model's states.
        n: how many samples to use.

    Returns:
        (record, nx), float64.
    """
    lfr = lfr.detach().to(torch.float64)
    first = [(torch.from_numpy(r.u[:n].copy()), torch.from_numpy(r.y[:n].copy())) for r in heads.records]
    return torch.stack([estimate_x0(lfr, u, y, prior) for u, y in first])


def moments(system: LFR | BlackBox, heads: Data, x0: Tensor | None = None) -> Prior:
    """Mean and covariance of the states, and the standard deviation of the output error, on normalised records.

    Args:
        system: the model between normalised signals, float64.
        heads: normalised records.
        x0: (record, nx) the records' initial states; None is zero.

    Returns:
        The prior of a record's initial state.

    Raises:
        NotConverged: the simulation is not finite.
    """
    start = torch.zeros(len(heads.records), system.nx, dtype=torch.float64) if x0 is None else x0.to(torch.float64)
    states, errors = [], []
    for record, x in zip(heads.records, start, strict=True):
        n = min(len(record), max(500, _SEEN // len(heads.records)))
        y, seen = trajectory(system, torch.from_numpy(record.u[:n].copy()), x)
        states.append(seen)
        errors.append((y - torch.from_numpy(record.y[:n].copy()))[n // 4 :])
    every = torch.cat(states)
    if not (bool(torch.isfinite(every).all()) and all(bool(torch.isfinite(error).all()) for error in errors)):
        raise NotConverged("the model runs away on its own training records; train longer, or ask for a guarantee.")
    covariance = torch.cov(every.mT).reshape(system.nx, system.nx)
    floor = 1e-8 * max(float(torch.diagonal(covariance).max()) if system.nx else 0.0, 1e-12)
    noise = torch.cat(errors).square().mean(0).sqrt().clamp(min=1e-6)
    return Prior(every.mean(0), covariance + floor * torch.eye(system.nx, dtype=torch.float64), noise)
