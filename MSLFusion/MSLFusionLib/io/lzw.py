"""Unpacking files made by the UNIX program `compress` (.Z), which Python's library does not know."""

import numpy as np

_MAGIC = b"\x1f\x9d"
_CLEAR = 256
_FIRST_BITS = 9
_BLOCK = 8 * 8192


def unpacked(data: bytes, limit: int) -> bytes:
    """The content of a .Z file, at most `limit` bytes of it; ValueError when it is damaged or no .Z file.

    Codes are 9 bits wide at first and grow with the table of strings to at most 16; whenever their width changes,
    or the table is cleared, the rest of a group of eight codes is padding.
    """
    if len(data) < 3 or not data.startswith(_MAGIC):
        raise ValueError("no .Z file")
    widest, clears = data[2] & 0x1F, bool(data[2] & 0x80)
    if not _FIRST_BITS < widest <= 16:
        raise ValueError("codes of an unknown width")
    stream = np.frombuffer(data, np.uint8, offset=3)
    start: list[bytes] = [bytes([value]) for value in range(256)] + ([b""] if clears else [])
    table, before, parts, made, position, width = list(start), b"", [], 0, 0, _FIRST_BITS
    while position < len(stream):
        room = (1 << width) - len(table) + (not before) if width < widest else _BLOCK
        codes = _codes(stream[position : position + -(-min(room, _BLOCK) * width // 8)], width, min(room, _BLOCK))
        cleared = False
        taken = 0
        for code in codes:
            taken += 1
            if code == _CLEAR and clears:
                cleared = True
                break
            if code < len(table):
                entry = table[code]
            elif code == len(table) and before:
                entry = before + before[:1]
            else:
                raise ValueError("a code that cannot be")
            parts.append(entry)
            made += len(entry)
            if before and len(table) < 1 << widest:
                table.append(before + entry[:1])
            before = entry
            if made >= limit:
                return b"".join(parts)[:limit]
        if not taken:
            break
        position += -(-taken // 8) * width
        if cleared:
            table, before, width = list(start), b"", _FIRST_BITS
        elif width < widest and len(table) == 1 << width:
            width += 1
    return b"".join(parts)


def _codes(stream: np.ndarray, width: int, most: int) -> list[int]:
    """The codes of `width` bits, lowest bit first, that are whole in the stream, at most so many."""
    bits = np.unpackbits(stream, bitorder="little")
    count = min(len(bits) // width, most)
    weights = 1 << np.arange(width)
    codes: list[int] = (bits[: count * width].reshape(count, width) @ weights).tolist()
    return codes
