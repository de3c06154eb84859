"""A server that writes down what it is sent: what leaves an adapter is compared with what leaves its SDK."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Recorder:
    """Refuses everything."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.address = ""

    async def take(self, request: web.Request) -> web.Response:
        """Note method, path, headers that mean something, and the body."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        unlike = ("host", "content-length", "accept-encoding", "accept", "connection", "user-agent")
        kept = {name: value for name, value in headers.items() if name not in unlike}
        body = json.loads(await request.read(), object_hook=_spelled_one_way)
        self.seen.append({"method": request.method, "path": request.path_qs, "headers": kept, "body": body})
        return web.json_response({"error": {"code": 400, "message": "noted", "status": "INVALID_ARGUMENT"}}, status=400)


def _spelled_one_way(found: dict[str, Any]) -> dict[str, Any]:
    """The SDK mixes `mime_type` with `mimeType` and writes base64 in the URL alphabet; protobuf's JSON takes both."""
    spelled = {re.sub("_([a-z])", lambda match: match[1].upper(), name): value for name, value in found.items()}
    if "data" in spelled:
        spelled["data"] = spelled["data"].replace("-", "+").replace("_", "/")
    return spelled


@asynccontextmanager
async def recording() -> AsyncIterator[Recorder]:
    """The recorder, listening."""
    recorder = Recorder()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", recorder.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    recorder.address = f"http://{host}:{port}"
    yield recorder
    await runner.cleanup()
