"""Pictures to edit: drawn here, so that nothing but the standard library is needed."""

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGBA = 6


def picture(width: int, height: int) -> bytes:
    """A PNG with an opaque slope of colours."""
    row = b"\0" + b"".join(bytes((x * 255 // width, 96, 255 - x * 255 // width, 255)) for x in range(width))
    return _png(width, height, row * height)


def mask(width: int, height: int) -> bytes:
    """A PNG of the same size whose middle is transparent: that may change."""
    opaque = b"\0" + b"\0\0\0\xff" * width
    left = width // 4
    middle = b"\0" + b"\0\0\0\xff" * left + b"\0\0\0\0" * (width - 2 * left) + b"\0\0\0\xff" * left
    top = height // 4
    return _png(width, height, opaque * top + middle * (height - 2 * top) + opaque * top)


def _png(width: int, height: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, _RGBA, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
