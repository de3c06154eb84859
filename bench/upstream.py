"""Child process: the sandbox's fast mode, which notes when it begins to write each event of a stream."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.worker import Service, serve
from pictord.sandbox.fast import FastServer
from pictord.sandbox.settings import SandboxSettings


@asynccontextmanager
async def upstream(latency_ms: float) -> AsyncIterator[Service]:
    """Answer bench prompts after `latency_ms`; a stream's events are spread over it."""
    written: dict[str, float] = {}
    server = FastServer(
        SandboxSettings(fast_latency_ms=latency_ms),
        on_event=lambda stamp: written.setdefault(stamp, time.monotonic()),
    )

    async def take_written() -> dict[str, float]:
        """When each event since the last time was written, by its stamp (`tag/number`), on the monotonic clock."""
        taken = dict(written)
        written.clear()
        return taken

    accepting = asyncio.create_task(server.accept())
    try:
        yield Service({"address": server.address}, {"written": take_written})
    finally:
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)


if __name__ == "__main__":
    serve(upstream)
