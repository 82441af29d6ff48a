"""CSV, TSV and their relatives: find the delimiter and the header, convert columns, and name the row of an error."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from eqnets.errors import DataError
from eqnets.identification.readers.numerals import stamps, to_numbers
from eqnets.identification.readers.table import Channel, no_such

_WORDS = {",": "comma", ";": "semicolon", "\t": "tab"}
_UNIT = re.compile(r"^(?P<name>.*?\S)\s*[\[(](?P<unit>[^\[\]()]*)[\])]$")


class TextTable:
    """A delimited text file. Rows are named as a spreadsheet names them: the first line of the file is row 1.

    Args:
        data: the bytes of the file.
        file: its base name.
        sha256: the digest of the bytes.

    Raises:
        DataError: empty, binary, no header, a header only, no clear delimiter, ragged rows.
    """

    def __init__(self, data: bytes, file: str, sha256: str) -> None:
        self.file, self.sha256 = file, sha256
        lines = _decode(data, file).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        first = _header_line(lines, file)
        self._delimiter = _sniff(lines, first, file)
        header = next(csv.reader([lines[first].lstrip("#% ")], delimiter=self._delimiter))
        self._headers = [cell.strip() for cell in header]
        self._lines, self._first = lines, first
        self._body = [line for line in lines[first + 1 :] if line.strip()]
        if all(_is_number(cell) for cell in self._headers):
            raise DataError(
                f"{file} has no header: row {first + 1} holds numbers ({lines[first].strip()[:60]}); write the column "
                "names into its first line."
            )
        if not self._body:
            raise DataError(f"{file} has a header but no data rows; record it again or leave it out.")
        bare = [split_unit(cell) for cell in self._headers]
        count = Counter(name for name, _ in bare)
        # `force [N]` is called force, unless `force [kN]` stands beside it
        self._names = [name if count[name] == 1 else cell for (name, _), cell in zip(bare, self._headers, strict=True)]
        self._units = [unit for _, unit in bare]
        self._block: np.ndarray | None = None
        self._cells: list[list[str]] | None = None
        self._rows: list[int] | None = None

    def names(self) -> list[str]:
        """The column names without their units."""
        return [name for name in self._names if name]

    def clock(self) -> list[tuple[float, str]]:
        """Nothing: a text file states its sample time in a column or not at all."""
        return []

    def row(self, index: int) -> str:
        """The row of a sample as a spreadsheet counts."""
        return f"row {self._parsed()[1][index]}"

    def select(self, names: Sequence[str], time: str | None = None) -> list[list[Channel]]:
        """The columns as float64 vectors.

        Args:
            names: column names, with or without the unit of the header.
            time: which of them is the time, where dates are read as seconds.

        Returns:
            One list with one channel for each name. No such column, a repeated one, ragged rows and text in a number
            column are DataErrors.
        """
        found = [self._find(name) for name in names]
        block = self._fast()
        if block is not None and np.isfinite(block[:, found]).all():
            columns = [np.ascontiguousarray(block[:, i]) for i in found]
        else:  # something is wrong, or in another notation: read cell by cell, and know the row
            cells, rows = self._parsed()
            clock = None if time is None else self._find(time)
            dates = None if clock is None else stamps(cells, clock)
            plain = [i for i in found if dates is None or i != clock]
            read = dict(zip(plain, to_numbers(cells, rows, plain, self._names, self.file), strict=True))
            columns = [dates if dates is not None and i == clock else read[i] for i in found]
        return [[Channel(self._names[i], c, self._units[i])] for i, c in zip(found, columns, strict=True)]

    def _find(self, name: str) -> int:
        for labels in (self._headers, self._names, [split_unit(cell)[0] for cell in self._headers]):
            places = [i for i, label in enumerate(labels) if label == name]
            if len(places) > 1:
                where = " and ".join(str(i + 1) for i in places)
                same = "" if labels is not self._headers else "; rename one of them"
                raise DataError(
                    f"{self.file}: the name '{name}' stands over columns {where} of the header"
                    + (same or f"; ask for {' or '.join(repr(self._headers[i]) for i in places)}")
                    + "."
                )
            if places:
                return places[0]
        raise DataError(no_such(self.file, name, self.names()))

    def _fast(self) -> np.ndarray | None:
        if self._block is None:
            try:
                self._block = np.loadtxt(
                    self._body, delimiter=self._delimiter, comments=None, quotechar='"', ndmin=2, dtype=np.float64
                )
            except ValueError:
                return None
            if self._block.shape[1] != len(self._headers):
                self._block = None
        return self._block

    def _parsed(self) -> tuple[list[list[str]], list[int]]:
        if self._cells is None or self._rows is None:
            cells, rows = [], []
            reader = csv.reader(self._lines[self._first + 1 :], delimiter=self._delimiter)
            try:
                for row in reader:
                    if any(cell.strip() for cell in row) or (len(row) > 1 and self._delimiter != "\t"):
                        cells.append(row)
                        rows.append(reader.line_num + self._first + 1)
            except csv.Error as error:
                raise DataError(
                    f"{self.file}: row {reader.line_num + self._first + 1} is unreadable ({error})."
                ) from None
            self._check_ragged(cells, rows)
            self._cells, self._rows = cells, rows
        return self._cells, self._rows

    def _check_ragged(self, cells: list[list[str]], rows: list[int]) -> None:
        n = len(self._headers)
        for row, number in zip(cells, rows, strict=True):
            if len(row) == n:
                continue
            hint = "complete or remove that row"
            if self._delimiter == "," and len(row) == 2 * n and number == rows[0]:
                hint = "if the numbers have decimal commas, save the file with semicolons or with decimal points"
            elif number == rows[-1]:
                hint = "the file seems to be cut off: remove its last row"
            raise DataError(f"{self.file}: row {number} has {len(row)} fields where the header has {n}; {hint}.")


def _decode(data: bytes, file: str) -> str:
    if not data.strip():
        raise DataError(f"{file} is empty; record it again or leave it out.")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:4096]:
        raise DataError(f"{file} is not a text file, whatever its ending says; rename it to .mat, .npz or .h5.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def split_unit(cell: str) -> tuple[str, str]:
    """A header such as `force [N]` or `force (N)` as (name, unit); the unit is "" where there is none."""
    match = _UNIT.match(cell)
    # acc[0] is the name of an element, not an acceleration in zeros
    if match is None or match["unit"].strip().isdigit():
        return cell, ""
    return match["name"], match["unit"].strip()


def _header_line(lines: list[str], file: str) -> int:
    """The index of the header: the first line that is no comment, or the comment above bare numbers (numpy's way)."""
    filled = [i for i, line in enumerate(lines) if line.strip()]
    plain = [i for i in filled if not lines[i].lstrip().startswith(("#", "%"))]
    if not plain:
        raise DataError(f"{file} holds comments only; record it again or leave it out.")
    above = [i for i in filled if i < plain[0]]
    numbers = all(_is_number(cell) for cell in re.split(r"[,;\t ]+", lines[plain[0]].strip().rstrip(",;")))
    return above[-1] if numbers and above else plain[0]


def _sniff(lines: list[str], first: int, file: str) -> str:
    """The delimiter that splits the header into several fields and the rows into as many."""
    sample = [line for line in lines[first + 1 : first + 201] if line.strip()]
    header = lines[first].lstrip("#% ")
    shares: dict[str, float] = {}
    for delimiter in _WORDS:
        n, *counts = (len(row) for row in csv.reader([header, *sample], delimiter=delimiter))
        if n > 1:
            shares[delimiter] = sum(count == n for count in counts) / max(len(counts), 1)
    if not shares:
        if len(header.split()) > 1 and sample and len(sample[0].split()) == len(header.split()):
            raise DataError(f"{file} is separated by spaces; save it with commas, semicolons or tabs.")
        return ","
    best = max(shares.values())
    winners = [delimiter for delimiter, share in shares.items() if share == best]
    if len(winners) > 1 and best > 0:
        words = " and ".join(_WORDS[delimiter] for delimiter in winners)
        raise DataError(f"{file} can be split by {words} alike; save it with one delimiter that no name contains.")
    if best == 0:  # no row fits: take the finest header, and let the ragged rows be named
        return max(shares, key=lambda d: header.count(d))
    return winners[0]
