"""The command `eqnets`, one file a verb. Exit codes: 0 done, 1 a claim fails, 2 wrong input, 130 interrupted."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        arguments: the words after `eqnets`; None takes the process's own.

    Raises:
        SystemExit: always, with the exit code.
        ModuleNotFoundError: a module of eqnets itself is missing.
    """
    try:
        from eqnets.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "eqnets").split(".")[0] == "eqnets":
            raise
        sys.stderr.write(f"eqnets: the command needs {error.name}; run: pip install 'eqnets[identify]'.\n")
        raise SystemExit(2) from None
    raise SystemExit(run(sys.argv[1:] if arguments is None else list(arguments)))
