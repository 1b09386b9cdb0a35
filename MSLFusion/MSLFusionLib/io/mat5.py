"""MATLAB files of version 5 to 7.2: numbers, complex numbers, text, structs and cells, with no size taken on trust.

The format is MathWorks' "MAT-File Format", chapter 1: a header of 128 bytes, then elements of a type, a length and as
many bytes, packed or not, one in another. Everything that is read lies within the element that holds it, so that no
number in the file decides how much memory is taken.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError

MAX_BYTES = 2**30
"""Of the file, and of each variable unpacked."""
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT_TYPES = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_COMPLEX = 0x0800
_MAX_DEPTH = 16
_MAX_FIELDS = 4096


class _DamagedError(Exception):
    """The bytes do not make up what they say."""


def is_mat5(start: bytes) -> bool:
    """Whether a file that begins with these bytes (128 or more) is one."""
    return len(start) >= _HEADER and start[126:128] in (b"IM", b"MI") and not start.startswith(b"MATLAB 7.3")


def read_mat5(path: Path) -> dict[str, Any]:
    """The variables of the file by name: arrays, str for text, dict for a struct, list for cells and struct arrays.

    Other things (functions, objects, sparse matrices) are left out. Raises InputError when the file is damaged or
    too large.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES >> 30} GiB: save it as HDF5 (-v7.3).")
    content = path.read_bytes()
    order = "<" if content[126:128] == b"IM" else ">"
    result: dict[str, Any] = {}
    try:
        for kind, data in _elements(memoryview(content)[_HEADER:], order):
            if kind == _COMPRESSED:
                kind, data = next(_elements(memoryview(_unpacked(data)), order))
            if kind == _MATRIX:
                name, value = _matrix(data, order, 0)
                if value is not None:
                    result[name] = value
    except (_DamagedError, StopIteration, ValueError, struct.error, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path} is damaged: it is no whole MATLAB file ({error or 'it ends too early'}).") from None
    return result


def _unpacked(data: memoryview) -> bytes:
    stream = zlib.decompressobj()
    result = stream.decompress(data, MAX_BYTES)
    if stream.unconsumed_tail:
        raise _DamagedError("a variable is too large")
    if not stream.eof:
        raise _DamagedError("a variable is cut off")
    return result


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and bytes of the elements in a stretch of the file."""
    place = 0
    while place + 8 <= len(data):
        (first,) = struct.unpack_from(order + "I", data, place)
        if first >> 16:  # the short form: length and type in one word, the bytes in the next
            length, kind, start = first >> 16, first & 0xFFFF, place + 4
            if length > 4:
                raise _DamagedError("a short element is too long")
            after = place + 8
        else:
            kind, length, start = first, struct.unpack_from(order + "I", data, place + 4)[0], place + 8
            after = start + length if kind == _COMPRESSED else start + length + -length % 8
        if start + length > len(data):
            raise _DamagedError("an element reaches beyond the end")
        yield kind, data[start : start + length]
        place = after


def _matrix(data: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """Name and value of a matrix element; the value of a kind that is not read is None."""
    if depth > _MAX_DEPTH:
        raise _DamagedError("its structs are nested too deeply")
    if not len(data):
        return "", np.zeros((0, 0))
    parts = _elements(data, order)
    flags = struct.unpack_from(order + "I", _next(parts))[0]
    kind = flags & 0xFF
    shape = tuple(int(n) for n in _numbers(*next(parts), order))
    if not 1 <= len(shape) <= 32 or min(shape) < 0:
        raise _DamagedError("an array has impossible dimensions")
    name = bytes(_next(parts)).decode("latin-1")
    count = math.prod(shape)
    if kind in _NUMERIC:
        real = _numbers(*next(parts), order, count).astype(_NUMERIC[kind], copy=False)
        if flags & _COMPLEX:
            real = real + 1j * _numbers(*next(parts), order, count)
        return name, real.reshape(shape, order="F")
    if kind == _CHAR:
        return name, _text(next(parts), order)
    if kind == _CELL:
        if count > len(data) // 8:
            raise _DamagedError("it names more cells than there are")
        return name, [_matrix(_next(parts), order, depth + 1)[1] for _ in range(count)]
    if kind == _STRUCT:
        (width,) = _numbers(*next(parts), order, 1)
        names = bytes(_next(parts))
        if not 1 <= width <= _MAX_FIELDS or len(names) // int(width) > _MAX_FIELDS:
            raise _DamagedError("a struct has impossible fields")
        fields = [names[k : k + width].split(b"\0")[0].decode("latin-1") for k in range(0, len(names), int(width))]
        if count * max(1, len(fields)) > len(data) // 8 + 1:
            raise _DamagedError("it names more fields than there are")
        items = [{field: _matrix(_next(parts), order, depth + 1)[1] for field in fields} for _ in range(count)]
        return name, items[0] if count == 1 else items
    return name, None


def _next(parts: Iterator[tuple[int, memoryview]]) -> memoryview:
    return next(parts)[1]


def _numbers(kind: int, data: memoryview, order: str, count: int | None = None) -> np.ndarray:
    if kind not in _TYPES:
        raise _DamagedError(f"an array has the unknown type {kind}")
    dtype = np.dtype(order + _TYPES[kind])
    if len(data) % dtype.itemsize or (count is not None and len(data) != count * dtype.itemsize):
        raise _DamagedError("an array's size and its data do not agree")
    return np.frombuffer(data, dtype)


def _text(part: tuple[int, memoryview], order: str) -> str:
    kind, data = part
    if kind in _TEXT_TYPES:
        suffix = "" if kind == 16 else ("-le" if order == "<" else "-be")
        return bytes(data).decode(_TEXT_TYPES[kind] + suffix)
    return "".join(chr(code) for code in _numbers(kind, data, order).tolist() if 0 <= code < 0x110000)
