"""What training records show of a model's states: their moments, the size of the error, where each record starts."""

from __future__ import annotations

import torch
from torch import Tensor

from eqnets.identification.data import Data
from eqnets.identification.initial_state import Prior, estimate_x0
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate

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


def moments(lfr: LFR, heads: Data, x0: Tensor | None = None) -> Prior:
    """Mean and covariance of the states, and the standard deviation of the output error, on normalised records.

    Args:
        lfr: the model between normalised signals, float64.
        heads: normalised records.
        x0: (record, nx) the records' initial states; None is zero.

    Returns:
        The prior of a record's initial state.
    """
    start = torch.zeros(len(heads.records), lfr.nx, dtype=torch.float64) if x0 is None else x0.to(torch.float64)
    eye, zero = torch.eye(lfr.nx, dtype=torch.float64), torch.zeros
    seen = lfr.replace(  # the states, as further outputs
        C2=torch.cat([lfr.C2, eye]),
        D21=torch.cat([lfr.D21, zero(lfr.nx, lfr.nv, dtype=torch.float64)]),
        D22=torch.cat([lfr.D22, zero(lfr.nx, lfr.nu, dtype=torch.float64)]),
        by=torch.cat([lfr.by, zero(lfr.nx, dtype=torch.float64)]), y_names=None, y_units=None,
    )  # fmt: skip
    states, errors = [], []
    for record, x in zip(heads.records, start, strict=True):
        n = min(len(record), max(500, _SEEN // len(heads.records)))
        with torch.no_grad():
            both = simulate(seen, torch.from_numpy(record.u[:n].copy())[None], x[None])[0][0]
        states.append(both[:, lfr.ny :])
        errors.append((both[:, : lfr.ny] - torch.from_numpy(record.y[:n].copy()))[n // 4 :])
    every = torch.cat(states)
    covariance = torch.cov(every.mT).reshape(lfr.nx, lfr.nx)
    floor = 1e-8 * max(float(torch.diagonal(covariance).max()) if lfr.nx else 0.0, 1e-12)
    noise = torch.cat(errors).square().mean(0).sqrt().clamp(min=1e-6)
    return Prior(every.mean(0), covariance + floor * eye, noise)
