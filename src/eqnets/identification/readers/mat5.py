"""Is this version 5 MATLAB file whole? Asked before scipy opens it, whose compiled reader trusts the codes in the file.

The format ("MAT-File Format", The MathWorks; level 5): a header of 128 bytes, then elements. An element is a tag (type
and number of bytes, four bytes each), the bytes, and padding to a multiple of 8; of up to four bytes it can be small,
with tag and bytes in eight bytes together. A compressed element holds one matrix. A matrix holds elements: flags,
dimensions, name, and what its class asks for. A damaged code would make scipy's reader jump into nowhere and end the
process, so here every code and length is checked, and no number is read.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # of one number, by type
_TEXT = {1, 2, 3, 4, 16, 17, 18}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_COMPLEX = 0x0800


class Broken(Exception):
    """What is wrong with the file, in a few words."""


def check_mat5(data: bytes) -> None:
    """Walk through all elements of the file.

    Args:
        data: the bytes of a version 5 file.

    Raises:
        Broken: an element leaves the file or its parent, or has a type, class or size that the format does not know.
    """
    if len(data) <= 128:
        raise Broken("it ends with its header")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise Broken("its header has no byte order")
    for kind, body in _elements(data[128:], order):
        if kind == _COMPRESSED:
            try:
                inner = list(_elements(zlib.decompress(body), order))
            except zlib.error as error:
                raise Broken(f"a variable cannot be unpacked: {error}") from None
            if len(inner) != 1:
                raise Broken("a packed variable holds no single matrix")
            kind, body = inner[0]
        if kind != _MATRIX:
            raise Broken(f"an element of type {kind} stands where a variable belongs")
        _check_matrix(body, order)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data):
        if len(data) - place < 8:
            raise Broken("it ends within an element")
        kind, size = struct.unpack_from(order + "II", data, place)
        if kind >> 16:  # a small element
            kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
            if size > 4:
                raise Broken(f"a small element of {size} bytes")
        else:
            start = place + 8
            end = start + size if kind == _COMPRESSED else start + -(-size // 8) * 8
        if start + size > len(data):
            raise Broken("an element is longer than the file")
        if kind not in _BYTES and kind not in _TEXT and kind not in (_MATRIX, _COMPRESSED):
            raise Broken(f"an element of the unknown type {kind}")
        yield kind, data[start : start + size]
        place = end


def _check_matrix(body: bytes, order: str) -> None:
    if not body:
        return  # an empty matrix may have no elements at all
    parts = list(_elements(body, order))
    if len(parts) < 2 or parts[0][0] != 6 or len(parts[0][1]) != 8:
        raise Broken("a variable without flags")
    (flags,) = struct.unpack_from(order + "I", parts[0][1])
    mat_class = flags & 0xFF
    if not 1 <= mat_class <= _OPAQUE:
        raise Broken(f"a variable of the unknown class {mat_class}")
    if mat_class == _OPAQUE:
        for kind, inner in parts[1:]:
            if kind == _MATRIX:
                _check_matrix(inner, order)
        return
    if (
        len(parts) < 3
        or parts[1][0] not in (5, 6)
        or len(parts[1][1]) < 8
        or len(parts[1][1]) % 4
        or parts[2][0] not in _TEXT
    ):
        raise Broken("a variable without dimensions and name")
    dimensions = struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1])
    if min(dimensions) < 0 or len(dimensions) > 32:
        raise Broken(f"a variable of the size {dimensions}")
    _check_content(mat_class, bool(flags & _COMPLEX), math.prod(dimensions), parts[3:], order)


def _check_content(mat_class: int, is_complex: bool, count: int, parts: list[tuple[int, bytes]], order: str) -> None:
    if mat_class in (_CELL, _STRUCT, _OBJECT, _FUNCTION):
        if mat_class == _OBJECT:
            _must(bool(parts) and parts[0][0] in _TEXT, "an object without a class")
            parts = parts[1:]
        if mat_class in (_STRUCT, _OBJECT):
            _must(len(parts) >= 2 and parts[0][0] == 5 and len(parts[0][1]) == 4, "a struct without field names")
            (length,) = struct.unpack(order + "i", parts[0][1])
            _must(
                parts[1][0] in _TEXT and length > 0 and len(parts[1][1]) % length == 0, "a struct without field names"
            )
            count, parts = count * (len(parts[1][1]) // length), parts[2:]
        _must(mat_class == _FUNCTION or len(parts) == count, f"{len(parts)} parts where {count} belong")
        for kind, body in parts:
            _must(kind == _MATRIX, "a part that is no matrix")
            _check_matrix(body, order)
        return
    if mat_class == _CHAR:
        _must(len(parts) == 1 and parts[0][0] in _TEXT, "text without letters")
        return
    sparse = mat_class == _SPARSE
    _must(len(parts) == (3 if sparse else 1) + is_complex, "numbers without their parts")
    for kind, body in parts:
        _must(kind in _BYTES, f"numbers of type {kind}")
        # MATLAB itself announces the bytes of a sparse logical as doubles
        _must(sparse or len(body) == count * _BYTES[kind], f"not the {count} numbers that it announces")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
