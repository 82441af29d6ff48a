"""Measured data: records of equal channels and one sample time, checked once and never changed afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eqnets.errors import DataError
from eqnets.identification.record import Record, Source, positive_dt, same_dt


@dataclass(frozen=True, eq=False)
class Data:
    """Records with the same channels, units and sample time.

    Args:
        records: at least one `Record`; their lengths may differ.
        dt: the sample time in seconds.
        u_names: one name per input; left out: u1, u2, …
        y_names: one name per output; left out: y1, y2, …
        u_units: one unit per input, "" where it is unknown.
        y_units: one unit per output, "" where it is unknown.
        sources: the files that the records come from.

    Raises:
        DataError: no record, different numbers of channels, a sample time that is not positive, names that repeat.
    """

    records: tuple[Record, ...]
    dt: float
    u_names: tuple[str, ...] = ()
    y_names: tuple[str, ...] = ()
    u_units: tuple[str, ...] = ()
    y_units: tuple[str, ...] = ()
    sources: tuple[Source, ...] = field(default=())

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "records", tuple(self.records))
        put(self, "sources", tuple(self.sources))
        if not self.records or not all(isinstance(record, Record) for record in self.records):
            raise DataError("data needs at least one Record; read a file with eqnets.read.")
        put(self, "dt", positive_dt(self.dt))
        for letter in ("u", "y"):
            widths = {getattr(record, letter).shape[1] for record in self.records}
            if len(widths) > 1:
                raise DataError(f"the records have different numbers of channels in {letter}: {sorted(widths)}.")
            n = widths.pop()
            if n == 0:
                raise DataError(f"the records have no channel in {letter}; name at least one.")
            names = _labels(getattr(self, f"{letter}_names"), n, f"{letter}_names")
            names = names or tuple(f"{letter}{i + 1}" for i in range(n))
            put(self, f"{letter}_names", names)
            put(self, f"{letter}_units", _labels(getattr(self, f"{letter}_units"), n, f"{letter}_units") or ("",) * n)
        names = (*self.u_names, *self.y_names)
        for name in names:
            if not name:
                raise DataError("a channel name is empty; give every channel a name.")
            if names.count(name) > 1:
                raise DataError(f"the channel '{name}' is named twice; every channel is one input or one output.")

    @property
    def nu(self) -> int:
        """The number of inputs."""
        return len(self.u_names)

    @property
    def ny(self) -> int:
        """The number of outputs."""
        return len(self.y_names)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of samples of each record."""
        return tuple(len(record) for record in self.records)

    @property
    def n_samples(self) -> int:
        """The number of samples of all records together."""
        return sum(self.lengths)

    @property
    def duration(self) -> float:
        """The length of all records together, in seconds."""
        return self.n_samples * self.dt

    def fingerprint(self) -> dict[str, Any]:
        """What tells these records from others: digests, channels, lengths and sample time; fits in JSON."""
        return {
            "data": [source.sha256 for source in self.sources], "channels": [list(self.u_names), list(self.y_names)],
            "lengths": list(self.lengths), "dt": self.dt,
        }  # fmt: skip

    def split(self, val: float = 0.2) -> tuple[Data, Data]:
        """A training part and a validation part: the contiguous tail of every record is for validation.

        Args:
            val: the share of every record that goes into its tail, 0 < val < 1.

        Returns:
            (train, val), each with as many records as this one.

        Raises:
            DataError: `val` lies outside (0, 1), or a part of a record would have fewer than two samples.
        """
        if not 0.0 < val < 1.0:
            raise DataError(f"val is a share between 0 and 1, not {val}; 0.2 takes the last fifth of every record.")
        heads, tails = [], []
        for record in self.records:
            n = len(record)
            cut = n - round(val * n)
            if min(cut, n - cut) < 2:
                raise DataError(
                    f"{record.name} has {n} samples, too few to set {val:g} of them aside; leave it out or change val."
                )
            heads.append(record.cut(0, cut, f"[:{cut}]"))
            tails.append(record.cut(cut, n, f"[{cut}:]"))
        return replace(self, records=tuple(heads)), replace(self, records=tuple(tails))

    def slice(self, start: int | None, stop: int | None) -> Data:
        """The samples `start` to `stop` (exclusive) of every record, with the rules of Python slices.

        Args:
            start: first sample; None for the beginning, negative from the end.
            stop: the sample after the last one; None for the end, negative from the end.

        Returns:
            The shortened data.

        Raises:
            DataError: a record ends before `stop`, or fewer than two samples remain.
        """
        cut = []
        for record in self.records:
            n = len(record)
            for bound in (start, stop):
                if bound is not None and not -n <= bound <= n:
                    raise DataError(f"{record.name} has {n} samples; it cannot be cut at {bound}.")
            first, last, _ = slice(start, stop).indices(n)
            if last - first < 2:
                raise DataError(f"[{first}:{last}] leaves {max(last - first, 0)} samples of {record.name}; leave two.")
            cut.append(record.cut(first, last, f"[{first}:{last}]"))
        return replace(self, records=tuple(cut))

    def head(self, n: int) -> Data:
        """The first `n` samples of every record; shorter records stay whole.

        Args:
            n: the number of samples, at least two.

        Returns:
            The shortened data.

        Raises:
            DataError: n < 2.
        """
        if n < 2:
            raise DataError(f"head({n}) leaves no record; keep at least two samples.")
        return replace(self, records=tuple(r if len(r) <= n else r.cut(0, n, f"[:{n}]") for r in self.records))

    def channels(self, u: Sequence[str] | None = None, y: Sequence[str] | None = None) -> Data:
        """The named channels only, in the order asked for.

        Args:
            u: names of inputs; None keeps all.
            y: names of outputs; None keeps all.

        Returns:
            The narrower data; a name that is not there is a DataError.
        """
        ui, yi = _positions(u, self.u_names, "input"), _positions(y, self.y_names, "output")
        return replace(
            self,
            records=tuple(Record(r.u[:, ui], r.y[:, yi], r.name) for r in self.records),
            u_names=tuple(self.u_names[i] for i in ui),
            y_names=tuple(self.y_names[i] for i in yi),
            u_units=tuple(self.u_units[i] for i in ui),
            y_units=tuple(self.y_units[i] for i in yi),
        )

    def difference(self, *outputs: str) -> Data:
        """The named outputs replaced by their rates of change (y_{t+1} − y_t)/dt; records lose their last sample.

        What integrates its input (a position) cannot be contracting, its rate (a velocity) can. The output is
        y_0 + dt·(the rates' running sum); that sum is covered by no certificate of the rate's model.

        Args:
            outputs: names.

        Returns:
            The data, with outputs named `Δname/Δt` in their unit per second.

        Raises:
            DataError: there is no such output, or none is named.
        """
        if not outputs:
            raise DataError(f"name the outputs to replace by their rates; there is {', '.join(self.y_names)}.")
        chosen = _positions(outputs, self.y_names, "output")
        records = []
        for record in self.records:
            y = record.y[:-1].copy()
            y[:, chosen] = (record.y[1:, chosen] - record.y[:-1, chosen]) / self.dt
            records.append(Record(record.u[:-1], y, record.name))
        names, units = list(self.y_names), list(self.y_units)
        for i in chosen:
            names[i], units[i] = f"Δ{names[i]}/Δt", f"{units[i]}/s" if units[i] else ""
        return replace(self, records=tuple(records), y_names=tuple(names), y_units=tuple(units))

    def join(self, *others: Data | Iterable[Data]) -> Data:
        """These records and those of the others, as one.

        Args:
            others: data (or lists of data) with the same channels, units and sample time.

        Returns:
            The joined data; sources are listed once.

        Raises:
            DataError: the channels, units or sample times differ.
        """
        records, sources = list(self.records), list(self.sources)
        flat = [d for other in others for d in ([other] if isinstance(other, Data) else other)]
        for other in flat:
            if not same_dt(self.dt, other.dt):
                raise DataError(f"sample times {self.dt:g} s and {other.dt:g} s cannot be joined; resample one.")
            for what in ("u_names", "y_names", "u_units", "y_units"):
                mine, theirs = getattr(self, what), getattr(other, what)
                if mine != theirs:
                    raise DataError(f"{what} {list(mine)} and {list(theirs)} cannot be joined; select equal ones.")
            records += other.records
            sources += [source for source in other.sources if source not in sources]
        return replace(self, records=tuple(records), sources=tuple(sources))


def _labels(labels: Sequence[str], n: int, what: str) -> tuple[str, ...]:
    if isinstance(labels, str):
        labels = (labels,)
    if labels and len(labels) != n:
        raise DataError(f"{what} has {len(labels)} entries for {n} channels: {list(labels)}; give one per channel.")
    return tuple(str(label) for label in labels)


def _positions(wanted: Sequence[str] | None, names: tuple[str, ...], what: str) -> list[int]:
    if wanted is None:
        return list(range(len(names)))
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in wanted:
        if name not in names:
            raise DataError(f"there is no {what} '{name}'; there is {', '.join(names)}.")
    return [names.index(name) for name in wanted]
