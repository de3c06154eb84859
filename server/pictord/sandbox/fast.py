"""Fast mode: answers of any size for next to no CPU, each verifiable by hash, for the benchmark.

A prompt `bench <size_bytes> <tag>` (anywhere in the request's body) gets a valid picture of 1024x1024 pixels and
exactly `size_bytes` bytes: PNG from OpenAI, JPEG from Gemini. Its first bytes carry the tag in a comment, the rest is
the same for every answer of that size: the drawing, and random bytes in an ancillary chunk. The head's length is
divisible by three, so head and rest are base64-encoded apart and joined; only the 140 characters of the head are made
for each answer, and the rest is sent as it lies in memory. A streamed call gets `partial_images` pictures (default 2,
tagged `<tag>/0`, `<tag>/1`) before the last.

It is its own HTTP/1.1 server on bare sockets, because a web framework would cost more than the answer. It checks
nothing and logs nothing: faults, charges and other prompts belong to the full sandbox.
"""

import asyncio
import hashlib
import io
import json
import random
import re
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

import pybase64
from PIL import Image

from pictord.sandbox import tables
from pictord.sandbox.settings import SandboxSettings
from pictord.sandbox.usage import Usage, gemini_usage, openai_usage

PROMPT = re.compile(rb"bench (\d{2,9}) ([\w.:-]{1,40})")
PARTIALS = re.compile(rb'partial_images"\D{1,8}([0-3])')
STREAMED = re.compile(rb'"stream": ?true|name="stream"\s+true')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PARTIALS_AT = (0.30, 0.55, 0.80)
STAMP_BYTES = 60
READ_BYTES = 1 << 18


@dataclass(frozen=True)
class Body:
    """A pre-made answer: what stands before the stamped head, and the rest from there on."""

    before: bytes
    rest: bytes


def expected_picture(size_bytes: int, tag: str, provider: str, partial: int | None = None) -> bytes:
    """The bytes that a call with this size and tag answers; `partial` counts a stream's partial images from 0."""
    return _head(provider, size_bytes, _stamp(tag, partial)) + _rest(provider, size_bytes)


def expected_sha256(size_bytes: int, tag: str, provider: str, partial: int | None = None) -> str:
    """The SHA-256 of `expected_picture`, in hexadecimal."""
    return hashlib.sha256(expected_picture(size_bytes, tag, provider, partial)).hexdigest()


def _stamp(tag: str, partial: int | None) -> bytes:
    return tag.encode() if partial is None else f"{tag}/{partial}".encode()


def _head(provider: str, size_bytes: int, stamp: bytes) -> bytes:
    """The picture's first bytes up to and with the stamp; a multiple of 3 long."""
    start = _drawing(provider, size_bytes)[0]
    if provider == "openai":
        return start + _png_chunk(b"tEXt", b"Comment\0" + stamp.ljust(STAMP_BYTES - 8))
    return start + _jpeg_segment(0xFE, stamp.ljust(STAMP_BYTES))


@lru_cache(maxsize=16)
def _rest(provider: str, size_bytes: int) -> bytes:
    """Everything after the head: the drawing and as many random bytes as the size needs."""
    _, drawing, end = _drawing(provider, size_bytes)
    missing = size_bytes - len(_head(provider, size_bytes, b"")) - len(drawing) - len(end)
    filler = random.Random(size_bytes).randbytes(missing)
    if provider == "openai":
        return drawing + _png_chunk(b"piCt", filler[: missing - 12]) + end
    segments, left = [], missing
    while left:  # a segment holds at most 65,533 bytes and has 4 of its own
        take = left if left <= 60_000 else 50_000
        segments.append(_jpeg_segment(0xEB, filler[: take - 4]))
        left -= take
    return b"".join(segments) + drawing + end


@lru_cache(maxsize=16)
def _drawing(provider: str, size_bytes: int) -> tuple[bytes, bytes, bytes]:
    """A gradient split into its signature and header, its pixels, and its end; the largest that leaves room.

    Raises:
        ValueError: no picture is so small.
    """
    for edge in (1024, 64):
        out = io.BytesIO()
        image = Image.linear_gradient("L").resize((edge, edge))
        image.save(out, "PNG" if provider == "openai" else "JPEG", quality=40)
        data = out.getvalue()
        split = (data[:33], data[33:-12], data[-12:]) if provider == "openai" else (data[:20], data[20:-2], data[-2:])
        if len(data) + STAMP_BYTES + 64 <= size_bytes:
            return split
    raise ValueError(f"no picture has only {size_bytes} bytes")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _jpeg_segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


@lru_cache(maxsize=64)
def _body(provider: str, size_bytes: int, form: str) -> Body:
    """The pre-made answer in one `form`: `whole`, or the name of a stream's event (`data` for Gemini)."""
    before, after = (_openai_frame if provider == "openai" else _gemini_frame)(form)
    return Body(before.encode(), pybase64.b64encode(_rest(provider, size_bytes)) + after.encode())


def _openai_frame(form: str) -> tuple[str, str]:
    model = tables.models("openai")["gpt-image-2"]
    usage = openai_usage(model, prompt="bench 1 a", inputs=[], size=(1024, 1024), quality="medium")
    described = '"background":"opaque","output_format":"png","quality":"medium","size":"1024x1024"'
    counts = json.dumps(
        {
            "input_tokens": usage.text_in,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": usage.text_in},
            "output_tokens": usage.image_out,
            "total_tokens": usage.total,
        }
    )
    if form == "whole":
        return f'{{"created":1,{described},"data":[{{"b64_json":"', f'"}}],"usage":{counts}}}'
    extra = ',"partial_image_index":0' if form.endswith("partial_image") else f',"usage":{counts}'
    start = f'event: {form}\ndata: {{"type":"{form}","created_at":1,{described},"b64_json":"'
    return start, f'"{extra}}}\n\n'


def _gemini_frame(form: str) -> tuple[str, str]:
    model = tables.models("gemini")["gemini-3.1-flash-image"]
    usage: Usage = gemini_usage(model, texts=["bench 1 a"], images_in=0, size="1K", images_out=1, text_out=0)
    counts = json.dumps(
        {
            "promptTokenCount": usage.text_in,
            "candidatesTokenCount": usage.image_out,
            "totalTokenCount": usage.total,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.text_in}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": usage.image_out}],
        }
    )
    start = '{"candidates":[{"content":{"role":"model","parts":[{"inlineData":{"mimeType":"image/jpeg","data":"'
    end = '"}}]},"finishReason":"STOP","index":0}],"usageMetadata":' + counts
    end += ',"modelVersion":"gemini-3.1-flash-image","responseId":"bench"}'
    return (start, end) if form == "whole" else ("data: " + start, end + "\r\n\r\n")


class FastServer:
    """Answers bench prompts on one listening socket; `on_event` hears each stamp of a stream before it is written."""

    def __init__(self, settings: SandboxSettings, *, on_event: Callable[[str], object] = lambda _stamp: None) -> None:
        self._on_event = on_event
        self._latency_s = settings.fast_latency_ms / 1000
        self._listener = socket.create_server((settings.host, settings.port), backlog=1024)
        self._listener.settimeout(0)
        self._connections: set[asyncio.Task[None]] = set()
        self.served = 0
        host, port = self._listener.getsockname()[:2]
        self.address = f"http://{host}:{port}"

    async def accept(self) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                connection, _ = await loop.sock_accept(self._listener)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                task = loop.create_task(self._converse(connection))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)
        finally:
            self._listener.close()
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _converse(self, connection: socket.socket) -> None:
        with connection:
            received = bytearray()
            try:
                while (request := await _read_request(connection, received)) is not None:
                    await self._answer(connection, *request)
                    self.served += 1
            except ConnectionError:
                return

    async def _answer(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        bench = PROMPT.search(body)
        line = head[: head.find(b"\r\n")]
        provider = "openai" if b"/images/" in line else "gemini"
        if bench is None or b"POST" not in line:
            await _send_small(connection, line)
            return
        size, tag = int(bench[1]), bench[2].decode()
        if b":streamGenerateContent" in line or (provider == "openai" and STREAMED.search(body)):
            family = "data" if provider == "gemini" else "image_edit" if b"/edits" in line else "image_generation"
            await self._send_stream(connection, family, (size, tag), body)
            return
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        made, stamped = _body(provider, size, "whole"), _stamped(provider, size, tag)
        length = len(made.before) + len(stamped) + len(made.rest)
        start = (
            f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: {tag}\r\n"
            f"content-length: {length}\r\n\r\n"
        )
        await _send(connection, start.encode() + made.before + stamped, made.rest)

    async def _send_stream(self, connection: socket.socket, family: str, bench: tuple[int, str], body: bytes) -> None:
        size, tag = bench
        provider = "gemini" if family == "data" else "openai"
        asked = PARTIALS.search(body)
        partials = 0 if provider == "gemini" else int(asked[1]) if asked else 2
        start = (
            f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: {tag}\r\n"
            "transfer-encoding: chunked\r\n\r\n"
        ).encode()
        waited = 0.0
        for index in (*range(partials), None):
            share = 1.0 if index is None else PARTIALS_AT[index]
            if self._latency_s:
                await asyncio.sleep(self._latency_s * (share - waited))
            waited = share
            event = family if provider == "gemini" else f"{family}.{'completed' if index is None else 'partial_image'}"
            made = _body(provider, size, event)
            stamped = _stamped(provider, size, tag, index)
            length = len(made.before) + len(stamped) + len(made.rest)
            self._on_event(_stamp(tag, index).decode())
            await _send(connection, b"%s%x\r\n%s%s" % (start, length, made.before, stamped), made.rest)
            start = b"\r\n"
        await _send(connection, b"\r\n0\r\n\r\n", b"")


def _stamped(provider: str, size: int, tag: str, partial: int | None = None) -> bytes:
    return pybase64.b64encode(_head(provider, size, _stamp(tag, partial)))


async def _read_request(connection: socket.socket, received: bytearray) -> tuple[bytes, bytes] | None:
    """The next request's head and body, taken off `received`; None when the client has gone."""
    loop = asyncio.get_running_loop()
    while (end := received.find(b"\r\n\r\n")) < 0:
        if not (data := await loop.sock_recv(connection, READ_BYTES)):
            return None
        received += data
    head = bytes(received[: end + 2])
    length = LENGTH.search(head)
    total = end + 4 + (int(length[1]) if length else 0)
    while len(received) < total:
        if not (data := await loop.sock_recv(connection, READ_BYTES)):
            return None
        received += data
    body = bytes(received[end + 4 : total])
    del received[:total]
    return head, body


async def _send_small(connection: socket.socket, line: bytes) -> None:
    healthy = b"/sandbox/healthz" in line
    text = (
        '{"sandbox":true,"status":"ok","fast":true}'
        if healthy
        else '{"error":{"message":"fast mode: bench <size> <tag>"}}'
    )
    status = "200 OK" if healthy else "404 Not Found"
    start = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n{text}"
    await _send(connection, start.encode(), b"")


async def _send(connection: socket.socket, start: bytes, rest: bytes) -> None:
    """Send `start` and `rest` without joining them."""
    try:
        sent = connection.sendmsg([start, rest])
    except BlockingIOError:
        sent = 0
    loop = asyncio.get_running_loop()
    if sent < len(start):
        await loop.sock_sendall(connection, start[sent:])
        sent = len(start)
    if sent - len(start) < len(rest):
        await loop.sock_sendall(connection, memoryview(rest)[sent - len(start) :])


@asynccontextmanager
async def serve(settings: SandboxSettings) -> AsyncIterator[FastServer]:
    """Serve until the block is left; open connections are dropped."""
    server = FastServer(settings)
    accepting = asyncio.create_task(server.accept())
    try:
        yield server
    finally:
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
