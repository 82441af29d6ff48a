"""Where a command writes: never over something unasked, and what an interrupted run leaves to go on from."""

from __future__ import annotations

import tempfile
from pathlib import Path

from eqnets.errors import InputError


def new_folder(folder: Path, *, force: bool, resume: bool = False) -> Path:
    """Refuse, before anything starts, a folder that holds something; it is made only when something is written.

    Args:
        folder: where the output goes.
        force: whether files in it may be overwritten.
        resume: whether a started run is continued in it.

    Returns:
        The folder.

    Raises:
        InputError: it is a file, is not empty, or nothing can be written there.
    """  # noqa: DOC502
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file; name a folder with -o.")
    if folder.is_dir() and any(folder.iterdir()) and not (force or resume):
        raise InputError(
            f"'{folder}' exists and is not empty; choose another folder with -o, or overwrite with --force."
        )
    _demand_writable(folder)
    return folder


def new_file(path: Path, *, force: bool) -> Path:
    """Refuse a file that exists, or whose folder does not.

    Args:
        path: of the file to be written.
        force: whether it may be overwritten.

    Returns:
        The path.

    Raises:
        InputError: it exists, its folder does not, or nothing can be written there.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written: " + ("it is a folder." if path.is_dir() else "no such folder."))
    if path.exists() and not force:
        raise InputError(f"'{path}' exists and is not overwritten; name another with -o, or overwrite with --force.")
    _demand_writable(path.parent)
    return path


def started(folder: Path) -> bool:
    """Whether an interrupted run left its checkpoint in the folder."""
    return any(folder.glob("checkpoint*.safetensors"))


def remedy(folder: Path) -> str:
    """What to do after an interrupt."""
    return "repeat the same command with --resume" if started(folder) else "nothing was written; start again"


def _demand_writable(folder: Path) -> None:
    """Try, before the work and not after it, whether a folder or the one that it will be made in takes a file."""
    standing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=standing):
            pass
    except OSError as error:
        raise InputError(
            f"nothing can be written to '{folder}' ({error.strerror or error}: '{standing}'); name another place "
            "with -o."
        ) from None
