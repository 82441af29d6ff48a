"""MAT, NPZ and HDF5 have one thing in common: named arrays. Which axis is time, the arrays tell each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from eqnets.errors import DataError
from eqnets.identification.readers.table import Channel, no_such, real_vector

_ELEMENT = re.compile(r"^(?P<name>.+)\[(?P<index>\d+)\]$")
_PERIODS = {"ts", "t_s", "dt", "sample_time", "sampling_time"}
_RATES = {"fs", "f_s", "sample_rate", "sampling_rate", "sampling_frequency"}


class Variables:
    """Named arrays of one file.

    Time is the axis whose length all the named variables share; the other axis of a matrix is its channels, whichever
    way it lies. `name[i]` is channel i of a matrix, counting from 0, and `name` alone all of them.

    Args:
        arrays: the numeric arrays (anything with shape and dtype that numpy can convert).
        file: the file's base name.
        sha256: the digest of its bytes.
        units: units by variable name.
        others: what the file holds besides, by name, each with the word for what it is.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        file: str,
        sha256: str,
        units: Mapping[str, str] | None = None,
        others: Mapping[str, str] | None = None,
    ) -> None:
        self.file, self.sha256 = file, sha256
        self._arrays, self._units, self._others = arrays, units or {}, others or {}

    def names(self) -> list[str]:
        """The names of the arrays that are more than one number."""
        return [name for name, array in self._arrays.items() if np.prod(array.shape) != 1]

    def row(self, index: int) -> str:
        """A sample by its index."""
        return f"sample {index} (counting from 0)"

    def clock(self) -> list[tuple[float, str]]:
        """The scalars named Ts, dt, fs, Fs and the like.

        Returns:
            Seconds and words, one pair for every such scalar.

        Raises:
            DataError: such a scalar is not a positive number.
        """
        found = []
        for name, array in self._arrays.items():
            key = name.rsplit(".", 1)[-1].rsplit("/", 1)[-1].lower()
            if np.prod(array.shape) != 1 or key not in _PERIODS | _RATES:
                continue
            value = float(real_vector(np.asarray(array).reshape(1), self.file, name, self.row)[0])
            if not (np.isfinite(value) and value > 0):
                raise DataError(
                    f"{self.file}: {name} = {value:g} is no sample {'time' if key in _PERIODS else 'rate'}."
                )
            found.append((value if key in _PERIODS else 1 / value, f"{name} = {value:g} in {self.file}"))
        return found

    def select(self, names: Sequence[str], time: str | None = None) -> list[list[Channel]]:
        """The channels as float64 vectors of one length.

        Args:
            names: variable names, each with or without an element index.
            time: unused; which of them is the time.

        Returns:
            One list of channels for each name.

        Raises:
            DataError: no such variable or element, not numbers, no common length, or more than one.
        """
        del time
        found = [self._find(name) for name in names]
        n = self._length([variable for variable, _ in found])
        out = []
        for asked, (variable, index) in zip(names, found, strict=True):
            array = self._arrays[variable]
            shape = _shape(array)
            unit = self._units.get(variable, "")
            if len(shape) == 1:
                if index:
                    raise DataError(
                        f"{self.file}: '{asked}' asks for element {index} of a single channel; ask for [0]."
                    )
                out.append([Channel(asked, self._vector(np.asarray(array).reshape(-1), variable), unit)])
                continue
            matrix = np.asarray(array).reshape(shape)
            matrix = matrix if shape[0] == n else matrix.T
            if index is not None and index >= matrix.shape[1]:
                raise DataError(
                    f"{self.file}: '{asked}' asks for element {index}, but there are {matrix.shape[1]} channels, "
                    f"{variable}[0] to {variable}[{matrix.shape[1] - 1}]."
                )
            wanted = range(matrix.shape[1]) if index is None else [index]
            base = asked if index is None else asked[: asked.rindex("[")]
            out.append([Channel(f"{base}[{i}]", self._vector(matrix[:, i], f"{base}[{i}]"), unit) for i in wanted])
        return out

    def _vector(self, values: np.ndarray, name: str) -> np.ndarray:
        return real_vector(values, self.file, name, self.row)

    def _find(self, name: str) -> tuple[str, int | None]:
        for candidate, index in ((name, None), *((m["name"], int(m["index"])) for m in [_ELEMENT.match(name)] if m)):
            ends = [n for n in self._arrays if n == candidate] or [
                n for n in self._arrays if re.split(r"[./]", n)[-1] == candidate
            ]
            if len(ends) > 1:
                raise DataError(f"{self.file}: '{candidate}' can be {' or '.join(ends)}; write the whole name.")
            if ends:
                return ends[0], index
            if candidate in self._others:
                raise DataError(f"{self.file}: '{candidate}' is {self._others[candidate]}, not an array of numbers.")
        raise DataError(no_such(self.file, name, self.names(), "variable"))

    def _length(self, variables: Sequence[str]) -> int:
        """The one length that every named variable has along one of its axes, and along one only."""
        shapes = {variable: _shape(self._arrays[variable]) for variable in variables}
        for variable, shape in shapes.items():
            if len(shape) > 2:
                raise DataError(
                    f"{self.file}: '{variable}' has {len(shape)} axes {shape}; a signal has time and channel."
                )
            if shape == (1,):
                raise DataError(f"{self.file}: '{variable}' is a single number, not a signal; name a signal.")
            if 0 in shape:
                raise DataError(f"{self.file}: '{variable}' has no samples (shape {shape}); leave this file out.")
        listed = ", ".join(f"{variable} {shape}" for variable, shape in shapes.items())
        common = set.intersection(*(set(shape) for shape in shapes.values()))
        if not common:
            raise DataError(
                f"{self.file}: the named variables share no length: {listed}; u and y must have equally many samples."
            )
        if len(common) > 1 or any(shape == (n, n) for n in common for shape in shapes.values()):
            raise DataError(
                f"{self.file}: either axis could be time: {listed}; name a single-channel variable too (the time?), "
                "or pass the arrays as [(u, y)] with (time, channel)."
            )
        return common.pop()


def _shape(array: np.ndarray) -> tuple[int, ...]:
    """The shape without axes of length 1; at least one axis."""
    return tuple(int(n) for n in array.shape if n != 1) or (1,)
