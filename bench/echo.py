"""Child process under test: a bare grpc.aio server that answers a ready picture, the limit of any gateway in Python.

It is the limit only if it wastes nothing: it has the gateway's allocator settings, and fills its answer in place.
Without the two it pays for 2,900 page faults a picture of 1.5 MiB, four times the whole call.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from bench.worker import Service, serve
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateResponse
from pictord.providers.bytes.malloc import tune_malloc
from pictord.sandbox.fast import expected_picture

_PROMPT = re.compile(r"bench (\d+) ")

ECHO_TAG = "echo"
"""Every answer's tag."""


class Echo:
    """The gateway's messages, and nothing behind them."""

    def __init__(self) -> None:
        self._pictures: dict[int, bytes] = {}

    def handler(self) -> grpc.GenericRpcHandler:
        """`Generate` of the contract."""
        generate = grpc.unary_unary_rpc_method_handler(
            self._generate,
            request_deserializer=GenerateRequest.FromString,
            response_serializer=GenerateResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler("pictor.v1.ImageService", {"Generate": generate})

    async def _generate(self, request: GenerateRequest, _context: Any) -> GenerateResponse:
        """Answer a picture of the size that the prompt asks for."""
        asked = _PROMPT.match(request.prompt)
        size_bytes = int(asked[1]) if asked else 0
        picture = self._pictures.get(size_bytes)
        if picture is None:
            picture = self._pictures[size_bytes] = expected_picture(size_bytes, ECHO_TAG, "openai")
        response = GenerateResponse()
        response.generation.outputs.add().image.data = picture  # in place: wrapping a message copies it
        return response


@asynccontextmanager
async def echo() -> AsyncIterator[Service]:
    """Listen on a free port of loopback."""
    tune_malloc()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo().handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Service({"address": f"127.0.0.1:{port}"})
    finally:
        await server.stop(None)


if __name__ == "__main__":
    serve(echo)
