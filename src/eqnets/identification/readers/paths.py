"""From what the caller names to the files it means: one path, a glob, or a list of both."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from eqnets.errors import DataError

TEXT = (".csv", ".tsv", ".txt", ".dat")
READABLE = (*TEXT, ".mat", ".npz", ".h5", ".hdf5")


def expand(sources: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Every file that paths and globs mean, in natural order (run2 before run10), each once.

    Args:
        sources: paths and globs; a path that exists is never taken for a glob.

    Returns:
        The files.

    Raises:
        DataError: no such file, no match, a folder, an unknown ending, one file named twice.
    """
    files: list[Path] = []
    for source in sources:
        name = os.path.expanduser(os.fspath(source))
        path = Path(name)
        if not name:
            raise DataError("the file name is empty; name a file or a glob such as 'run*.csv'.")
        if not path.exists() and any(sign in name for sign in "*?["):
            matches = sorted(glob.glob(name, recursive=True), key=_natural)
            if not matches:
                raise DataError(f"no file matches '{name}'; check the folder and the pattern, and quote it in a shell.")
            files += [_checked(Path(match)) for match in matches]
        else:
            files.append(_checked(path))
    seen: set[Path] = set()
    for file in files:
        real = file.resolve()
        if real in seen:
            raise DataError(f"{file.name} is named twice; each record counts once.")
        seen.add(real)
    return files


def _checked(path: Path) -> Path:
    if path.is_dir():
        endings = sorted({p.suffix for p in path.iterdir() if p.suffix.lower() in READABLE})
        example = f"'{path}/*{endings[0] if endings else '.csv'}'"
        raise DataError(f"{path} is a folder, not a file; name the files in it, for example {example}.")
    if not path.exists():
        beside = path.parent
        others = sorted(p.name for p in beside.iterdir() if p.is_file())[:8] if beside.is_dir() else []
        hint = f"; '{beside}' holds {', '.join(others)}" if others else "; check the path"
        raise DataError(f"there is no file '{path}'{hint}.")
    if path.suffix.lower() not in READABLE:
        raise DataError(
            f"{path.name} ends in '{path.suffix}', which cannot be read; export it to one of {', '.join(READABLE)}."
        )
    return path


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]
