"""`python -m eqnets.cli` is `eqnets`."""

from eqnets.cli import main

if __name__ == "__main__":
    main()
