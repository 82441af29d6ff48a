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
    except (Rejected, Unusable) as error:
        sys.stderr.write(f"eqnets-verify: {'does not hold: ' if isinstance(error, Rejected) else ''}{error}\n")
        return 1 if isinstance(error, Rejected) else 2
    sys.stdout.write(f"holds: {verdict.sentence}\nProved in exact arithmetic; model sha256 {verdict.digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
