"""MATLAB files: up to version 7.2 through scipy, version 7.3 (which is HDF5) through h5py."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import scipy.io

from eqnets.errors import DataError
from eqnets.identification.readers.mat5 import check_mat5
from eqnets.identification.readers.stores import broken, walk
from eqnets.identification.readers.variables import Variables


def read_mat(data: bytes, file: str, sha256: str) -> Variables:
    """The numeric arrays of a MATLAB file; fields of a struct are called `struct.field`.

    Args:
        data: the bytes of the file.
        file: its base name.
        sha256: the digest of the bytes.

    Returns:
        The arrays.

    Raises:
        DataError: truncated, damaged, or no MATLAB file at all.
    """
    if not data:
        raise DataError(f"{file} is empty (0 bytes); copy or record it again.")
    if b"\x89HDF\r\n\x1a\n" in (data[:8], data[512:520]):
        return walk(data, file, sha256, matlab=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if scipy.io.matlab.matfile_version(io.BytesIO(data))[0] == 1:  # scipy's word for version 5
                check_mat5(data)
            content = scipy.io.loadmat(io.BytesIO(data), simplify_cells=True)
    except Exception as error:  # a damaged file raises anything, from zlib.error to MemoryError
        raise DataError(broken(file, "MATLAB file", error)) from None
    arrays: dict[str, np.ndarray] = {}
    others: dict[str, str] = {}
    for name, value in content.items():
        if not name.startswith("__"):
            _collect(name, value, arrays, others)
    return Variables(arrays, file, sha256, others=others)


def _collect(name: str, value: Any, arrays: dict[str, np.ndarray], others: dict[str, str]) -> None:
    if isinstance(value, dict):
        others[name] = "a struct with the fields " + ", ".join(value)
        for field, content in value.items():
            _collect(f"{name}.{field}", content, arrays, others)
    elif isinstance(value, str):
        others[name] = "text"
    elif hasattr(value, "toarray"):
        others[name] = "a sparse matrix (save it as full(…))"
    elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype.kind not in "fiubc"):
        others[name] = "a cell array, a table or another MATLAB object (save its columns as plain arrays)"
    else:
        arrays[name] = np.asarray(value)
