"""The HTTP listener: an ASGI application under uvicorn, inside a process that has its own loop and its own signals."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

MOST_CONNECTIONS = 1000
STOP_GRACE_S = 1


class HttpListener:
    """Serves an application over HTTP/1.1.

    Args:
        listen: `host:port`; port 0 takes a free one.
        app: what is served.
    """

    def __init__(self, listen: str, app: ASGIApp) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=STOP_GRACE_S,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None
        self._address = listen

    @property
    def address(self) -> str:
        """`host:port` as bound."""
        return self._address

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            OSError: the address is taken.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        bound = socket.create_server((self._host, self._port), family=family)
        host, port = bound.getsockname()[:2]
        self._address = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
        self._serving = asyncio.create_task(self._server.serve([bound]))
        await self._server.ready.wait()

    async def stop(self) -> None:
        """Close the listener; answers on their way get a second."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when it serves."""
        await super().startup(sockets)
        self.ready.set()
