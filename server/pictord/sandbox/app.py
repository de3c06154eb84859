"""The sandbox on the network: routes, start and stop."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from pictord.sandbox import admin, fast, gemini_api, openai_api
from pictord.sandbox.faults import UnknownFault
from pictord.sandbox.openai_faults import error
from pictord.sandbox.sandbox import Sandbox
from pictord.sandbox.settings import SandboxSettings

MOST_BODY_BYTES = 1 << 30
OPENAI = re.compile(r"/images/(generations|edits)$")
GEMINI = re.compile(
    r"(?:^|/)(?P<version>v1beta1|v1beta|v1)/"
    r"(?P<vertex>(?:projects/[^/]+/locations/[^/]+/)?publishers/google/)?"
    r"models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)$"
)


def application(sandbox: Sandbox) -> web.Application:
    """Both providers' APIs under any path prefix, and the admin calls under /sandbox."""

    async def provider(request: web.Request) -> web.StreamResponse:
        try:
            if match := OPENAI.search(request.path):
                operation = "generate" if match[1] == "generations" else "edit"
                return await openai_api.images(sandbox, request, operation)
            if match := GEMINI.search(request.path):
                return await gemini_api.generate_content(sandbox, request, match)
        except UnknownFault as problem:
            return web.json_response(error(f"sandbox: {problem}", kind="sandbox_error"), status=400)
        text = f"Invalid URL ({request.method} {request.path})"
        return web.json_response(error(text), status=404)

    app = web.Application(client_max_size=MOST_BODY_BYTES)
    admin.add_routes(app.router, sandbox)
    app.router.add_post("/{path:.*}", provider)
    return app


@asynccontextmanager
async def run(settings: SandboxSettings | None = None) -> AsyncIterator[Sandbox]:
    """Serve until the block is left; then every open call is dropped at once."""
    settings = settings or SandboxSettings()
    sandbox = Sandbox(settings)
    if settings.fast:
        async with fast.serve(settings) as server:
            sandbox.address = server.address
            yield sandbox
        await sandbox.stop()
        return
    runner = web.AppRunner(
        application(sandbox), access_log=None, handler_cancellation=True, shutdown_timeout=0.05, auto_decompress=True
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        await site.start()
        host, port = runner.addresses[0][:2]
        sandbox.address = f"http://{host}:{port}"
        yield sandbox
    finally:
        await sandbox.stop()
        await runner.cleanup()


def serve_forever(
    settings: SandboxSettings,
    *,
    announce: Callable[[str], None] = lambda text: print(text, flush=True),  # noqa: T201 - the command's output
) -> None:
    """Serve in the foreground until interrupted, saying loudly that nothing here is real."""

    async def forever() -> None:
        async with run(settings) as sandbox:
            announce(banner(sandbox))
            stop = asyncio.Event()
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
            await stop.wait()

    asyncio.run(forever())


def banner(sandbox: Sandbox) -> str:
    """What the command prints when it is ready."""
    return (
        "=== SANDBOX === both providers are simulated: nothing is paid, no picture is real\n"
        f"  OPENAI_BASE_URL={sandbox.openai_base_url}\n"
        f"  GEMINI_BASE_URL={sandbox.gemini_base_url}\n"
        f"  admin {sandbox.address}/sandbox/healthz  seed {sandbox.settings.seed}  "
        f"time scale {sandbox.settings.time_scale}"
    )
