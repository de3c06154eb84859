"""The gateway as in production, with keys and no sandbox mode; only its base URLs lead to the simulated engines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from gateway import NO_LIMIT, Gateway
from pictord import app
from pictord.sandbox import Sandbox, SandboxSettings, run
from pictord.settings import GeminiAccount, OpenAIAccount, Quota, Settings

OPENAI_KEY = "sk-canary-openai-91c3"
GEMINI_KEY = "AIza-canary-gemini-91c3"


def openai_account(engines: Sandbox, key: str = OPENAI_KEY, quota: Quota | None = None) -> OpenAIAccount:
    return OpenAIAccount(key, base_url=engines.openai_base_url, quota=quota or Quota())


def gemini_account(engines: Sandbox, key: str = GEMINI_KEY) -> GeminiAccount:
    return GeminiAccount(key, base_url=engines.gemini_base_url)


@asynccontextmanager
async def keyed_gateway(outside: app.Outside | None = None, **settings: Any) -> AsyncIterator[Gateway]:
    """Start engines and gateway, connect a channel; settings may be functions of the engines."""
    async with run(SandboxSettings(time_scale=0)) as engines:
        defaults = {
            "listen": "127.0.0.1:0",
            "admin_listen": None,
            "http_listen": None,
            "drain_s": 0.0,
            "daily_cap_nanos": 10**15,
            "openai": openai_account(engines),
            "gemini": gemini_account(engines),
        }
        given = {name: value(engines) if callable(value) else value for name, value in settings.items()}
        async with (
            app.build(Settings(**(defaults | given)), outside) as running,
            grpc.aio.insecure_channel(running.address, options=NO_LIMIT) as channel,
        ):
            yield Gateway(running, engines, channel)
            engines.release_stalls()
