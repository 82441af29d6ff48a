"""Input delays: taken out of the data before training, put back as states of the deployed model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from eqnets.certification import Certificate, Contracting, Lipschitz, certify
from eqnets.errors import DataError, InputError, NotCertified
from eqnets.identification.data import Data
from eqnets.identification.describe import describe
from eqnets.identification.guarantee import Guarantee, Promise
from eqnets.identification.initial_state import Prior
from eqnets.identification.kinds import KINDS
from eqnets.identification.record import Record
from eqnets.system.delay import contracting_witness, delayed, gain_witness
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness

Delay = int | Sequence[int] | str
"""Samples: one number for all inputs, one for each, or "auto"."""


def settle_delay(delay: Delay, data: Data, model: str, guarantee: Promise) -> tuple[tuple[int, ...], list[str]]:
    """The delay of every input, and what "auto" could not tell.

    "auto" takes one sample less than the first lag at which an output answers the input, so that an estimate that is
    one sample too long does no harm: a model learns a short delay, but cannot answer before it sees.

    Args:
        delay: what was asked for.
        data: the training records.
        model: a key of `KINDS`.
        guarantee: what the model promises.

    Returns:
        (nu) samples, and a sentence for every input whose answer does not stand out from the noise: its delay is 0.

    Raises:
        InputError: not whole numbers of at least 0, one for all inputs or one for each; or a model or guarantee that
            does not allow a delay.
        DataError: a record is not longer than the delay.
    """
    doubts: list[str] = []
    if delay == "auto":
        found = {name: [g.samples for g in describe(data).delays if g.input == name] for name in data.u_names}
        lags = [[lag for lag in found[name] if lag is not None] for name in data.u_names]
        delays = tuple(max(min(each) - 1, 0) if each else 0 for each in lags)
        doubts = [
            f"No answer to the input '{name}' stands out from the noise; its delay is taken as 0. Give it with delay= "
            "(--delay), if you know it."
            for name, each in zip(data.u_names, lags, strict=True)
            if not each
        ]
    else:
        asked = list(delay) if isinstance(delay, list | tuple) else [delay] * data.nu
        delays = tuple(d for d in asked if isinstance(d, int) and not isinstance(d, bool) and d >= 0)
        if len(asked) != data.nu or len(delays) < len(asked):
            raise InputError(
                f"delay is 'auto', a whole number of samples of at least 0, or one for each of the {data.nu} inputs; "
                f"got {delay!r}."
            )
    if not any(delays):
        return delays, doubts
    if not KINDS[model].fused:
        raise InputError(f"a {KINDS[model].title} has no states to put a delay into; leave delay out, it may learn it.")
    if guarantee != "none" and not isinstance(guarantee, Contracting | Lipschitz):
        raise InputError(
            f"a delay does not keep {guarantee!r}: behind one, the output answers what the input was. Ask for "
            "Contracting(), Lipschitz(gamma) or 'none', or leave delay out."
        )
    if min(data.lengths) < max(delays) + 2:
        raise DataError(f"a record has {min(data.lengths)} samples, too few for a delay of {max(delays)}; drop it.")
    return delays, doubts


def undelayed(data: Data, delays: Sequence[int]) -> Data:
    """Every output beside the inputs that it answers; the first outputs, whose inputs came before the record, go.

    Args:
        data: the records.
        delays: (nu) samples.

    Returns:
        Records that are shorter by the longest delay.
    """
    longest = max(delays)
    if longest == 0:
        return data
    records = []
    for record in data.records:
        n = len(record)
        u = np.stack([record.u[longest - d : n - d, j] for j, d in enumerate(delays)], axis=1)
        records.append(Record(u, record.y[longest:], record.name))
    return replace(data, records=tuple(records))


def with_registers(prior: Prior, delays: Sequence[int]) -> Prior:
    """The prior of a model and of the registers before it: they hold normalised inputs, of mean 0 and variance 1."""
    n = sum(delays)
    covariance = torch.block_diag(torch.eye(n, dtype=torch.float64), prior.covariance)
    mean = torch.cat([prior.mean.new_zeros(n), prior.mean])
    return replace(prior, mean=mean, covariance=covariance, delay=max(delays))


def certify_delayed(
    guarantee: Guarantee, lfr: LFR, normalised: LFR, witness: Witness, delays: Sequence[int]
) -> Certificate:
    """Prove a guarantee of the deployed model, delays and all.

    Args:
        guarantee: `Contracting` or `Lipschitz`; any other where there is no delay.
        lfr: the deployed model in physical units, with its registers.
        normalised: the model between normalised signals, without them.
        witness: of the guarantee, for `normalised`.
        delays: (nu) samples.

    Returns:
        The certificate.

    Raises:
        NotCertified: what the training leaves to spare is not enough for the registers.
    """  # noqa: DOC502
    if not any(delays):
        return certify(guarantee, lfr, witness)
    if isinstance(guarantee, Contracting):
        return certify(guarantee, lfr, contracting_witness(normalised, witness, delays, guarantee.rate))
    for slack in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        try:
            return certify(guarantee, lfr, gain_witness(witness, delays, slack))
        except NotCertified:
            continue  # the witness spares less than that
    return certify(guarantee, lfr, gain_witness(witness, delays, 1e-6))


__all__ = ["Delay", "certify_delayed", "delayed", "settle_delay", "undelayed", "with_registers"]
