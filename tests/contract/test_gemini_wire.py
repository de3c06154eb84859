"""The Gemini adapter writes the SDK's JSON itself: here it is held to what the SDK sends for the same arguments."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from contract.adapter_rig import ADAPTERS, KEY, MASK_AS_PROMPT, call_of, drawn, input_image
from contract.recorder import Recorder, recording
from pictord.domain.plan import Adaptation, AdaptationKind
from pictord.domain.request import GenerationRequest, OutputFormat, Ratio, Resolution
from pictord.providers.base import Call
from pictord.providers.gemini_request import MASK_INSTRUCTION

PICTURE, REFERENCE = input_image(shade=10), input_image(shade=20, kind="JPEG")
MASK = input_image(shade=30, mode="RGBA")
HEADERS = {"X-Client-Request-Id": "att_1"}


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """The recorder, listening."""
    async with recording() as listening:
        yield listening


def sdk(api: str, address: str, http: httpx2.AsyncClient) -> genai.Client:
    """The SDK's client as anybody would make it."""
    account: dict[str, Any] = (
        {"api_key": KEY}
        if api == "gemini"
        else {"vertexai": True, "project": "tests", "location": "global", "credentials": Credentials(token=KEY)}
    )
    version = "v1beta" if api == "gemini" else "v1beta1"
    options = types.HttpOptions(base_url=address, api_version=version, httpx_async_client=http)
    return genai.Client(http_options=options, **account)


CASES: dict[str, tuple[Call, list[types.Part], dict[str, Any], dict[str, Any]]] = {
    # the call, the parts and configuration an SDK user would write for it, and what only Vertex takes
    "generate": (
        call_of("gemini", GenerationRequest("a fox, “très chic” 🦊"), headers=HEADERS),
        [types.Part(text="a fox, “très chic” 🦊")],
        {"image_config": {"aspect_ratio": "1:1", "image_size": "512"}},
        {"output_mime_type": "image/png"},
    ),
    "seed, 4K, wide, JPEG": (
        call_of(
            "gemini",
            GenerationRequest("a fox", seed=7, output_compression=60),
            headers=HEADERS,
            ratio=Ratio.parse("21:9"),
            resolution=Resolution.R4K,
            output_format=OutputFormat.JPEG,
        ),
        [types.Part(text="a fox")],
        {"seed": 7, "image_config": {"aspect_ratio": "21:9", "image_size": "4K"}},
        {"output_mime_type": "image/jpeg", "output_compression_quality": 60},
    ),
    "edit, reference, mask": (
        call_of(
            "gemini",
            GenerationRequest("a fox", image=PICTURE, references=(REFERENCE,), mask=MASK, seed=7),
            headers=HEADERS,
            adaptations=(MASK_AS_PROMPT, Adaptation(AdaptationKind.SEED_IGNORED, "7", "")),
            output_format=OutputFormat.WEBP,
        ),
        [
            *(types.Part.from_bytes(data=image.data, mime_type=image.mime) for image in (PICTURE, REFERENCE, MASK)),
            types.Part(text=MASK_INSTRUCTION),
            types.Part(text="a fox"),
        ],
        {"image_config": {"aspect_ratio": "1:1", "image_size": "512"}},
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("api", ["gemini", "vertex"])
async def test_what_leaves_is_what_the_sdk_would_send(recorder: Recorder, api: str, case: str) -> None:
    """Method, path, headers and JSON are the SDK's, for each API and each kind of call."""
    call, parts, asked, for_vertex = CASES[case]
    image_config = asked["image_config"] | (for_vertex if api == "vertex" else {})
    config = types.GenerateContentConfig(
        **asked | {"image_config": types.ImageConfig(**image_config)},
        response_modalities=["IMAGE"],
        thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.MINIMAL),
        http_options=types.HttpOptions(timeout=30_000, headers=HEADERS),
    )

    adapter = ADAPTERS[api](recorder.address)
    await drawn(adapter, replace(call, headers={"X-Client-Request-Id": "att_0", "X-Of-One-Call": "alone"}))
    await drawn(adapter, call)
    await adapter.close()
    async with httpx2.AsyncClient() as http:
        with pytest.raises(genai.errors.ClientError):
            await sdk(api, recorder.address, http).aio.models.generate_content(
                model=call.candidate.snapshot, contents=types.Content(role="user", parts=parts), config=config
            )

    _, ours, theirs = recorder.seen
    assert ours == theirs
