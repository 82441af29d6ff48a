"""What `identify` asks of the search, and how every training of the search begins and runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eqnets.identification.data import Data
from eqnets.identification.guarantee import Promise
from eqnets.identification.kinds import KINDS, begin
from eqnets.identification.normaliser import Normaliser
from eqnets.identification.order import Linear
from eqnets.identification.schedule import Lengths, Schedule
from eqnets.identification.streams import Streams, training_streams

_LONG, _WHOLE, _CUT = (64, 2048), (1, 2048), (8, 128)
"""About how many streams, and their least length: of long records, of short ones, of short ones for slow rollouts."""
_SEGMENT = {False: 2048, True: 256}
_IN_UNITS = {False: 10.0, True: 0.5}
"""The learning rate where every parameter moves by its own unit, over that where all move alike."""


@dataclass(frozen=True)
class Plan:
    """What `identify` asks of the search; the arguments of the same names, settled.

    Args:
        model: a key of `kinds.KINDS`.
        guarantee: in physical units, or "none".
        normaliser: of the signals.
        nx: number of states, or None.
        nv: number of neurons.
        activation: a name.
        seed: of the first start; each further one adds 1.
        restarts: how many starts.
        refit: whether to train the chosen one again on everything.
        deadline: by `time.monotonic`.
        steps: of every start, a share of them of second order; None for the deadline.
        learning_rate: of Adam, where all parameters move alike; in units it is half for long records, and ten times as
            high for short ones.
        in_units: whether every parameter moves by its own unit, see `units`; None lets short trials tell.
        long: whether the records count as long.
        workers: how many processes share the starts.
        warm: a trained network and its initial states to begin at, or None; see `kinds.begin`.
        widths: numbers of neurons that short trials choose from, in place of `nv`; empty where nv is settled.
    """

    model: str
    guarantee: Promise
    normaliser: Normaliser
    nx: int | None
    nv: int
    activation: str
    seed: int
    restarts: int
    refit: bool
    deadline: float
    steps: int | None
    learning_rate: float
    long: bool
    workers: int = 1
    warm: tuple[nn.Module, Tensor] | None = None
    widths: tuple[int, ...] = ()
    in_units: bool | None = None

    @property
    def varies(self) -> bool:
        """Whether starts have more states than the best linear model, for what it cannot show."""
        return self.nx is None and KINDS[self.model].states

    @property
    def grows(self) -> bool:
        """Whether short trials choose the number of states."""
        kind = KINDS[self.model]
        return self.long and self.nx is None and self.warm is None and kind.states and kind.neurons

    def random(self) -> torch.Generator:
        """A generator that draws the same numbers every time."""
        return torch.Generator().manual_seed(self.seed)

    def begin(self, start: Linear, seed: int) -> tuple[nn.Module, Tensor, list[str]]:
        """The module that training begins with, the records' initial states (record, nx), and notes."""
        return begin(
            self.model, self.guarantee, self.normaliser, start, self.nv, self.activation, seed, self.warm
        )  # fmt: skip

    def streams(self, normal: Data, ends: list[int]) -> Streams:
        """The training streams of the first `ends[i]` samples of record i."""
        most, shortest = _LONG if self.long else _WHOLE if KINDS[self.model].fused else _CUT
        return training_streams(normal, ends, most, shortest)

    def schedule(self, lengths: Lengths) -> Schedule:
        """The schedule of a training of that length."""
        share = _IN_UNITS[self.long] if self.in_units else 1.0
        return Schedule(
            steps=lengths.steps, finish=lengths.blocks, block=lengths.block, seconds=lengths.seconds,
            segment=_SEGMENT[self.long], learning_rate=self.learning_rate * share,
            dtype=torch.float32 if self.long else torch.float64, in_units=bool(self.in_units),
        )  # fmt: skip
