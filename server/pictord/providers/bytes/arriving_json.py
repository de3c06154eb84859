"""A JSON body of many MiB whose pictures are decoded and hashed while it arrives.

Kept as text until its end, a picture would stand in memory three times over, it would be out of the processor's cache
by the time that it is decoded, and hashing it in one go would keep everybody waiting. Decoded as it comes, 1.5 MiB take
half a millisecond less (5.2 -> 4.7 ms for the adapter's whole call), and 64 of them at once 60 MiB less (2026-11-28).

What stands under one of `_LONG_KEYS` is lifted out; the rest, with a mark in its place, is left for a parser. Nothing
is believed: text that is not base64 to its last character comes back as text, for the parser's user to refuse.
"""

import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import pybase64

_LONG_KEYS = re.compile(rb'"(?:b64_json|data|(thoughtSignature))"[ \t\r\n]*:[ \t\r\n]*"')
"""Where providers put base64 (OpenAI and Gemini, 2026-11-22); any other key only costs the time of parsing it."""

_LONG_BYTES = 16 * 1024
"""Below this, parsing is as quick."""

_KEY_BYTES = 256
"""A key that is cut in two is found within these; one with more blanks around its colon is left to the parser."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What long base64 text stood for, and its SHA-256 in hexadecimal, if that was asked for."""

    data: bytes = field(repr=False)
    sha256: str = ""


Lifted: TypeAlias = Decoded | memoryview
"""What long text came to: bytes, or the text if it is not plain base64."""


@dataclass(frozen=True, slots=True)
class ArrivedJson:
    """A whole body: its text with a mark for each long string, and what the marks stand for."""

    text: bytes = field(repr=False)
    lifted: Mapping[str, Lifted]
    size_bytes: int


def arrived(body: bytes, *, hashing: bool) -> ArrivedJson:
    """A body that is all here; `hashing` as of `ArrivingJson`."""
    arriving = ArrivingJson(hashing=hashing)
    arriving.feed(body)
    return arriving.end()


class ArrivingJson:
    """A body on its way in, however it is cut into chunks.

    Args:
        hashing: whether to hash pictures.
    """

    def __init__(self, *, hashing: bool) -> None:
        self._hashing = hashing
        self._text: list[bytes] = []
        self._unsearched = b""
        self._long: _LongText | None = None
        self._lifted: dict[str, Lifted] = {}
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk."""
        self._size_bytes += len(chunk)
        start = 0
        if self._long is not None:
            start = self._go_on(chunk, 0)
        if self._long is None:
            self._search(self._unsearched + chunk[start:])

    def end(self) -> ArrivedJson:
        """Say that no chunk follows; a string without an end is left out, so that the text breaks off there."""
        self._text.append(self._unsearched)
        return ArrivedJson(b"".join(self._text), self._lifted, self._size_bytes)

    def _search(self, chunk: bytes) -> None:
        """Look for long strings until one goes on behind the chunk, or the chunk ends."""
        done = 0
        while self._long is None and (key := _LONG_KEYS.search(chunk, done)) is not None:
            self._text.append(chunk[done : key.end()])
            self._long = _LongText(hashing=self._hashing and key[1] is None)
            done = self._go_on(chunk, key.end())
        keep = len(chunk) if self._long is not None else max(done, len(chunk) - _KEY_BYTES)
        self._text.append(chunk[done:keep])
        self._unsearched = chunk[keep:]

    def _go_on(self, chunk: bytes, start: int) -> int:
        """Give a long string its part of the chunk; the place where the text goes on."""
        assert self._long is not None  # noqa: S101 - asked only then
        quote = chunk.find(b'"', start)
        stop = len(chunk) if quote < 0 else quote
        self._long.take(memoryview(chunk)[start:stop])
        if quote >= 0:
            came_to = self._long.end()
            self._long = None
            if isinstance(came_to, bytes):
                self._text.append(came_to)
            else:
                mark = f"<lifted {len(self._lifted)}>"
                self._lifted[mark] = came_to
                self._text.append(mark.encode())
        return stop


class _LongText:
    """One string: short ones stay text, long ones are decoded piece by piece until one is not base64."""

    def __init__(self, *, hashing: bool) -> None:
        self._hash = hashlib.sha256() if hashing else None
        self._start: list[memoryview] = []
        self._start_bytes = 0
        self._is_long = False
        self._carry = b""
        self._decoded: list[bytes] = []
        self._is_padded = False
        self._raw: list[bytes] | None = None
        """All of the text, once it has proved not to be plain base64."""

    def take(self, piece: memoryview) -> None:
        """Take the next piece."""
        if self._raw is not None:
            self._raw.append(bytes(piece))
        elif self._is_long:
            self._decode(piece)
        else:
            self._start.append(piece)
            self._start_bytes += len(piece)
            if self._start_bytes >= _LONG_BYTES:
                start, self._start, self._is_long = self._start, [], True
                for each in start:
                    self.take(each)

    def end(self) -> bytes | Lifted:
        """What it came to; bytes are text that stays where it was."""
        if not self._is_long:
            return b"".join(self._start)
        if self._raw is None and not self._carry:
            return Decoded(b"".join(self._decoded), self._hash.hexdigest() if self._hash else "")
        raw = b"".join(self._raw or self._as_text(self._carry))
        return raw if b"\\" in raw else memoryview(raw)

    def _decode(self, piece: memoryview) -> None:
        """Decode what there is of whole groups of four characters; the rest waits for the next piece."""
        missing = -len(self._carry) % 4
        if len(piece) < missing:
            self._carry += bytes(piece)
            return
        whole = len(piece) - (len(piece) - missing) % 4
        there = (self._carry + bytes(piece[:missing]), piece[missing:whole])
        try:
            decoded = [self._bytes_of(groups) for groups in there if groups]
        except (binascii.Error, ValueError):
            self._raw = self._as_text(self._carry, bytes(piece))
            return
        self._decoded += decoded
        self._carry = bytes(piece[whole:])

    def _bytes_of(self, groups: bytes | memoryview) -> bytes:
        if self._is_padded:
            raise binascii.Error("text behind the padding")
        # Validating is faster than not: it skips the pass that discards foreign characters.
        data: bytes = pybase64.b64decode(groups, validate=True)
        self._is_padded = groups[-1] == ord("=")
        if self._hash is not None:
            self._hash.update(data)
        return data

    def _as_text(self, *rest: bytes) -> list[bytes]:
        """All of the text so far: what was decoded is put back, and then the rest."""
        return [pybase64.b64encode(b"".join(self._decoded)), *rest]
