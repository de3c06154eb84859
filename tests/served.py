"""A gateway with its console, for tests that drive a browser from a thread of their own."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gateway import Gateway, gateway

T = TypeVar("T")

PATIENCE_S = 30


class Served:
    """A running gateway seen from a thread that drives a browser."""

    def __init__(self, loop: asyncio.AbstractEventLoop, running: Gateway) -> None:
        self._loop = loop
        self.gateway = running

    @property
    def url(self) -> str:
        return f"http://{self.gateway.app.http_address}"

    def run(self, work: Callable[[Gateway], Awaitable[T]]) -> T:
        """Do something on the gateway's own loop."""

        async def working() -> T:
            return await work(self.gateway)

        return asyncio.run_coroutine_threadsafe(working(), self._loop).result(PATIENCE_S)


@contextmanager
def serving(**settings: Any) -> Iterator[Served]:
    """A gateway with its console on a free port, until the block is left."""
    started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, Gateway, asyncio.Event]]
    started = concurrent.futures.Future()

    async def serve() -> None:
        async with gateway(**{"http_listen": "127.0.0.1:0"} | settings) as running:
            over = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), running, over))
            await over.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="gateway")
    thread.start()
    loop, running, over = started.result(PATIENCE_S)
    try:
        yield Served(loop, running)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE_S)
