"""Streams: every sample of the training part counts once, and every stream starts where its predecessor ended."""

from __future__ import annotations

import numpy as np
import torch

from eqnets.identification.data import Data
from eqnets.identification.record import Record
from eqnets.identification.streams import training_streams, validation_streams


def clocks(lengths: list[int]) -> Data:
    """Records whose u is a running number over all of them, so that a sample can be told from any other."""
    start = np.cumsum([0, *lengths])
    records = [np.arange(a, b, dtype=float)[:, None] for a, b in zip(start, start[1:], strict=False)]
    return Data(tuple(Record(u, -u) for u in records), dt=1.0)


def test_every_training_sample_counts_once() -> None:
    lengths, ends = [50, 7, 33], [40, 5, 33]
    data = clocks(lengths)
    for most, shortest in ((1, 100), (4, 5), (8, 3)):
        streams = training_streams(data, ends, most, shortest)
        counted = streams.u[:, :, 0][streams.weight > 0]
        first = np.cumsum([0, *lengths])
        expected = [float(a + k) for a, end in zip(first, ends, strict=False) for k in range(end)]
        assert sorted(counted.tolist()) == expected
        assert torch.equal(streams.y[streams.weight > 0], -streams.u[streams.weight > 0])


def test_a_stream_starts_where_the_one_before_it_ended() -> None:
    streams = training_streams(clocks([50, 23]), [40, 23], 8, 3)
    assert bool((streams.before >= 0).any())
    for k in range(len(streams)):
        before = int(streams.before[k])
        assert (before < 0) == bool(streams.warm[k])
        if before >= 0:
            last = streams.u[before, int(streams.weight[before].sum()) - 1, 0]
            assert streams.u[k, 0, 0] == last + 1 and streams.record[k] == streams.record[before]


def test_validation_counts_the_tails_once_after_a_washout() -> None:
    lengths, starts = [50, 23], [40, 18]
    data = clocks(lengths)
    for washout, length in ((10, 4), (30, 100), (0, 3)):
        streams = validation_streams(data, starts, washout, length)
        counted = sorted(streams.u[:, :, 0][streams.weight > 0].tolist())
        assert counted == [*range(40, 50), *range(50 + 18, 50 + 23)]
        for k in range(len(streams)):
            first = int(torch.nonzero(streams.weight[k])[0])
            assert first <= washout and (first == washout or bool(streams.warm[k]))
