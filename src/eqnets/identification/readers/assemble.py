"""Tables to records: the same channels from every file, one sample time, finite numbers, channels that move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.readers.clock import agree, likely, pieces, seconds, unread
from eqnets.identification.readers.table import Channel, Table
from eqnets.identification.record import Record, Source, is_constant, same_dt


def assemble(
    tables: list[Table],
    u: list[str],
    y: list[str],
    dt: float | None,
    time: str | None,
    units: dict[str, str],
    split: bool,
) -> Data:
    """The data that the named channels of all tables make up.

    Args:
        tables: the files or frames, in order.
        u: names of the inputs.
        y: names of the outputs.
        dt: the caller's sample time in seconds, or None.
        time: the name of the time column, or None.
        units: units by channel name.
        split: whether gaps and missing values separate records.

    Returns:
        The data.

    Raises:
        DataError: one sentence with the file, the row or column, and the remedy.
    """
    records: list[Record] = []
    sources: list[Source] = []
    agreed: tuple[float, str] | None = None
    steps: tuple[float, str] | None = None
    slack, loosest = 0.0, 0.0
    first: tuple[list[Channel], list[Channel]] | None = None
    for table in tables:
        inputs, outputs, clock = _select(table, u, y, time, units)
        if first is None:
            first = inputs, outputs
        _same_channels(tables[0], first[0] + first[1], table, inputs + outputs)
        stated, evidence = agree(dt, table)
        n = len(inputs[0].values)
        if n < 2:
            raise DataError(f"{table.file} has {n} sample{'s' * (n != 1)}; a record needs at least two: leave it out.")
        ranges, dropped = _finite(table, inputs + outputs, split)
        if clock is not None:
            ranges, told, slack, evidence = _timed(table, clock, ranges, stated, split)
            stated = dt if dt is not None else told
        if stated is None:
            columns = likely(table)
            column = f"its column '{columns[0]}'" if columns else "a time column"
            raise DataError(
                f"{table.file} states no sample time; give it with dt= in seconds (--dt 0.0025), or name {column} with "
                f"time= (--time{' ' + columns[0] if columns else ''})."
            )
        if clock is None and (other := unread(table)) is not None:
            evidence += _beside(stated, table, other, steps)
            steps = steps or (other[0], table.file)
        if agreed is not None and not same_dt(agreed[0], stated, slack + loosest):
            raise DataError(
                f"two sample times: {agreed[1]} has {agreed[0]:g} s and {table.file} has {stated:g} s; resample one of "
                "them, or fit them apart."
            )
        agreed, loosest = agreed or (stated, table.file), max(loosest, slack)
        kept = [r for r in ranges if r.stop - r.start >= 2]
        dropped += sum(r.stop - r.start for r in ranges if r.stop - r.start < 2)
        if not kept:
            raise DataError(f"{table.file} has no two samples in a row between its gaps; leave it out.")
        if dropped:
            evidence += f"; {dropped} samples left out at gaps"
        stem = Path(table.file).stem
        for r in kept:
            name = stem if len(kept) == 1 and r == slice(0, n) else f"{stem}[{r.start}:{r.stop}]"
            columns = [np.stack([c.values[r] for c in group], axis=1) for group in (inputs, outputs)]
            records.append(Record(columns[0], columns[1], name))
        sources.append(Source(table.file, table.sha256, evidence))
    assert agreed is not None and first is not None  # there is at least one table
    _moving(records, first[0] + first[1], sources)
    names = [tuple(c.name for c in group) for group in first]
    unit = [tuple(c.unit for c in group) for group in first]
    return Data(tuple(records), agreed[0], names[0], names[1], unit[0], unit[1], tuple(sources))


def _select(
    table: Table, u: list[str], y: list[str], time: str | None, units: dict[str, str]
) -> tuple[list[Channel], list[Channel], Channel | None]:
    """The inputs, the outputs and the time, with their units settled."""
    asked = [*u, *y, *([time] if time else [])]
    groups = table.select(asked, time=time)
    used: set[str] = set()
    settled: list[list[Channel]] = []
    for name, group in zip(asked, groups, strict=True):
        channels = []
        for channel in group:
            keys = [key for key in (channel.name, name, name.split("[")[0]) if key in units]
            used.update(keys)
            unit = units[keys[0]] if keys else channel.unit
            if channel.unit and unit != channel.unit:
                raise DataError(
                    f"{table.file} gives '{channel.name}' in '{channel.unit}', but units says '{unit}'; correct one."
                )
            channels.append(replace(channel, unit=unit))
        settled.append(channels)
    for key in units:
        if key not in used:
            known = ", ".join(c.name for group in settled for c in group)
            raise DataError(f"units names '{key}', which is no channel that is read; there is {known}.")
    clock = None
    if time:
        if len(settled[-1]) != 1:
            raise DataError(f"{table.file}: the time '{time}' has {len(settled[-1])} channels; name one, '{time}[0]'.")
        clock = settled.pop()[0]
    inputs = [c for group in settled[: len(u)] for c in group]
    outputs = [c for group in settled[len(u) :] for c in group]
    names = [c.name for c in inputs + outputs]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{table.file}: '{name}' is named twice among inputs and outputs; name each channel once.")
    return inputs, outputs, clock


def _same_channels(one: Table, expected: list[Channel], other: Table, channels: list[Channel]) -> None:
    a, b = [c.name for c in expected], [c.name for c in channels]
    if a != b:
        raise DataError(f"{other.file} has the channels {', '.join(b)} where {one.file} has {', '.join(a)}.")
    for here, there in zip(expected, channels, strict=True):
        if here.unit != there.unit:
            if not (here.unit and there.unit):
                silent, unit = (one.file, there.unit) if there.unit else (other.file, here.unit)
                raise DataError(
                    f"{silent} does not say the unit of '{here.name}', which is '{unit}' in the other files; write it "
                    f"into the header, '{here.name} [{unit}]', or give it with units= (--units {here.name}={unit})."
                )
            raise DataError(
                f"'{here.name}' is in '{here.unit}' in {one.file} and in '{there.unit}' in {other.file}; convert one."
            )


def _finite(table: Table, channels: list[Channel], split: bool) -> tuple[list[slice], int]:
    """The stretches in which every channel is a number, and how many samples lie outside them."""
    n = len(channels[0].values)
    missing = np.zeros(n, dtype=bool)
    for channel in channels:
        bad = ~np.isfinite(channel.values)
        if split:
            missing |= np.isnan(channel.values)
            bad = np.isinf(channel.values)
        if bad.any():
            k = int(np.argmax(bad))
            value = channel.values[k]
            words = "is empty or NaN" if np.isnan(value) else f"is {value:g}"
            remedy = "correct it or remove the row" if split or np.isinf(value) else (
                "fill it, or let gaps='split' (--gaps split) make separate records around it"
            )  # fmt: skip
            raise DataError(f"{table.file}: '{channel.name}' {words} in {table.row(k)}; {remedy}.")
    edges = np.flatnonzero(np.diff(np.concatenate([[True], missing, [True]]).astype(int)))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)], int(missing.sum())


def _timed(
    table: Table, clock: Channel, ranges: list[slice], stated: float | None, split: bool
) -> tuple[list[slice], float, float, str]:
    """The stretches cut further where the time jumps, the sample time that it tells, its slack and its words."""
    bad = ~np.isfinite(clock.values)
    if bad.any():
        raise DataError(
            f"{table.file}: the time '{clock.name}' is no number in {table.row(int(np.argmax(bad)))}; correct it."
        )
    told, slack, stretches = pieces(seconds(clock, table.file), table, clock.name, split)
    if stated is not None and not same_dt(stated, told, slack):
        raise DataError(
            f"{table.file}: the time '{clock.name}' has steps of {told:g} s, but the sample time is said to be "
            f"{stated:g} s; leave dt out, or correct the column (its unit?)."
        )
    cut = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a in ranges for b in stretches]
    steps = np.concatenate([np.diff(seconds(clock, table.file)[r]) for r in stretches])
    off = float(np.abs(steps - told).max()) / told
    words = f"time '{clock.name}', {len(bad)} stamps {told:g} s apart"
    words += f", each step within {off:.2g} of that" if off > 1e-6 else ""
    return [r for r in cut if r.stop > r.start], told, slack, words


def _beside(dt: float, table: Table, column: tuple[float, str], before: tuple[float, str] | None) -> str:
    """What is to be said of a time column that is not read, and that its steps are those of the file before."""
    step, name = column
    if before is not None and not same_dt(before[0], step, 1e-3 * step):
        raise DataError(
            f"the sample time is said to be {dt:g} s for all, but the time '{name}' has steps of {before[0]:g} in "
            f"{before[1]} and of {step:g} in {table.file}; name it with time= (--time {name}), and fit files of one "
            "rate."
        )
    return "" if same_dt(dt, step, 1e-3 * step) else f"; its column '{name}', which has steps of {step:g}, was not read"


def _moving(records: list[Record], channels: list[Channel], sources: list[Source]) -> None:
    values = np.concatenate([np.concatenate([r.u, r.y], axis=1) for r in records])
    for channel, still, value in zip(channels, is_constant(values), values[0], strict=True):
        if still:
            files = sources[0].file if len(sources) == 1 else f"all {len(sources)} files"
            raise DataError(
                f"channel '{channel.name}' is constant ({value:g}{' ' * bool(channel.unit)}{channel.unit}) in {files}; "
                "leave it out, it says nothing about the system."
            )
