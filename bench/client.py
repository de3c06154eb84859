"""Child process: the load on a gRPC server, through raw stubs; pictures come inline, or in a stream's chunks."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import grpc

from bench.closed_loop import closed_loop
from bench.echo import ECHO_TAG
from bench.pictures import Checker, prompt
from bench.worker import Service, serve
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateStreamRequest
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictord.providers.bytes.malloc import tune_malloc

MODELS = {"openai": "gpt-image-2", "gemini": "gemini-3.1-flash-image"}
PREVIEWS = 2
_ANY_SIZE = 1 << 30
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share one connection
]


class Client:
    """Some connections to one server.

    Args:
        address: the server's, `host:port`.
        pid: the server's process, whose CPU time counts.
        channels: connections.
    """

    def __init__(self, address: str, pid: int, channels: int) -> None:
        self._pid = pid
        self.channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(channels)]
        self._stubs = cycle([ImageServiceStub(channel) for channel in self.channels])

    async def run(self, provider: str, size_bytes: int, tags: list[str], concurrency: int) -> dict[str, Any]:
        """Draw one picture for each tag; provider `echo` is the echo server's."""
        is_echo = provider == "echo"
        checker = Checker("openai", size_bytes, [ECHO_TAG]) if is_echo else Checker(provider, size_bytes, tags)
        model = MODELS.get(provider, "")

        async def call(tag: str) -> None:
            request = GenerateRequest(prompt=prompt(size_bytes, tag), model=model, max_inline_bytes=_ANY_SIZE)
            answer = await next(self._stubs).Generate(request)
            image = answer.generation.outputs[0].image
            checker.take(ECHO_TAG if is_echo else tag, image.data, sha256=image.sha256)

        result = await closed_loop(call, tags, concurrency=concurrency, pid=self._pid)
        checker.finish()
        result.wrong = checker.wrong
        return result.as_json()

    async def stream(self, size_bytes: int, tags: list[str], concurrency: int) -> dict[str, Any]:
        """Draw one picture for each tag as a stream with previews; notes when each preview was in hand."""
        checker = Checker("openai", size_bytes, tags, PREVIEWS)
        receipts: list[tuple[str, int, float]] = []

        async def call(tag: str) -> None:
            request = GenerateRequest(prompt=prompt(size_bytes, tag), model=MODELS["openai"], preview_count=PREVIEWS)
            number, chunks = 0, []
            async for answer in next(self._stubs).GenerateStream(GenerateStreamRequest(request=request)):
                event = answer.event
                kind = event.WhichOneof("event")
                if kind == "preview_chunk":
                    chunks.append(event.preview_chunk.data)
                    if event.preview_chunk.last:
                        picture, chunks = b"".join(chunks), []
                        receipts.append((tag, number, time.monotonic()))
                        checker.take(tag, picture, partial=number)
                        number += 1
                elif kind == "image_chunk":
                    chunks.append(event.image_chunk.data)
                    if event.image_chunk.last:
                        checker.take(tag, b"".join(chunks))
            if number != PREVIEWS:
                raise RuntimeError(f"{number} of {PREVIEWS} previews came")

        result = await closed_loop(call, tags, concurrency=concurrency, pid=self._pid)
        result.wrong, result.receipts = checker.wrong, receipts
        return result.as_json()


@asynccontextmanager
async def client(address: str, pid: int, channels: int) -> AsyncIterator[Service]:
    """Connect to a server."""
    tune_malloc()  # it is not under test, and its page faults would be part of the latency
    connected = Client(address, pid, channels)
    try:
        yield Service(handlers={"run": connected.run, "stream": connected.stream})
    finally:
        for channel in connected.channels:
            await channel.close()


if __name__ == "__main__":
    serve(client)
