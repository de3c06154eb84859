"""What a picture's own bytes say of it, without decoding a pixel.

Used for callers' pictures before anything else touches them and for providers' pictures; none is decoded but for its
thumbnail. Every claim is bounded by the bytes at hand: nothing here allocates or loops by a number read from a header,
and the work grows with the number of chunks, not with the size of the picture.

Not done: checksums of pixel data, and walking a JPEG's entropy-coded data. A picture is called complete when its
structure reaches its end mark.

Sources, as known on 2026-11-22: PNG, https://www.w3.org/TR/png-3/; JPEG, ITU-T T.81 annex B; WebP, RFC 9649; where
each keeps C2PA, https://spec.c2pa.org (embedding manifests into assets).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

_MAX_CHUNKS = 65_536
"""More pieces than any encoder makes of 64 MiB; a file of only tiny pieces must not keep the event loop busy."""


class PictureProblem(StrEnum):
    """Why bytes are refused as a picture."""

    EMPTY = "empty"
    TEXT = "text"
    HTML = "html"
    OTHER_FORMAT = "other_format"
    UNKNOWN = "unknown"
    TRUNCATED_HEADER = "truncated_header"
    DAMAGED = "damaged"
    ZERO_SIZE = "zero_size"
    # a picture, but
    INCOMPLETE = "incomplete"
    TOO_MANY_BYTES = "too_many_bytes"
    SIDE_TOO_LONG = "side_too_long"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"


class PictureRefused(Exception):
    """A picture that is not taken; `text` is for people and quotes none of its bytes."""

    def __init__(self, problem: PictureProblem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.text = text


class NotAPicture(PictureRefused):
    """Bytes that are no PNG, JPEG or WebP picture at all."""


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """A picture as its header and structure describe it."""

    mime: str
    """`image/png`, `image/jpeg` or `image/webp`."""

    width_px: int
    height_px: int

    complete: bool
    """Whether the structure reaches its end mark; bytes after that do not matter."""

    frames: int
    """1, or the number of frames of an animation."""

    has_alpha: bool
    """Whether pixels can be transparent."""

    has_c2pa: bool
    """Whether it carries a C2PA manifest; whether that one is valid is not looked at."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What is taken; None means any."""

    max_bytes: int
    max_pixels: int
    max_side_px: int | None = None
    max_frames: int = 1


def inspect(data: bytes) -> PictureInfo:
    """Describe the picture in `data`.

    Raises:
        NotAPicture: Its `problem` says what the bytes are instead.
    """
    if data.startswith(_PNG_MAGIC):
        return _inspect_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _inspect_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _inspect_webp(data)
    raise _unknown(data)


def mime_type(data: bytes) -> str:
    """What `inspect` would call it, by the first bytes alone; `application/octet-stream` for what is no picture."""
    if data.startswith(_PNG_MAGIC):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"


def check(info: PictureInfo, size_bytes: int, limits: PictureLimits) -> None:
    """Hold a picture of `size_bytes` against `limits`.

    Raises:
        PictureRefused: The first thing that is wrong; being incomplete comes last.
    """
    side, pixels = max(info.width_px, info.height_px), info.width_px * info.height_px
    if size_bytes > limits.max_bytes:
        _refuse(PictureProblem.TOO_MANY_BYTES, f"has {size_bytes} bytes, {limits.max_bytes} are taken")
    if limits.max_side_px is not None and side > limits.max_side_px:
        _refuse(PictureProblem.SIDE_TOO_LONG, f"is {side} px long, {limits.max_side_px} are taken")
    if pixels > limits.max_pixels:
        _refuse(PictureProblem.TOO_MANY_PIXELS, f"has {pixels} pixels, {limits.max_pixels} are taken")
    if info.frames > limits.max_frames:
        _refuse(PictureProblem.TOO_MANY_FRAMES, f"has {info.frames} frames, {limits.max_frames} are taken")
    if not info.complete:
        _refuse(PictureProblem.INCOMPLETE, "breaks off before its end")


def _refuse(problem: PictureProblem, text: str) -> NoReturn:
    raise PictureRefused(problem, f"the picture {text}")


# PNG

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK = struct.Struct(">I4s")
_PNG_IHDR = struct.Struct(">I4sIIBBBBB")
_PNG_MOST = 2**31 - 1
"""The largest number of a PNG (https://www.w3.org/TR/png-3/#7Integers-and-byte-order), and of our database."""
_PNG_HEADER_BYTES = len(_PNG_MAGIC) + _PNG_IHDR.size + 4
_PNG_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Allowed bit depths by colour type; 4 and 6 have an alpha channel."""


def _inspect_png(data: bytes) -> PictureInfo:
    width, height, has_alpha = _png_header(data)
    frames, names = 1, set()
    for name, body, end in _png_chunks(data):
        names.add(name)
        if name == b"acTL" and end - body >= 4:
            frames = max(1, int.from_bytes(data[body : body + 4]))
    return PictureInfo(
        "image/png",
        width,
        height,
        complete=b"IEND" in names and b"IDAT" in names,
        frames=frames,
        has_alpha=has_alpha or b"tRNS" in names,
        has_c2pa=b"caBX" in names,
    )


def _png_header(data: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether there is an alpha channel."""
    if len(data) < _PNG_HEADER_BYTES:
        raise _truncated_header("PNG")
    start, end = len(_PNG_MAGIC), _PNG_HEADER_BYTES - 4
    length, name, width, height, depth, colour, *_ = _PNG_IHDR.unpack_from(data, start)
    checksum = int.from_bytes(data[end : end + 4])
    if length != 13 or name != b"IHDR" or zlib.crc32(data[start + 4 : end]) != checksum:
        raise _damaged("PNG")
    if depth not in _PNG_BIT_DEPTHS.get(colour, ()):
        raise _damaged("PNG")
    _refuse_zero_size("PNG", width, height)
    if max(width, height) > _PNG_MOST:
        raise _damaged("PNG")
    return width, height, colour in (4, 6)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each whole chunk behind the header, up to IEND or to where the structure breaks.

    Of pixel data only the first chunk is yielded: there may be thousands.
    """
    position, size, chunk_at = _PNG_HEADER_BYTES, len(data), _PNG_CHUNK.unpack_from
    last_name = b""
    for _ in range(_MAX_CHUNKS):
        if position + 8 > size:
            return
        length, name = chunk_at(data, position)
        end = position + 8 + length
        if end + 4 > size:
            return
        if name != b"IDAT" or last_name != b"IDAT":
            if not name.isalpha():
                return
            yield name, position + 8, end
            if name == b"IEND":
                return
        position, last_name = end + 4, name
    raise _damaged("PNG")


# JPEG

_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start of frame, in every coding (baseline, progressive, …); the three others are tables."""

_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length behind them."""

_SOS, _APP11, _SOI, _EOI = 0xDA, 0xEB, 0xD8, 0xD9

_C2PA_WITHIN_BYTES = 64
"""Of an APP11 segment: 8 bytes, the box's header (up to 16) and its description's (8), whose type starts with c2pa."""


def _inspect_jpeg(data: bytes) -> PictureInfo:
    size: tuple[int, int] | None = None
    has_c2pa = False
    scan = None
    for marker, body, end in _jpeg_segments(data):
        if marker in _SOF_MARKERS and end - body >= 5:
            size = (int.from_bytes(data[body + 3 : body + 5]), int.from_bytes(data[body + 1 : body + 3]))
        elif marker == _APP11:
            has_c2pa = has_c2pa or data.find(b"c2pa", body, min(end, body + _C2PA_WITHIN_BYTES)) >= 0
        elif marker == _SOS:
            scan = end
    if size is None:
        raise _truncated_header("JPEG")
    _refuse_zero_size("JPEG", *size)
    return PictureInfo(
        "image/jpeg",
        *size,
        # The end mark cannot stand inside entropy-coded data: there a 0xFF has 0x00 or a restart mark behind it.
        complete=scan is not None and data.rfind(b"\xff\xd9", scan) >= 0,
        frames=1,
        has_alpha=False,
        has_c2pa=has_c2pa,
    )


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each whole segment, up to the first scan's header or to where the data ends."""
    position = 2
    for _ in range(_MAX_CHUNKS):
        if position + 4 > len(data):
            return
        marker = data[position + 1]
        if data[position] != 0xFF or marker in (0x00, _SOI, _EOI):
            raise _damaged("JPEG")
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _BARE_MARKERS:
            position += 2
            continue
        body = position + 4
        position += 2 + int.from_bytes(data[position + 2 : body])
        if position < body:
            raise _damaged("JPEG")
        if position > len(data):
            return
        yield marker, body, position
        if marker == _SOS:
            return
    raise _damaged("JPEG")


# WebP

_WEBP_CHUNK = struct.Struct("<4sI")
_WEBP_HEADER_BYTES = 30
_VP8X_ALPHA = 0x10


def _inspect_webp(data: bytes) -> PictureInfo:
    if len(data) < _WEBP_HEADER_BYTES:
        raise _truncated_header("WebP")
    width, height, has_alpha = _webp_header(data[12:16], data[20:_WEBP_HEADER_BYTES])
    _refuse_zero_size("WebP", width, height)
    names = list(_webp_chunks(data))
    return PictureInfo(
        "image/webp",
        width,
        height,
        complete=8 + _webp_size_bytes(data) <= len(data) and not {b"VP8 ", b"VP8L", b"ANMF"}.isdisjoint(names),
        frames=max(1, names.count(b"ANMF")),
        has_alpha=has_alpha or b"ALPH" in names,
        has_c2pa=b"C2PA" in names,
    )


def _webp_header(name: bytes, head: bytes) -> tuple[int, int, bool]:
    """Width, height and alpha from the first chunk's name and first ten bytes."""
    if name == b"VP8X":
        width, height = int.from_bytes(head[4:7], "little"), int.from_bytes(head[7:10], "little")
        return 1 + width, 1 + height, bool(head[0] & _VP8X_ALPHA)
    if name == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
    if name == b"VP8 " and head[3:6] == b"\x9d\x01\x2a" and not head[0] & 1:
        width, height = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
        return width & 0x3FFF, height & 0x3FFF, False
    raise _damaged("WebP")


def _webp_size_bytes(data: bytes) -> int:
    """What the container says that it holds, behind its first eight bytes."""
    return int.from_bytes(data[4:8], "little")


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    """The name of each whole chunk."""
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + _WEBP_CHUNK.size > min(len(data), 8 + _webp_size_bytes(data)):
            return
        name, length = _WEBP_CHUNK.unpack_from(data, position)
        position += _WEBP_CHUNK.size + length
        if position > len(data):
            return
        yield name
        position += length % 2
    raise _damaged("WebP")


# everything else

_OTHER_FORMATS = (
    (b"GIF8", 0, "a GIF"),
    (b"BM", 0, "a BMP"),
    (b"II*\0", 0, "a TIFF"),
    (b"MM\0*", 0, "a TIFF"),
    (b"%PDF", 0, "a PDF"),
    (b"ftypavif", 4, "an AVIF"),
    (b"ftyphei", 4, "a HEIC"),
    (b"ftypmif1", 4, "a HEIF"),
)
_TAKEN = "PNG, JPEG and WebP are taken"


def _unknown(data: bytes) -> NotAPicture:
    if not data:
        return NotAPicture(PictureProblem.EMPTY, "there are no bytes")
    for magic, at, words in _OTHER_FORMATS:
        if data.startswith(magic, at):
            return NotAPicture(PictureProblem.OTHER_FORMAT, f"this is {words}; {_TAKEN}")
    if _PNG_MAGIC.startswith(data) or data in (b"\xff", b"\xff\xd8") or (data.startswith(b"RIFF") and len(data) < 12):
        return _truncated_header("PNG, JPEG or WebP")
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return NotAPicture(PictureProblem.HTML, f"this is a web page; {_TAKEN}")
    if _is_text(data[:512]):
        return NotAPicture(PictureProblem.TEXT, f"this is text; {_TAKEN}")
    return NotAPicture(PictureProblem.UNKNOWN, f"this is no known picture format; {_TAKEN}")


def _is_text(start: bytes) -> bool:
    """Whether it reads as UTF-8 without control characters (a character cut off at the end is forgiven)."""
    words = start.decode("utf-8", "ignore")
    return len(words.encode()) > len(start) - 4 and all(c.isprintable() or c in "\t\n\r" for c in words)


def _truncated_header(kind: str) -> NotAPicture:
    return NotAPicture(PictureProblem.TRUNCATED_HEADER, f"this {kind} breaks off inside its header")


def _damaged(kind: str) -> NotAPicture:
    return NotAPicture(PictureProblem.DAMAGED, f"this {kind}'s structure is damaged")


def _refuse_zero_size(kind: str, width: int, height: int) -> None:
    if not width or not height:
        raise NotAPicture(PictureProblem.ZERO_SIZE, f"this {kind} says that it is {width} x {height} px")
