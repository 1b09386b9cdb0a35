"""The messages between a worker and its client: one line of JSON, then the bytes of the arrays it names.

The header line is UTF-8 without line breaks. Its entry "arrays" lists {"name", "dtype", "shape"} of each array; their
bytes follow the line in that order, little-endian, C order, without gaps. Nothing else is ever on the stream. Sizes
are checked against limits before any memory is taken; there are no pickles. After a damaged header nobody can tell
where the next message begins, so it ends the conversation.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import numpy as np

PROTOCOL = 1
MAX_HEADER = 16 * 2**20
MAX_ARRAYS = 8
MAX_AXES = 4
MAX_BYTES = 8 * 2**30
"""Limits of one message: bytes of its header line, number of arrays, their axes, their bytes together."""

DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float16", "float32", "float64")


class ProtocolError(Exception):
    """What was given or read is no message; the sentence says why."""


@dataclass(frozen=True, eq=False)
class Message:
    """One message: its header without "arrays", and the arrays by name (writable, of their own memory)."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """What kind of message it is; empty when the header does not tell."""
        kind = self.header.get("type")
        return kind if isinstance(kind, str) else ""

    @property
    def id(self) -> int | None:
        """The request that it belongs to."""
        number = self.header.get("id")
        return number if isinstance(number, int) and not isinstance(number, bool) else None


def encode(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> list[memoryview]:
    """The pieces of a message, to be written one after the other; large arrays are not copied.

    Raises ProtocolError for what `Parser` would refuse, TypeError or ValueError when the header is not JSON.
    """
    pieces, described = [], []
    for name, given in (arrays or {}).items():
        array = np.asarray(given)
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        described.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape)})
        if array.size:
            pieces.append(array.reshape(-1).view(np.uint8).data)
    _check_arrays(described, MAX_BYTES)
    line = json.dumps({**header, "arrays": described}, ensure_ascii=True, allow_nan=False).encode() + b"\n"
    if len(line) > MAX_HEADER:
        raise ProtocolError(f"The header has {len(line)} bytes; {MAX_HEADER} are allowed.")
    return [memoryview(line), *pieces]


class Parser:
    """Messages from a stream of bytes that may come in pieces of any size."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._header: dict[str, Any] | None = None
        self._arrays: dict[str, np.ndarray] = {}
        self._waiting: list[memoryview] = []
        self._broken: str | None = None

    @property
    def idle(self) -> bool:
        """True between messages, False when a part of one has come."""
        return self._header is None and not self._line

    @property
    def broken(self) -> str | None:
        """Why nothing more can be read, None while all is well."""
        return self._broken

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages that are complete with these bytes; what comes after damage (`broken`) is ignored."""
        if self._broken is not None:
            return []
        found: list[Message] = []
        data, at = bytes(data), 0
        try:
            while at < len(data):
                at = self._fill(data, at) if self._waiting else self._read_line(data, at)
                if self._header is not None and not self._waiting:
                    found.append(Message(self._header, self._arrays))
                    self._header, self._arrays = None, {}
        except ProtocolError as error:
            self._broken = str(error)
            self._arrays, self._waiting = {}, []
        return found

    def _read_line(self, data: bytes, at: int) -> int:
        """Read on in the header line; gives the place up to which `data` is read, as `_fill` does."""
        limit = min(len(data), at + MAX_HEADER - len(self._line))
        end = data.find(b"\n", at, limit)
        if end < 0:
            if limit < len(data):
                raise ProtocolError(f"A header line has more than {MAX_HEADER} bytes.")
            self._line += data[at:limit]
            return limit
        header = _parsed(bytes(self._line + data[at:end]))
        self._line.clear()
        described = header.pop("arrays", [])
        _check_arrays(described, self._max_bytes)
        for entry in described:
            array = self._allocated(entry)
            self._arrays[entry["name"]] = array
            if array.size:
                self._waiting.append(array.reshape(-1).view(np.uint8).data)
        self._header = header
        return end + 1

    def _fill(self, data: bytes, at: int) -> int:
        """Read on in the arrays."""
        target = self._waiting[0]
        n = min(len(target), len(data) - at)
        target[:n] = memoryview(data)[at : at + n]
        if n == len(target):
            self._waiting.pop(0)
        else:
            self._waiting[0] = target[n:]
        return at + n

    def _allocated(self, entry: dict[str, Any]) -> np.ndarray:
        try:
            return np.empty(entry["shape"], np.dtype(entry["dtype"]).newbyteorder("<"))
        except MemoryError:
            raise ProtocolError(f"The array '{entry['name']}' of {entry['shape']} does not fit the memory.") from None


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ProtocolError(f"A header line is no JSON: {_shown(line)}.") from None
    if not isinstance(header, dict):
        raise ProtocolError(f"A header line is no JSON object: {_shown(line)}.")
    return header


def _check_arrays(described: Any, max_bytes: int) -> None:
    """Raises ProtocolError unless `described` is a list of arrays within the limits."""
    if not isinstance(described, list) or len(described) > MAX_ARRAYS:
        raise ProtocolError(f"A header must list at most {MAX_ARRAYS} arrays.")
    total, names = 0, set()
    for entry in described:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or entry["name"] in names:
            raise ProtocolError("A header names an array twice or not at all.")
        names.add(entry["name"])
        dtype, shape = entry.get("dtype"), cast(Any, entry.get("shape"))
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ProtocolError(f"An array has the type {dtype!r}; possible are {', '.join(DTYPES)}.")
        whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
        if not whole or not 1 <= len(shape) <= MAX_AXES or min(shape) < 0 or max(shape) > max_bytes:
            raise ProtocolError(f"An array has the shape {str(shape)[:80]}, which is not possible.")
        total += math.prod(shape) * np.dtype(dtype).itemsize
        # NumPy cannot hold sizes whose non-zero part overflows, even where another axis is empty.
        if total > max_bytes or math.prod(max(n, 1) for n in shape) > max_bytes:
            raise ProtocolError(f"The arrays of a message take {total} bytes; {max_bytes} are allowed.")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _shown(line: bytes) -> str:
    text = line[:60].decode("utf-8", "replace")
    return repr(text if len(line) <= 60 else text + "...")
