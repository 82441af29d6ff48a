"""Every exception and warning of eqnets.

A message is a sentence that says what is wrong and what to do about it. `InputError` is the caller's mistake (the
command line exits with 2), `NotCertified` and `CertificateError` are claims that do not hold (exit code 1).
"""

from __future__ import annotations

from typing import Any


class EqnetsError(Exception):
    """Base class of everything eqnets raises on purpose."""


class InputError(EqnetsError, ValueError):
    """The input cannot be used: a shape, a dtype, an option, a value. The message names it and the remedy."""


class DataError(InputError):
    """A measured file cannot be used. The message names the file, the row or the column, and the remedy."""


class NotConverged(EqnetsError, RuntimeError):
    """An equilibrium was not found to the asked tolerance. `status` holds what the solver knows, per sample."""

    def __init__(self, message: str, status: Any = None) -> None:
        super().__init__(message)
        self.status = status


class NotCertified(EqnetsError):
    """A claim could not be proved. `block` names the part of the inequality that fails, `margin` by how much."""

    def __init__(self, message: str, block: str | None = None, margin: float | None = None) -> None:
        super().__init__(message)
        self.block = block
        self.margin = margin


class CertificateError(EqnetsError):
    """A certificate file does not hold for the given model: another digest, another format, a failed inequality."""


class NotConvergedWarning(UserWarning):
    """An equilibrium was not found to the asked tolerance, and the caller asked for a warning."""


class UncertifiedWarning(UserWarning):
    """A number is shown that no certificate covers."""
