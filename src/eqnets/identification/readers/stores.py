"""NPZ and HDF5: arrays by name, and for HDF5 the units and sample rates that its attributes carry."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from eqnets.errors import DataError
from eqnets.identification.readers.variables import Variables


def broken(file: str, kind: str, error: Exception) -> str:
    """The message for a file that does not hold what its ending says."""
    why = " ".join(str(error).split())[:120] or type(error).__name__
    return f"{file} cannot be read as a {kind}: it is truncated or damaged ({why}); copy or export it again."


def read_npz(data: bytes, file: str, sha256: str) -> Variables:
    """The arrays of an NPZ file; pickled objects are never opened.

    Args:
        data: the bytes of the file.
        file: its base name.
        sha256: the digest of the bytes.

    Returns:
        The arrays.

    Raises:
        DataError: truncated, damaged, or no NPZ file.
    """
    arrays: dict[str, np.ndarray] = {}
    others: dict[str, str] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.namelist():
                if not entry.endswith(".npy"):
                    continue
                name = entry.removesuffix(".npy")
                with archive.open(entry) as stream:
                    array = _array(stream.read())
                if array is None:
                    others[name] = "an array of pickled Python objects, which is never opened because it can run code"
                    continue
                if array.dtype.kind in "fiubc":
                    arrays[name] = array
                else:
                    others[name] = f"an array of {array.dtype}"
    except Exception as error:  # a damaged file raises anything, from zlib.error to EOFError
        raise DataError(broken(file, "NPZ file", error)) from None
    return Variables(arrays, file, sha256, others=others)


def _array(data: bytes) -> np.ndarray | None:
    """The array of an NPY member, or None where it would have to be unpickled."""
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" in str(error):
            return None
        raise


def read_hdf5(data: bytes, file: str, sha256: str) -> Variables:
    """The data sets of an HDF5 file, by path (`run1/force`) or by their last name where that is unique.

    An attribute `unit` or `units` of a data set is its unit; attributes dt, Ts, fs, … of the file are its sample time.

    Args:
        data: the bytes of the file.
        file: its base name.
        sha256: the digest of the bytes.

    Returns:
        The arrays.
    """
    return walk(data, file, sha256, matlab=False)


def walk(data: bytes, file: str, sha256: str, matlab: bool) -> Variables:
    """Every numeric data set of an HDF5 file.

    Args:
        data: the bytes of the file.
        file: its base name.
        sha256: the digest of the bytes.
        matlab: the file is a MATLAB 7.3 file: axes are reversed, paths written with points, and text is numbers.

    Returns:
        The arrays.

    Raises:
        DataError: h5py is not installed, or the file is truncated or damaged.
    """
    try:
        import h5py
    except ImportError:
        raise DataError(f"reading {file} needs h5py; install it with: pip install 'eqnets[identify]'.") from None
    arrays: dict[str, np.ndarray] = {}
    others: dict[str, str] = {}
    units: dict[str, str] = {}

    def visit(path: str, item: Any) -> None:
        if path.startswith("#"):  # MATLAB's own
            return
        name = path.replace("/", ".") if matlab else path
        if not isinstance(item, h5py.Dataset):
            others[name] = "a group"
            return
        label = item.attrs.get("MATLAB_class", b"")
        if matlab and item.attrs.get("MATLAB_empty", 0):
            arrays[name] = np.empty((0, 0))
        elif label in (b"char", b"cell", b"struct", b"function_handle"):
            others[name] = f"a MATLAB {label.decode()}"
        elif item.dtype.names == ("real", "imag"):
            parts = item[()]
            arrays[name] = np.asarray(parts["real"] + 1j * parts["imag"])
        elif item.dtype.kind in "fiubc" and item.shape is not None:
            arrays[name] = np.asarray(item[()]).T if matlab else np.asarray(item[()])
            unit = item.attrs.get("unit", item.attrs.get("units", ""))
            units[name] = unit.decode() if isinstance(unit, bytes) else str(unit)
        else:
            others[name] = f"data of type {item.dtype}"

    try:
        with h5py.File(io.BytesIO(data), "r") as store:
            store.visititems(visit)
            for key, value in store.attrs.items():
                if not matlab and np.size(value) == 1 and np.asarray(value).dtype.kind in "fiu":
                    arrays.setdefault(key, np.asarray(value))
    except Exception as error:  # a damaged file raises anything
        raise DataError(broken(file, "MATLAB 7.3 file" if matlab else "HDF5 file", error)) from None
    return Variables(arrays, file, sha256, units, others)
