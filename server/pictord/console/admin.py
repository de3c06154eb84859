"""The admin listener: `/metrics` for Prometheus and `/healthz` for orchestrators, on a port of its own."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


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
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

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
