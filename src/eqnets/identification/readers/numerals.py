"""Text cells to numbers: decimal points, decimal commas where they are beyond doubt, and words for everything else."""

from __future__ import annotations

import re

import numpy as np

from eqnets.errors import DataError

_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


def to_numbers(
    cells: list[list[str]], rows: list[int], columns: list[int], names: list[str], file: str
) -> list[np.ndarray]:
    """The chosen columns as float64; an empty cell becomes NaN.

    A comma is read as the decimal sign if no number of these columns has a point, none has two commas, and at least
    one cannot be a thousands separator (1,5 or 0,125, but not 1,234).

    Args:
        cells: the rows of the file, all of one length.
        rows: the row number of each, for messages.
        columns: which columns to convert.
        names: the name of every column.
        file: the file's name.

    Returns:
        One (time,) array for each of `columns`.

    Raises:
        DataError: text, or a comma that could mean two things.
    """
    texts = [[row[i].strip() for row in cells] for i in columns]
    comma = _decimal_comma(texts, rows, [names[i] for i in columns], file)
    out = []
    for i, column in zip(columns, texts, strict=True):
        values = np.empty(len(column))
        for k, cell in enumerate(column):
            if comma:
                cell = cell.replace(",", ".")
            if not cell:
                values[k] = np.nan
            elif _PLAIN.fullmatch(cell):
                values[k] = float(cell.replace("d", "e").replace("D", "e") if cell[-1].isdigit() else cell)
            else:
                raise DataError(_not_a_number(column, k, rows, names[i], file, cells))
        out.append(values)
    return out


def stamps(cells: list[list[str]], column: int) -> np.ndarray | None:
    """A column of ISO dates and times as seconds since the first, or None if it is no such column.

    Args:
        cells: the rows of the file.
        column: which column.

    Returns:
        (time,) float64, or None.
    """
    texts = [row[column].strip() for row in cells]
    if not all(_STAMP.fullmatch(text) for text in texts):
        return None
    try:
        times = np.array([text.rstrip("Z") for text in texts], dtype="datetime64[ns]")
    except ValueError:
        return None
    return (times - times[0]) / np.timedelta64(1, "s")


def _decimal_comma(texts: list[list[str]], rows: list[int], names: list[str], file: str) -> bool:
    certain, doubtful = False, None
    points = any("." in cell for column in texts for cell in column)
    for column, name in zip(texts, names, strict=True):
        for cell, row in zip(column, rows, strict=True):
            if "," not in cell:
                continue
            if points or cell.count(",") > 1 or not _COMMA.fullmatch(cell):
                why = "points stand in the file too" if points else "it is no number"
                raise DataError(
                    f"{file}: '{cell}' in row {row}, column '{name}' has a comma, and {why}; write numbers with a "
                    "decimal point and without thousands separators."
                )
            if _THOUSANDS.fullmatch(cell):
                doubtful = doubtful or (cell, row, name)
            else:
                certain = True
    if doubtful and not certain:
        cell, row, name = doubtful
        raise DataError(
            f"{file}: '{cell}' in row {row}, column '{name}' can be a decimal comma or a thousands separator; write "
            "numbers with a decimal point."
        )
    return certain


def _not_a_number(column: list[str], k: int, rows: list[int], name: str, file: str, cells: list[list[str]]) -> str:
    hint = "correct the cell or remove the row"
    if k == 0 and not any(_PLAIN.fullmatch(cell.strip()) for cell in cells[0]):
        hint = "if that row holds units, write them into the header, e.g. 'force [N]', and remove the row"
    return f"{file}: row {rows[k]}, column '{name}' holds the text '{column[k][:40]}' where a number belongs; {hint}."
