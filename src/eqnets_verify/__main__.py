"""`eqnets-verify CERT [WEIGHTS]`: exit code 0 the claim holds, 1 it does not, 2 there is nothing to check."""

import sys
from pathlib import Path

from eqnets_verify.check import verify
from eqnets_verify.files import Rejected, Unusable


def main(arguments: list[str] | None = None) -> int:
    """Check a certificate file and say the result."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if not 1 <= len(words) <= 2 or words[0].startswith("-"):
            raise Unusable("usage: eqnets-verify CERT [WEIGHTS]; WEIGHTS is a .safetensors file or a model folder")
        verdict = verify(Path(words[0]), Path(words[1]) if len(words) == 2 else None)
    except (Rejected, Unusable, OSError, RecursionError) as error:  # the last two: a name, or lists, beyond all measure
        _say(sys.stderr, f"eqnets-verify: {'does not hold: ' if isinstance(error, Rejected) else ''}{error}")
        return 1 if isinstance(error, Rejected) else 2
    _say(sys.stdout, f"holds: {verdict.sentence}")
    _say(sys.stdout, f"Proved in exact arithmetic; model sha256 {verdict.digest}")
    return 0


def _say(stream, line: str) -> None:
    """Write one line, whatever a file holds and whatever the terminal shows."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    stream.write(line.encode(code := stream.encoding or "utf-8", "backslashreplace").decode(code) + "\n")


if __name__ == "__main__":
    sys.exit(main())
