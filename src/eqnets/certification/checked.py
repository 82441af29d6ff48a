"""Numbers that a user gave, checked: each failure is a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from eqnets.errors import InputError


def number(name: str, value: Any) -> float:
    """A finite float.

    Args:
        name: of the option.
        value: what was given.

    Returns:
        The number.

    Raises:
        InputError: it is not a finite number.
    """
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a number, got {value!r}.") from error
    if not math.isfinite(found):
        raise InputError(f"{name} must be finite, got {found}.")
    return found


def scale(name: str, value: Any) -> tuple[float, ...] | None:
    """Positive sizes of channels, one number or several, or None.

    Args:
        name: of the option.
        value: what was given.

    Returns:
        The sizes.

    Raises:
        InputError: one is not a finite positive number.
    """
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        value = (value,)
    sizes = tuple(number(f"{name}[{i}]", entry) for i, entry in enumerate(value))
    for i, size in enumerate(sizes):
        if size <= 0:
            raise InputError(f"{name}[{i}] must be positive, got {size:g}; it is a typical size of that channel.")
    return sizes


def matrix(name: str, value: Any) -> tuple[tuple[float, ...], ...]:
    """A matrix of finite numbers as tuples of rows; one number is a 1 × 1 matrix.

    Args:
        name: of the option.
        value: rows of numbers: lists, an array, a tensor, or one number.

    Returns:
        The rows.

    Raises:
        InputError: it is not a rectangular matrix of finite numbers.
    """
    rows = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(rows, int | float):
        rows = [[rows]]
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) for row in rows):
        raise InputError(f"{name} must be a matrix, given as rows of numbers; got {value!r}.")
    if len({len(row) for row in rows}) > 1:
        raise InputError(f"the rows of {name} have different lengths.")
    return tuple(tuple(number(f"{name}[{i}][{j}]", x) for j, x in enumerate(row)) for i, row in enumerate(rows))
