"""Child process under test: the same calls through the bare SDKs as shipped, down to the picture's bytes in hand."""

import base64
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
from google import genai
from google.genai import types

from bench.closed_loop import closed_loop
from bench.lag import LagProbe
from bench.pictures import Checker, prompt
from bench.worker import Service, serve

OPENAI_MODEL = "gpt-image-2"
GEMINI_MODEL = "gemini-3.1-flash-image"
PARTIALS = 2


class SdkCaller:
    """Default clients of both SDKs, pointed at the upstream."""

    def __init__(self, upstream: str) -> None:
        self._openai = openai.AsyncOpenAI(api_key="bench", base_url=f"{upstream}/v1")
        self._gemini = genai.Client(api_key="bench", http_options=types.HttpOptions(base_url=upstream))

    async def run(self, provider: str, size_bytes: int, tags: list[str], concurrency: int) -> dict[str, Any]:
        """Draw one picture for each tag."""
        checker = Checker(provider, size_bytes, tags)
        draw = self._draw_openai if provider == "openai" else self._draw_gemini

        async def call(tag: str) -> None:
            checker.take(tag, await draw(prompt(size_bytes, tag)))

        return await self._measured(call, tags, concurrency, checker)

    async def stream(self, size_bytes: int, tags: list[str], concurrency: int) -> dict[str, Any]:
        """Draw one picture for each tag through the openai SDK's own stream; notes when each preview was in hand."""
        checker = Checker("openai", size_bytes, tags, PARTIALS)
        receipts: list[tuple[str, int, float]] = []

        async def call(tag: str) -> None:
            stream = await self._openai.images.generate(
                model=OPENAI_MODEL,
                prompt=prompt(size_bytes, tag),
                size="1024x1024",
                quality="medium",
                stream=True,
                partial_images=PARTIALS,
            )
            number = 0
            async for event in stream:
                picture = base64.b64decode(event.b64_json)
                is_preview = event.type == "image_generation.partial_image"
                checker.take(tag, picture, partial=number if is_preview else None)
                if is_preview:
                    receipts.append((tag, number, time.monotonic()))
                    number += 1

        answer = await self._measured(call, tags, concurrency, checker)
        return answer | {"receipts": receipts}

    async def _measured(
        self, call: Callable[[str], Awaitable[None]], tags: list[str], concurrency: int, checker: Checker
    ) -> dict[str, Any]:
        result = await closed_loop(call, tags, concurrency=concurrency, pid=os.getpid())
        result.wrong = checker.wrong
        return result.as_json()

    async def _draw_openai(self, text: str) -> bytes:
        answer = await self._openai.images.generate(model=OPENAI_MODEL, prompt=text, size="1024x1024", quality="medium")
        assert answer.data is not None  # noqa: S101 - the upstream always draws
        return base64.b64decode(answer.data[0].b64_json or "")

    async def _draw_gemini(self, text: str) -> bytes:
        answer = await self._gemini.aio.models.generate_content(
            model=GEMINI_MODEL,
            contents=text,
            config=types.GenerateContentConfig(
                response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="1:1", image_size="1K")
            ),
        )
        part: Any = answer.parts[0] if answer.parts else None
        return bytes(part.inline_data.data)


@asynccontextmanager
async def sdk_caller(upstream: str) -> AsyncIterator[Service]:
    """Offer calls through both SDKs."""
    caller, probe = SdkCaller(upstream), LagProbe()
    yield Service(handlers={"run": caller.run, "stream": caller.stream, "watch_lag": probe.start, "lag": probe.stop})


if __name__ == "__main__":
    serve(sdk_caller)
