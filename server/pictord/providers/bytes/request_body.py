"""The request's body on its way into the socket: big parts are not copied, and the first byte is reported exactly."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from pictord.providers.bytes.exchange import Exchange

_BLOCK_BYTES = 256 * 1024
"""One write. What the kernel does not take of it is copied into the event loop's buffer, so it is kept short."""

_SMALL_BYTES = 16 * 1024
"""Pieces below this are joined: a multipart body has many of a few bytes, and each write is a system call."""


class RequestBody(Payload):
    """A body that is sent once.

    Args:
        pieces: The body, in pieces of any size.
        size_bytes: Its whole size, or None to send it chunked.
        write_timeout: Seconds that one block may take to leave; None for no limit.
        exchange: Its `sent` turns true right before the first byte that can leave, and not a step earlier.
    """

    def __init__(
        self,
        pieces: AsyncIterable[bytes],
        *,
        size_bytes: int | None,
        write_timeout: float | None,
        exchange: Exchange,
    ) -> None:
        super().__init__(pieces)
        self._pieces = pieces
        self._size = size_bytes
        self._write_timeout = write_timeout
        self._exchange = exchange

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # aiohttp's port
        """Refuse: the body is read once, by the socket."""
        raise TypeError("a request body that is sent once cannot be read back")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all blocks; aiohttp puts the headers in front of the first."""
        # A consumed payload is what keeps aiohttp from sending it again, on its own, over another connection.
        self._consumed = True
        async for block in _blocks(self._pieces):
            # aiohttp refuses to write to a closing transport: then nothing has left, and nothing will.
            if writer.transport is not None and not writer.transport.is_closing():
                self._exchange.mark_sent()
            async with asyncio.timeout(self._write_timeout):
                await writer.write(block)
        # Without any block the headers leave after this.
        self._exchange.mark_sent()


async def _blocks(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes | memoryview]:
    """Join what is small, cut what is big (without copying it), keep the order."""
    small: list[bytes] = []
    waiting = 0
    async for piece in pieces:
        if len(piece) < _SMALL_BYTES:
            small.append(piece)
            waiting += len(piece)
            if waiting < _SMALL_BYTES:
                continue
        if small:
            yield b"".join(small)
            small, waiting = [], 0
        if len(piece) >= _SMALL_BYTES:
            whole = memoryview(piece)
            for start in range(0, len(whole), _BLOCK_BYTES):
                yield whole[start : start + _BLOCK_BYTES]
    if small:
        yield b"".join(small)


def splice(body: bytes, attachments: Mapping[bytes, bytes]) -> list[bytes]:
    """`body` with each placeholder replaced, as pieces that are not joined.

    Raises:
        ValueError: A placeholder does not stand exactly once in the body.
    """
    places = sorted((body.find(placeholder), placeholder) for placeholder in attachments)
    pieces: list[bytes] = []
    done = 0
    for start, placeholder in places:
        if start < 0 or body.find(placeholder, start + len(placeholder)) >= 0:
            raise ValueError("an attachment's placeholder must stand exactly once in the request")
        pieces += (body[done:start], attachments[placeholder])
        done = start + len(placeholder)
    return [*pieces, body[done:]]
