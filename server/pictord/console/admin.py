"""The admin listener: `/metrics` for Prometheus and `/healthz` for orchestrators, on a port of its own."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

logger = logging.getLogger(__name__)

_HTTP_2 = "PRI"
"""How every HTTP/2 connection begins; the parser's text has it."""


class AdminSite:
    """Serves metrics and health over HTTP.

    Args:
        listen: `host:port`; port 0 takes a free one.
        registry: what `/metrics` shows.
        is_serving: whether `/healthz` answers 200, else 503.
    """

    def __init__(self, listen: str, registry: CollectorRegistry, is_serving: Callable[[], bool]) -> None:
        self._host, _, port = listen.rpartition(":")
        self._port = int(port)
        self._registry = registry
        self._is_serving = is_serving
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        plainly = _Plainly(logger, {}, at=lambda: self.address)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, logger=plainly)

    @property
    def address(self) -> str:
        """`host:port` as bound."""
        host, port = self._runner.addresses[0][:2]
        return f"{host}:{port}"

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            OSError: the address is taken.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host.strip("[]"), self._port).start()

    async def stop(self) -> None:
        """Close the listener."""
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _request: web.Request) -> web.Response:
        if self._is_serving():
            return web.json_response({"status": "serving"})
        return web.json_response({"status": "draining"}, status=503)


class _Plainly(logging.LoggerAdapter[logging.Logger]):
    """Logs in one line what aiohttp logs with a traceback: a stranger without HTTP/1. All else stays as it is.

    Args:
        to: where it is logged.
        extra: of every line.
        at: the address that was spoken to.
    """

    def __init__(self, to: logging.Logger, extra: Mapping[str, object], *, at: Callable[[], str]) -> None:
        super().__init__(to, extra)
        self._at = at

    def log(self, level: int, msg: object, *args: object, **how: Any) -> None:
        """Log what aiohttp says; its only argument is who called."""
        error = how.get("exc_info")
        if isinstance(error, BadHttpMessage):
            spoke = "HTTP/2, as gRPC does," if _HTTP_2 in error.message else "no HTTP"
            text = "%s spoke %s to the admin listener %s, which has /metrics and /healthz over HTTP/1"
            super().log(min(level, logging.WARNING), text, *args, spoke, self._at())
        else:
            super().log(level, msg, *args, **how)
