"""The console script `eqnets`: a package of its own, so that Ctrl-C while eqnets is being imported is one sentence."""

import sys


def main() -> None:
    """Run the command line, `eqnets.cli.main`, and exit with its code.

    Raises:
        SystemExit: always.
    """
    try:
        from eqnets.cli import main as run
    except KeyboardInterrupt:  # the imports take seconds, and nothing of eqnets can catch it yet
        sys.stderr.write("eqnets: interrupted. Nothing was written.\n")
        raise SystemExit(130) from None
    run()
