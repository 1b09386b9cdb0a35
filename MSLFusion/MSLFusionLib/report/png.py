"""Grey pictures as PNG bytes, for the parts of the page that need no drawing."""

import base64
import struct
import zlib

import numpy as np


def grey_png(picture: np.ndarray) -> bytes:
    """`picture` (rows, columns) in [0, 1], as an 8-bit grey PNG; values outside are clipped."""
    levels = np.rint(np.clip(np.nan_to_num(picture), 0.0, 1.0) * 255).astype(np.uint8)
    rows, columns = levels.shape
    scanlines = np.concatenate([np.zeros((rows, 1), np.uint8), levels], axis=1)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(scanlines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def data_uri(png: bytes) -> str:
    """PNG bytes as an address that can stand in a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
