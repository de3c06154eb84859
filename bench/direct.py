"""Child process: the upstream itself, called through a plain socket, for what a call takes without anybody between."""

import json
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jiter
import pybase64

from bench.closed_loop import Result
from bench.pictures import Checker, prompt
from bench.worker import Service, serve

_PATHS = {"openai": "/v1/images/generations", "gemini": "/v1beta/models/gemini-3.1-flash-image:generateContent"}
_LENGTH = re.compile(rb"content-length: (\d+)")
_READ_BYTES = 1024 * 1024


class Direct:
    """One kept-alive connection to the upstream."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self, provider: str, size_bytes: int, tags: list[str]) -> dict[str, Any]:
        """One call for each tag, one after the other; the time ends with the body's last byte."""
        checker, result = Checker(provider, size_bytes, tags), Result(len(tags))
        for tag in tags:
            body = json.dumps({"prompt": prompt(size_bytes, tag)}).encode()
            started = time.monotonic()
            answer = self._post(_PATHS[provider], body)
            result.latencies_s.append(time.monotonic() - started)
            checker.take(tag, _picture(provider, answer))
        result.wrong = checker.wrong
        return result.as_json()

    def _post(self, path: str, body: bytes) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._socket.recv(_READ_BYTES)
        length = _LENGTH.search(received)
        start = end + 4
        total = start + int(length[1] if length else 0)
        while len(received) < total:
            received += self._socket.recv(_READ_BYTES)
        return bytes(received[start:total])


def _picture(provider: str, body: bytes) -> bytes:
    answer: Any = jiter.from_json(body)
    if provider == "openai":
        return pybase64.b64decode(answer["data"][0]["b64_json"])
    return pybase64.b64decode(answer["candidates"][0]["content"]["parts"][0]["inlineData"]["data"])


@asynccontextmanager
async def direct(upstream: str) -> AsyncIterator[Service]:
    """Connect to the upstream."""
    yield Service(handlers={"run": Direct(upstream).run})


if __name__ == "__main__":
    serve(direct)
