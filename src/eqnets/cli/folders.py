"""Where a command writes: never over something unasked, and what an interrupted run leaves to go on from."""

from __future__ import annotations

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
        InputError: it is a file, or is not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file; name a folder with -o.")
    if folder.is_dir() and any(folder.iterdir()) and not (force or resume):
        raise InputError(
            f"'{folder}' exists and is not empty; choose another folder with -o, or overwrite with --force."
        )
    return folder


def new_file(path: Path, *, force: bool) -> Path:
    """Refuse a file that exists, or whose folder does not.

    Args:
        path: of the file to be written.
        force: whether it may be overwritten.

    Returns:
        The path.

    Raises:
        InputError: it exists, or its folder does not.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written: " + ("it is a folder." if path.is_dir() else "no such folder."))
    if path.exists() and not force:
        raise InputError(f"'{path}' exists and is not overwritten; name another with -o, or overwrite with --force.")
    return path


def started(folder: Path) -> bool:
    """Whether an interrupted run left its checkpoint in the folder."""
    return any(folder.glob("checkpoint*.safetensors"))


def remedy(folder: Path) -> str:
    """What to do after an interrupt."""
    return "repeat the same command with --resume" if started(folder) else "nothing was written; start again"
