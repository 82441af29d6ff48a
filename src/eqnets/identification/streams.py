"""Cut records into streams of equal length that train side by side, each taking over the state its predecessor left.

Truncated back-propagation needs a state at the start of every stretch. The first stream of a record starts from an
initial state that is trained; every other one starts where its predecessor ended in the pass before, so that no sample
is spent on a washout once the first pass is over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eqnets.identification.data import Data


@dataclass(frozen=True, eq=False)
class Streams:
    """Stretches of equal length, padded with zeros that weigh nothing.

    Args:
        u: (stream, time, nu).
        y: (stream, time, ny).
        weight: (stream, time), 1 for a sample that counts and 0 for padding or washout.
        record: (stream,) the record each stretch is from.
        before: (stream,) the stream whose end is this one's start; −1 where the record starts.
        warm: (stream,) whether the stretch starts at the record's start.
    """

    u: Tensor
    y: Tensor
    weight: Tensor
    record: Tensor
    before: Tensor
    warm: Tensor

    def __len__(self) -> int:
        return self.u.shape[0]

    @property
    def length(self) -> int:
        """Samples a stream."""
        return self.u.shape[1]

    def to(self, dtype: torch.dtype) -> Streams:
        """The same streams with signals in another dtype."""
        return Streams(
            self.u.to(dtype), self.y.to(dtype), self.weight.to(dtype), self.record, self.before, self.warm
        )  # fmt: skip

    def part(self, which: Tensor, samples: int) -> Streams:
        """The first samples of some streams (a mask, (stream,)), each by itself: none goes on from another."""
        u, y, weight = (signal[which, :samples] for signal in (self.u, self.y, self.weight))
        return Streams(u, y, weight, self.record[which], torch.full_like(self.before[which], -1), self.warm[which])

    def starting(self, x0: Tensor, carried: Tensor) -> Tensor:
        """(stream, nx): x0 (record, nx) where a record starts, `carried` (stream, nx) elsewhere."""
        return torch.where((self.before < 0)[:, None], x0.to(carried.dtype)[self.record], carried)

    def taken_over(self, starts: Tensor, last: Tensor) -> Tensor:
        """`starts` (stream, nx), with `last` (stream, nx), where streams end, in place where others go on from them."""
        follows = self.before >= 0
        starts = starts.clone()
        starts[follows] = last[self.before[follows]]
        return starts


def training_streams(data: Data, ends: list[int], most: int, shortest: int) -> Streams:
    """The first `ends[i]` samples of record i, cut into consecutive streams.

    Args:
        data: normalised records.
        ends: where the training part of every record stops.
        most: about how many streams there may be.
        shortest: the least length of a stream; short records stay whole.

    Returns:
        The streams, in the order of time within each record.
    """
    length = min(max(ends), max(shortest, -(-sum(ends) // most)))
    pieces = [
        (i, start, min(start + length, end), start) for i, end in enumerate(ends) for start in range(0, end, length)
    ]
    return _cut(data, pieces, length)


def validation_streams(data: Data, starts: list[int], washout: int, length: int) -> Streams:
    """The samples of record i from `starts[i]` on, each stretch led in by up to `washout` samples that do not count.

    Args:
        data: normalised records.
        starts: where the validation part of every record begins.
        washout: the length of the lead-in, shorter where the record starts within it.
        length: the length of a stretch without its lead-in.

    Returns:
        The streams; `warm` marks those whose lead-in reaches the start of the record.
    """
    pieces = [
        (i, max(0, start - washout), min(start + length, len(record)), start)
        for i, (record, first) in enumerate(zip(data.records, starts, strict=True))
        for start in range(first, len(record), length)
    ]
    return _cut(data, pieces, max(stop - start for _, start, stop, _ in pieces))


def _cut(data: Data, pieces: list[tuple[int, int, int, int]], length: int) -> Streams:
    """Pieces are (record, first sample, the sample after the last, first sample that counts)."""
    n = len(pieces)
    u, y = np.zeros((n, length, data.nu)), np.zeros((n, length, data.ny))
    weight = np.zeros((n, length))
    before, ends = [], {}
    for k, (i, start, stop, counts) in enumerate(pieces):
        u[k, : stop - start], y[k, : stop - start] = data.records[i].u[start:stop], data.records[i].y[start:stop]
        weight[k, counts - start : stop - start] = 1.0
        before.append(ends.get((i, start), -1) if start else -1)
        ends[i, stop] = k
    return Streams(
        torch.from_numpy(u), torch.from_numpy(y), torch.from_numpy(weight),
        torch.tensor([i for i, *_ in pieces]), torch.tensor(before), torch.tensor([start == 0 for _, start, *_ in pieces]),  # noqa: E501
    )  # fmt: skip
