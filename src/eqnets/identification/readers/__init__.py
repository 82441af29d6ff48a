"""Measured files of every common format to `Data`: by column name, with sample time and units, checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.identification.readers.assemble import assemble
from eqnets.identification.readers.mat import read_mat
from eqnets.identification.readers.memory import FrameTable, digest, is_array, is_frame, to_matrix
from eqnets.identification.readers.paths import TEXT, expand
from eqnets.identification.readers.stores import read_hdf5, read_npz
from eqnets.identification.readers.table import Table
from eqnets.identification.readers.text import TextTable
from eqnets.identification.record import Record, Source, is_constant, positive_dt

__all__ = ["read"]


def read(
    source: Any,
    u: Sequence[str] | str | None = None,
    y: Sequence[str] | str | None = None,
    dt: float | None = None,
    *,
    time: str | None = None,
    units: Mapping[str, str] | None = None,
    gaps: str = "raise",
) -> Data:
    """Read measurements: CSV, TSV, MAT (all versions), NPZ, HDF5, DataFrames, arrays or tensors.

    Each file (or frame, or pair of arrays) is one record, or several where `gaps="split"` finds gaps.

    Args:
        source: a path, a glob, a DataFrame, a list of these; or one pair (u, y), or a list of pairs, of arrays or
            tensors (time, channel), where (batch, time, channel) is a batch of records.
        u: names of the inputs. In MAT, NPZ and HDF5, `Force[0]` is one channel of a matrix (from 0), `Force` all.
            None only for arrays (u1, u2, …).
        y: names of the outputs, likewise (y1, y2, …).
        dt: the sample time in seconds. None where a time column or the file itself (Ts, dt, fs, Fs) tells it.
        time: the name of the time column, in seconds, in the unit of its header, or as dates. It must be uniform: no
            step may differ from the sample time by more than 1 %, unless rounded decimals explain it.
        units: the units of channels by name, where the header (`force [N]`, `force (N)`) does not say them.
        gaps: "raise", or "split" to make separate records where the time jumps by more than 1.5 sample times or a
            channel is NaN or empty.

    Returns:
        The data: float64, read-only, with names, units ("" where unknown), sample time and sources with sha256.

    Raises:
        DataError: one sentence with the file, the row or column, and the remedy.
    """
    if gaps not in ("raise", "split"):
        raise DataError(f"gaps is {gaps!r}; it is 'raise' or 'split'.")
    dt = None if dt is None else positive_dt(dt)
    u, y = _names(u, "u"), _names(y, "y")
    pairs = _pairs(source)
    if pairs is not None:
        if time is not None:
            raise DataError("time names a column of a file; arrays need dt=, the sample time in seconds.")
        return _from_arrays(pairs, u, y, dt, dict(units or {}))
    tables = _tables(source)
    for letter, names in (("u", u), ("y", y)):
        if not names:
            word = "inputs" if letter == "u" else "outputs"
            has = ", ".join(tables[0].names()[:30])
            raise DataError(f"name the {word} with {letter}=[…] (--{letter}); {tables[0].file} has {has}.")
    for name in u or ():
        if name in (y or ()):
            raise DataError(f"'{name}' is named as an input and as an output; it can be one of them.")
    for name in (*(u or ()), *(y or ())):
        if name == time:
            raise DataError(f"'{name}' is named as the time and as a signal; the time is no channel of the model.")
    return assemble(tables, u or [], y or [], dt, time, dict(units or {}), gaps == "split")


def _names(names: Sequence[str] | str | None, letter: str) -> list[str] | None:
    if names is None:
        return None
    listed = [names] if isinstance(names, str) else list(names)
    if not listed or not all(isinstance(name, str) and name for name in listed):
        raise DataError(f"{letter} is {names!r}; give a list of channel names, such as {letter}=['force'].")
    for name in listed:
        if listed.count(name) > 1:
            raise DataError(f"'{name}' is named twice in {letter}; name each channel once.")
    return listed


def _tables(source: Any) -> list[Table]:
    listed = list(source) if isinstance(source, list | tuple) else [source]
    if not listed:
        raise DataError("the list of sources is empty; name at least one file.")
    tables: list[Table] = []
    paths: list[str | os.PathLike[str]] = []
    for i, item in enumerate(listed):
        if is_frame(item):
            tables.append(FrameTable(item, f"DataFrame {i + 1}" if len(listed) > 1 else "DataFrame"))
        elif isinstance(item, str | os.PathLike):
            paths.append(item)
        else:
            raise DataError(
                f"a {type(item).__name__} cannot be read; pass a path, a glob, a DataFrame, a list of these, or pairs "
                "(u, y) of arrays."
            )
    return tables + [_open(path) for path in expand(paths)]


def _open(path: Path) -> Table:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror}); check its permissions.") from None
    file, sha256, ending = path.name, hashlib.sha256(data).hexdigest(), path.suffix.lower()
    if ending in TEXT:
        return TextTable(data, file, sha256)
    if ending == ".mat":
        return read_mat(data, file, sha256)
    return read_npz(data, file, sha256) if ending == ".npz" else read_hdf5(data, file, sha256)


def _pairs(source: Any) -> list[tuple[Any, Any]] | None:
    """The (u, y) pairs of arrays, or None where the source is something else."""
    listed = [source] if isinstance(source, tuple) and len(source) == 2 and is_array(source[0]) else source
    if not (isinstance(listed, list | tuple) and listed and not isinstance(listed[0], str | os.PathLike)):
        return None
    if is_frame(listed[0]):
        return None
    pairs: list[tuple[Any, Any]] = []
    for i, item in enumerate(listed):
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise DataError(f"record {i + 1} is a {type(item).__name__}; pass pairs (u, y) of arrays (time, channel).")
        if all(getattr(part, "ndim", 0) == 3 for part in item):
            if len(item[0]) != len(item[1]):
                raise DataError(
                    f"the batch has {len(item[0])} records in u and {len(item[1])} in y; pass equally many."
                )
            pairs += list(zip(item[0], item[1], strict=True))
        else:
            pairs.append((item[0], item[1]))
    return pairs


def _from_arrays(
    pairs: list[tuple[Any, Any]], u: list[str] | None, y: list[str] | None, dt: float | None, units: dict[str, str]
) -> Data:
    if dt is None:
        raise DataError("arrays carry no sample time; pass dt=, in seconds.")
    records, sources = [], []
    for i, (u_values, y_values) in enumerate(pairs):
        name = f"record {i + 1}"
        record = Record(to_matrix(u_values, f"u of {name}"), to_matrix(y_values, f"y of {name}"), name)
        records.append(record)
        sources.append(Source(name, digest([record.u, record.y]), f"dt = {dt:g} s, given"))
    data = Data(tuple(records), dt, tuple(u or ()), tuple(y or ()), sources=tuple(sources))
    names = (*data.u_names, *data.y_names)
    for name in units:
        if name not in names:
            raise DataError(f"units names '{name}', which is no channel; there is {', '.join(names)}.")
    values = np.concatenate([np.concatenate([r.u, r.y], axis=1) for r in records])
    for name, still in zip(names, is_constant(values), strict=True):
        if still:
            raise DataError(
                f"channel '{name}' is constant in all records; leave it out, it says nothing about the system."
            )
    u_units, y_units = (tuple(units.get(n, "") for n in group) for group in (data.u_names, data.y_names))
    return Data(data.records, dt, data.u_names, data.y_names, u_units, y_units, data.sources)
