"""What every adapter promises, kept by each of them on its real SDK over real HTTP."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from contract.adapter_rig import (
    ADAPTERS,
    KEY,
    MASK_AS_PROMPT,
    adapter_to,
    call_of,
    drawn,
    input_image,
)
from pictord.domain.money import Usage
from pictord.domain.outcome import Outcome, Transport
from pictord.domain.request import Background, GenerationRequest, OutputFormat, Quality, Ratio, Resolution
from pictord.providers.base import ImageProvider
from pictord.providers.gemini_request import MASK_INSTRUCTION
from pictord.sandbox import Sandbox, SandboxSettings, run

PROMPT = '  "Ein Fuchs"\tim\r\nNebel — 狐 🦊\u2028 <b>&amp;</b> {"data": "x"} \\n --ar 3:2 \n'
"""Everything that some layer may be tempted to change."""


SDK_VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_GENAI_API_VERSION",
)
SDK_ADDRESSES = (
    "OPENAI_BASE_URL",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with run(SandboxSettings(time_scale=0)) as sandbox:
        yield sandbox


@pytest.fixture(params=ADAPTERS)
def api(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def adapter(api: str, sandbox: Sandbox) -> AsyncIterator[ImageProvider]:
    async with adapter_to(api, sandbox) as adapter:
        yield adapter


def charged(sandbox: Sandbox) -> Usage:
    """The usage that the provider charged for, in the gateway's words."""
    (charge,) = sandbox.charges
    usage = charge.usage
    return Usage(usage.text_in, usage.image_in, usage.text_out, usage.image_out)


async def test_a_prompt_becomes_exactly_one_picture(api: str, adapter: ImageProvider, sandbox: Sandbox) -> None:
    """One send makes one picture, measured from its bytes, with the provider's own id and version."""
    result = await drawn(adapter, call_of(api))

    assert result.failure is None
    assert (result.image.width_px, result.image.height_px) == call_of(api).candidate.size_px
    assert result.image.mime == ("image/jpeg" if api == "gemini" else "image/png")
    assert result.image.provider_request_id == sandbox.charges[0].request_id
    assert result.image.served_model == call_of(api).candidate.snapshot
    assert result.image.served_version == ("2026-04-21" if api == "openai" else "gemini-3.1-flash-image")
    assert (result.sent, len(sandbox.requests)) == (1, 1)


async def test_usage_is_what_the_provider_charges(api: str, adapter: ImageProvider, sandbox: Sandbox) -> None:
    """Tokens by kind equal the provider's charge log, with pictures going in and thoughts coming out."""
    request = GenerationRequest("make it blue", image=input_image(), references=(input_image(1),))

    result = await drawn(adapter, call_of(api, request))

    assert result.image.usage == charged(sandbox)
    assert result.image.usage.image_in_tokens > 0


async def test_the_prompt_reaches_the_provider_byte_for_byte(
    api: str, adapter: ImageProvider, sandbox: Sandbox
) -> None:
    """No layer trims, escapes or completes a prompt."""
    await drawn(adapter, call_of(api, GenerationRequest(PROMPT)))
    await drawn(adapter, call_of(api, GenerationRequest(PROMPT, image=input_image())))

    digest = hashlib.sha256(PROMPT.encode()).hexdigest()
    assert [record.prompt_sha256 for record in sandbox.requests] == [digest, digest]


async def test_pictures_reach_the_provider_byte_for_byte(api: str, adapter: ImageProvider, sandbox: Sandbox) -> None:
    """The picture to edit goes first, then the references, each under its own media type."""
    request = GenerationRequest(
        "put them together", image=input_image(1), references=(input_image(2, kind="JPEG"), input_image(3, kind="WEBP"))
    )

    result = await drawn(adapter, call_of(api, request))

    assert result.failure is None
    (record,) = sandbox.requests
    assert record.operation == "edit"
    assert record.image_sha256 == [image.sha256 for image in request.input_images]
    assert record.image_mime == ["image/png", "image/jpeg", "image/webp"]


async def test_as_many_references_as_the_engine_takes(api: str, adapter: ImageProvider, sandbox: Sandbox) -> None:
    """16 pictures go to OpenAI, 14 to Gemini, also when one comes twice."""
    count = 16 if api == "openai" else 14
    references = (*(input_image(shade) for shade in range(count - 1)), input_image(0))

    result = await drawn(adapter, call_of(api, GenerationRequest("a group portrait", references=references)))

    assert result.failure is None
    assert sandbox.requests[0].image_sha256 == [image.sha256 for image in references]


async def test_pictures_come_back_byte_for_byte(api: str, adapter: ImageProvider, sandbox: Sandbox) -> None:
    """What the provider drew is what is delivered: nothing is encoded again."""
    result = await drawn(adapter, call_of(api))
    headers = {"Authorization": f"Bearer {KEY}"}
    (record,) = sandbox.requests
    body = (
        {"prompt": record.prompt, **record.params}
        if api == "openai"
        else {
            "contents": [{"parts": [{"text": record.prompt}]}],
            "generationConfig": record.params["generation_config"],
        }
    )

    async with (
        aiohttp.ClientSession() as session,
        session.post(sandbox.address + record.path, json=body, headers=headers) as response,
    ):
        answer = json.loads(await response.read())

    text = (
        answer["data"][0]["b64_json"]
        if api == "openai"
        else answer["candidates"][0]["content"]["parts"][-1]["inlineData"]["data"]
    )
    assert result.image.data == base64.b64decode(text)


async def test_extra_headers_travel_with_the_call(api: str, adapter: ImageProvider, sandbox: Sandbox) -> None:
    """Trace context and sandbox wishes reach the provider; no key is in them."""
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-sandbox-latency-ms": "1"}

    await drawn(adapter, call_of(api, headers=headers))

    assert headers.items() <= sandbox.requests[0].headers.items()
    assert sandbox.requests[0].headers["accept-encoding"] == "identity"


async def test_calls_at_once_do_not_mix(api: str, adapter: ImageProvider, sandbox: Sandbox) -> None:
    """Each of many simultaneous calls gets its own picture and its own request id."""
    calls = [call_of(api, GenerationRequest(f"number {number}")) for number in range(6)]

    results = await asyncio.gather(*(drawn(adapter, call) for call in calls))

    prompts = {record.number: record.prompt for record in sandbox.requests}
    by_id = {charge.request_id: prompts[charge.request_number] for charge in sandbox.charges}
    assert [by_id[result.image.provider_request_id] for result in results] == [call.request.prompt for call in calls]
    assert len({result.image.data for result in results}) == len(calls)


async def test_cancelling_hangs_up_and_leaves_nothing_behind(
    api: str, adapter: ImageProvider, sandbox: Sandbox
) -> None:
    """A cancelled call closes its connection at once; the next call is not disturbed."""
    sandbox.faults.add("stall", times=1)
    task = asyncio.create_task(drawn(adapter, call_of(api)))
    await sandbox.wait_for_stalls(1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await sandbox.settle()
    assert sandbox.charges[0].client_disconnected
    assert (await drawn(adapter, call_of(api))).failure is None


async def test_the_timeout_bounds_the_whole_exchange(api: str, adapter: ImageProvider, sandbox: Sandbox) -> None:
    """A provider that keeps silent is hung up on in time, and may have been paid."""
    sandbox.faults.add("stall")

    result = await drawn(adapter, call_of(api, timeout_s=0.3))

    assert result.failure is not None
    assert (result.failure.signal.transport, result.failure.outcome) == (Transport.TIMEOUT, Outcome.SERVER_ERROR)
    assert result.failure.text == "no answer within 0.3 s"
    assert result.sent == 1


async def test_nobody_listening_costs_nothing(api: str, unused_tcp_port: int) -> None:
    """A refused connection is known to be unsent, whatever the SDK calls it."""
    adapter = ADAPTERS[api](f"http://127.0.0.1:{unused_tcp_port}")

    result = await drawn(adapter, call_of(api))
    await adapter.close()

    assert result.failure is not None
    assert (result.failure.outcome, result.sent) == (Outcome.UNREACHABLE, 0)


async def test_a_failed_handshake_costs_nothing(api: str, sandbox: Sandbox) -> None:
    """TLS that does not come about is known to be unsent."""
    adapter = ADAPTERS[api](sandbox.address.replace("http://", "https://"))

    result = await drawn(adapter, call_of(api))
    await adapter.close()

    assert result.failure is not None
    assert (result.failure.outcome, result.sent) == (Outcome.UNREACHABLE, 0)
    assert not sandbox.requests


async def test_the_environment_does_not_leak_in(api: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the SDKs would read from the environment by themselves changes nothing."""
    for name in SDK_VARIABLES:
        monkeypatch.setenv(name, "from-the-environment")
    for name in SDK_ADDRESSES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Leaked: from-the-environment")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "false" if api == "vertex" else "true")

    async with adapter_to(api, sandbox) as adapter:
        result = await drawn(adapter, call_of(api))

    assert result.failure is None
    (record,) = sandbox.requests
    assert record.account == hashlib.sha256(KEY.encode()).hexdigest()[:12]
    assert "from-the-environment" not in " ".join([record.path, *record.headers.values()])


def test_keys_are_never_printed(api: str) -> None:
    """Neither settings nor adapter show the key."""
    adapter = ADAPTERS[api]("http://127.0.0.1:9")

    assert KEY not in repr(adapter) + repr(vars(adapter).get("_settings"))


# what only one of them can


async def test_openai_previews_come_before_the_picture(sandbox: Sandbox) -> None:
    """Partial images arrive in order while the call runs, then exactly one picture; they are charged for."""
    async with adapter_to("openai", sandbox) as adapter:
        result = await drawn(adapter, call_of("openai", previews=3))

    assert [preview.index for preview in result.previews] == [0, 1, 2]
    assert {preview.mime for preview in result.previews} == {"image/png"}
    assert len({preview.data for preview in result.previews} | {result.image.data}) == 4
    assert result.image.usage == charged(sandbox)
    assert sandbox.requests[0].stream


async def test_an_openai_edit_streams_too(sandbox: Sandbox) -> None:
    """A masked edit shows previews, and picture and mask arrive as they are."""
    image, mask = input_image(), input_image(mode="RGBA")
    request = GenerationRequest(PROMPT, image=image, mask=mask)

    async with adapter_to("openai", sandbox) as adapter:
        result = await drawn(adapter, call_of("openai", request, previews=2))

    assert len(result.previews) == 2
    assert result.image.usage == charged(sandbox)
    (record,) = sandbox.requests
    assert (record.image_sha256, record.mask_sha256) == ([image.sha256], mask.sha256)
    assert record.prompt == PROMPT


async def test_a_preview_is_here_while_the_picture_is_not(sandbox: Sandbox) -> None:
    """Previews are passed on at once, not when the call is over."""
    sandbox.faults.add("stall_mid_body", provider="openai", args={"after": 1})

    async with adapter_to("openai", sandbox) as adapter:
        results = adapter.draw(call_of("openai", previews=2), on_sent=lambda: None)
        first = await anext(results)
        await sandbox.wait_for_stalls(1)
        sandbox.release_stalls()
        rest = [item async for item in results]

    assert getattr(first, "index", None) == 0
    assert len(rest) == 2


async def test_what_openai_is_asked(sandbox: Sandbox) -> None:
    """Size in pixels, explicit quality, one picture, the hashed end user; nothing that the model refuses."""
    request = GenerationRequest(
        "a fox", output_compression=80, background=Background.OPAQUE, seed=7, quality=Quality.HIGH
    )
    call = call_of("openai", request, end_user="u-5f2c", output_format=OutputFormat.JPEG, size_px=(1536, 1024))

    async with adapter_to("openai", sandbox) as adapter:
        await drawn(adapter, replace(call, candidate=replace(call.candidate, quality=Quality.MEDIUM)))

    assert sandbox.requests[0].params == {
        "model": "gpt-image-2-2026-04-21",
        "prompt": "a fox",
        "n": 1,
        "size": "1536x1024",
        "quality": "medium",
        "output_format": "jpeg",
        "output_compression": 80,
        "background": "opaque",
        "safety_identifier": "u-5f2c",
    }


@pytest.mark.parametrize("api", ["gemini", "vertex"])
async def test_what_gemini_is_asked(api: str, sandbox: Sandbox) -> None:
    """Ratio and size class, minimal thinking, pictures only; the encoding only where it can be chosen."""
    request = GenerationRequest("a fox", seed=7, output_compression=70)
    call = call_of(
        api,
        request,
        ratio=Ratio.parse("21:9"),
        resolution=Resolution.R1K,
        output_format=OutputFormat.JPEG,
        timeout_s=5.0,
    )

    async with adapter_to(api, sandbox) as adapter:
        result = await drawn(adapter, call)

    (record,) = sandbox.requests
    encoding = {"image_output_options": {"mime_type": "image/jpeg", "compression_quality": 70}}
    assert record.params == {
        "vertex": api == "vertex",
        "generation_config": {
            "response_modalities": ["IMAGE"],
            "image_config": {"aspect_ratio": "21:9", "image_size": "1K", **(encoding if api == "vertex" else {})},
            "thinking_config": {"thinking_level": "MINIMAL"},
            "seed": 7,
        },
    }
    version = "v1beta1/projects/tests/locations/global/publishers/google" if api == "vertex" else "v1beta"
    assert record.path == f"/{version}/models/gemini-3.1-flash-image:generateContent"
    assert record.headers["x-server-timeout"] == "10"
    assert (result.image.width_px, result.image.height_px) == (1584, 672)


async def test_a_mask_for_gemini_is_a_picture_with_an_instruction(sandbox: Sandbox) -> None:
    """The mask goes after the pictures, the instruction after the mask, and the prompt stays its own part."""
    request = GenerationRequest(
        PROMPT, image=input_image(), references=(input_image(1),), mask=input_image(mode="RGBA")
    )

    async with adapter_to("gemini", sandbox) as adapter:
        result = await drawn(adapter, call_of("gemini", request, adaptations=(MASK_AS_PROMPT,)))

    assert result.failure is None
    (record,) = sandbox.requests
    assert record.texts == [MASK_INSTRUCTION, PROMPT]
    assert record.image_sha256 == [image.sha256 for image in (*request.input_images, request.mask)]


async def test_every_size_class_of_gemini(sandbox: Sandbox) -> None:
    """The four size literals are spelled as the engine knows them."""
    sandbox.faults.add("text_only")  # spares drawing them all

    async with adapter_to("gemini", sandbox) as adapter:
        results = [await drawn(adapter, call_of("gemini", resolution=resolution)) for resolution in Resolution]

    sizes = [record.params["generation_config"]["image_config"]["image_size"] for record in sandbox.requests]
    assert sizes == ["512", "1K", "2K", "4K"]
    assert {result.failure.outcome for result in results if result.failure} == {Outcome.NO_IMAGE}
