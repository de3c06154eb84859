"""The door: the real app on a free port, the sandbox as both providers, and plain stubs on a real channel."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from pictor.v1.catalog_service_pb2_grpc import CatalogServiceStub
from pictor.v1.generation_pb2 import Generation
from pictor.v1.history_service_pb2 import GetGenerationRequest
from pictor.v1.history_service_pb2_grpc import HistoryServiceStub
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictor.v1.usage_service_pb2_grpc import UsageServiceStub
from pictord import app
from pictord.sandbox import Sandbox, SandboxSettings, check_header, run
from pictord.settings import GeminiAccount, OpenAIAccount, Quota, SandboxUrls, Settings

NO_LIMIT = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
GPT, NANO = "gpt-image-2", "gemini-3.1-flash-image"
# Their ends hold no letter that an id may have, so that none is found where there is only an id.
OPENAI_KEY, GEMINI_KEY = "sk-canary-openai-uilo", "AIza-canary-gemini-uilo"


@dataclass(frozen=True)
class Gateway:
    """A running gateway, its engines, and stubs to call it with."""

    app: app.App
    sandbox: Sandbox
    channel: grpc.aio.Channel

    @property
    def images(self) -> ImageServiceStub:
        return ImageServiceStub(self.channel)

    @property
    def history(self) -> HistoryServiceStub:
        return HistoryServiceStub(self.channel)

    @property
    def catalog(self) -> CatalogServiceStub:
        return CatalogServiceStub(self.channel)

    @property
    def usage(self) -> UsageServiceStub:
        return UsageServiceStub(self.channel)

    async def get(self, generation_id: str) -> Generation:
        answer = await self.history.GetGeneration(GetGenerationRequest(generation_id=generation_id))
        return answer.generation

    def charged_nanos(self) -> int:
        """What the sandbox's charge log says was billed: the truth of every money test."""
        return sum(charge.nanos for charge in self.sandbox.charges if charge.billed)


def openai_account(engines: Sandbox, key: str = OPENAI_KEY, quota: Quota | None = None) -> OpenAIAccount:
    return OpenAIAccount(key, base_url=engines.openai_base_url, quota=quota or Quota())


def gemini_account(engines: Sandbox, key: str = GEMINI_KEY) -> GeminiAccount:
    return GeminiAccount(key, base_url=engines.gemini_base_url)


@asynccontextmanager
async def gateway(
    *,
    outside: app.Outside | None = None,
    sandbox: SandboxSettings | None = None,
    real: bool = False,
    options: Sequence[tuple[str, Any]] = NO_LIMIT,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """Start sandbox and gateway, connect a channel; everything is closed again at the end.

    With `real` the gateway takes the engines for real ones that are reached at other addresses: with keys, a daily cap
    and no sandbox metadata. A setting may be a function of the engines.
    """
    async with AsyncExitStack() as stack:
        engines = await stack.enter_async_context(run(sandbox or SandboxSettings(time_scale=0)))
        defaults: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "admin_listen": None,
            "http_listen": None,
            "sandbox": not real,
            "sandbox_urls": None
            if real
            else SandboxUrls(engines.openai_base_url, engines.gemini_base_url, check_header),
            "openai": openai_account(engines) if real else None,
            "gemini": gemini_account(engines) if real else None,
            "drain_s": 0.0,
        }
        given = {name: value(engines) if callable(value) else value for name, value in settings.items()}
        running = await stack.enter_async_context(app.build(Settings(**(defaults | given)), outside))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(running.address, options=options))
        # Whatever a test left stalled must not hold up the drain.
        stack.callback(engines.release_stalls)
        yield Gateway(running, engines, channel)


@dataclass(frozen=True)
class Refusal:
    """An error as a client reads it."""

    code: str
    reason: str
    text: str
    fields: tuple[str, ...]
    metadata: dict[str, str]
    trailers: dict[str, str]


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Read google.rpc.Status with its ErrorInfo and BadRequest."""
    status = rpc_status.from_call(error)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    return Refusal(
        error.code().name,
        info.reason,
        error.details() or "",
        tuple(violation.field for violation in bad.field_violations),
        dict(info.metadata),
        {key: value for key, value in (error.trailing_metadata() or ()) if isinstance(value, str)},
    )
