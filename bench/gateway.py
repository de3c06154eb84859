"""Child process under test: the gateway as `pictord serve` builds it, with telemetry leaving through OTLP."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from bench.lag import LagProbe
from bench.worker import Service, serve
from pictord.app import build
from pictord.cli import spare_collector
from pictord.settings import SandboxUrls, Settings, TelemetryTable


@asynccontextmanager
async def gateway(upstream: str, otlp_endpoint: str, database: str | None) -> AsyncIterator[Service]:
    """Serve on free ports of loopback.

    Args:
        upstream: the sandbox's address.
        otlp_endpoint: where spans and metrics go, over gRPC.
        database: as the setting; None is an SQLite file in a temporary folder.
    """
    logging.basicConfig(level=logging.WARNING)
    settings = Settings(
        listen="127.0.0.1:0",
        admin_listen=None,
        http_listen=None,
        sandbox=True,
        sandbox_urls=SandboxUrls(openai=f"{upstream}/v1", gemini=upstream),
        database=database,
        telemetry=TelemetryTable(otlp_endpoint=otlp_endpoint),
    )
    probe = LagProbe()
    async with build(settings) as app:
        spare_collector()
        yield Service({"address": app.address}, {"watch_lag": probe.start, "lag": probe.stop})


if __name__ == "__main__":
    serve(gateway, run=uvloop.run)
