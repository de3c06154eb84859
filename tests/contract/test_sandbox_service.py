"""The sandbox's own calls, its fast mode, and its command."""

import asyncio
import base64
import hashlib
import io
import json
import os
import signal
import sys

import aiohttp
import openai
import pytest
from PIL import Image

from pictord.sandbox import Model, SandboxSettings, fast, run

SMALL = {"model": "gpt-image-2", "size": "1024x640", "quality": "low"}
SETTINGS = SandboxSettings(time_scale=0)
GEMINI = "/v1beta/models/gemini-3.1-flash-image"


@pytest.fixture
async def sandbox():
    async with run(SETTINGS) as sandbox:
        yield sandbox


def official(sandbox):
    return openai.AsyncOpenAI(api_key="k", base_url=sandbox.openai_base_url, max_retries=0)


@pytest.fixture
async def client(sandbox):
    async with official(sandbox) as client:
        yield client


@pytest.fixture
async def admin(sandbox):
    async with aiohttp.ClientSession(sandbox.address) as session:

        async def call(method, path, body=None):
            async with session.request(method, f"/sandbox/{path}", json=body) as answer:
                return answer.status, await answer.json()

        yield call


async def test_faults_are_added_listed_and_cleared_by_admin_calls(admin, client):
    """A rule for one call hits one call; a cleared rule hits none."""
    status, rule = await admin("POST", "faults", {"provider": "openai", "kind": "overloaded", "times": 1})
    assert (status, rule["kind"], rule["times"]) == (201, "overloaded", 1)
    with pytest.raises(openai.InternalServerError):
        await client.images.generate(prompt="A fox", **SMALL)
    await client.images.generate(prompt="A fox", **SMALL)

    await admin(
        "POST", "faults", {"kind": "server_error", "args": {"billed": True}, "match": {"prompt_contains": "hen"}}
    )
    assert [one["kind"] for one in (await admin("GET", "faults"))[1]["faults"]] == ["overloaded", "server_error"]
    await admin("DELETE", "faults")

    await client.images.generate(prompt="A hen", **SMALL)


@pytest.mark.parametrize(
    "body",
    [{"kind": "nonsense"}, {"provider": "openai"}, {"kind": "stall", "colour": 1}, [], {"kind": "stall", "args": 3}],
)
async def test_a_fault_that_makes_no_sense_is_refused(admin, body):
    """400 with a reason, so that a typo cannot pass for a healthy provider."""
    status, answer = await admin("POST", "faults", body)

    assert status == 400
    assert answer["error"]


@pytest.mark.parametrize(
    ("header", "text"),
    [({"x-sandbox-fault": "ratelimit"}, "no fault 'ratelimit'"), ({"x-sandbox-latency-ms": "soon"}, "no latency")],
)
async def test_an_unknown_wish_in_a_header_is_refused(client, header, text):
    """The same for one call."""
    with pytest.raises(openai.BadRequestError, match=text):
        await client.images.generate(prompt="A fox", **SMALL, extra_headers=header)


async def test_a_script_can_be_started_at_any_time(admin, client):
    """A fault that begins now holds, one that begins in an hour does not."""
    faults = [{"kind": "overloaded", "from_s": 3600}, {"kind": "slow_down", "from_s": 0, "until_s": 3600}]
    await admin("POST", "script", {"faults": faults})

    with pytest.raises(openai.RateLimitError):
        await client.images.generate(prompt="A fox", **SMALL)


async def test_journals_are_served_and_forgotten(admin, client):
    """Requests and charges as JSON with a sum; a reset empties both."""
    await client.images.generate(prompt="A fox", **SMALL)

    charges, requests = (await admin("GET", "charges"))[1], (await admin("GET", "requests"))[1]
    assert charges["nanos"] == charges["charges"][0]["nanos"] == 8 * 5_000 + 107 * 30_000
    assert [record["prompt"] for record in requests["requests"]] == ["A fox"]
    assert (await admin("GET", "healthz"))[1] == {"sandbox": True, "status": "ok", "requests": 1, "charges": 1}

    await admin("POST", "reset")
    assert (await admin("GET", "charges"))[1] == {"charges": [], "nanos": 0}


async def test_stalls_are_released_by_an_admin_call(sandbox, admin, client):
    """From another process there is no other way."""
    call = asyncio.create_task(
        client.images.generate(prompt="A fox", **SMALL, extra_headers={"x-sandbox-fault": "stall"})
    )
    await sandbox.wait_for_stalls(1)

    assert (await admin("POST", "release"))[1] == {"released": 1}

    assert (await call).data


async def test_one_call_can_set_its_own_latency(client):
    """The header's milliseconds hold unscaled; partial images come no sooner than at 30 and 55 per cent of them."""
    loop = asyncio.get_running_loop()
    started = loop.time()

    stream = await client.images.generate(
        prompt="A fox", stream=True, partial_images=2, **SMALL, extra_headers={"x-sandbox-latency-ms": "openai:400"}
    )
    times = [loop.time() - started async for _ in stream]

    assert all(time >= least for time, least in zip(times, (0.12, 0.22, 0.40), strict=True))


async def test_an_unknown_path_is_not_found(sandbox):
    """Such as the root, where a Vertex client with nothing but a base URL ends up."""
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/v1/images/variations", "/v1beta/models"):
            async with session.post(sandbox.address + path, json={}) as answer:
                assert answer.status == 404


async def test_models_can_be_added_but_not_repriced():
    """A described model draws what it says for its own price; a name that the sandbox has keeps the oracle's price."""
    free = dict.fromkeys(("text_in", "image_in", "text_out"), 0)
    limits = {"least_px": 65_536}
    added = Model(
        "flare", "openai", ("flare", "flare-1"), free | {"image_out": 7}, {"quality_factor": {"low": 8}}, limits
    )
    repriced = Model("gpt-image-2", "openai", ("gpt-image-2",), free | {"image_out": 0}, {})

    async with run(SandboxSettings(time_scale=0, models=(added, repriced))) as sandbox, official(sandbox) as client:
        answer = await client.images.generate(prompt="A fox", model="flare-1", size="256x256", quality="low")
        await client.images.generate(prompt="A fox", **SMALL)
        with pytest.raises(openai.BadRequestError, match="total number of pixels"):
            await client.images.generate(prompt="A fox", model="gpt-image-2", size="256x256")

    new, own = [charge for charge in sandbox.charges if charge.billed]
    assert Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json))).size == (256, 256)
    assert (new.model, new.nanos) == ("flare", 7 * answer.usage.output_tokens)
    assert own.nanos > 0


async def test_repeats_differ_only_if_asked_for():
    """The same request is the same picture, unless the sandbox is told to vary."""
    seen = []
    for vary in (False, True):
        async with run(SandboxSettings(time_scale=0, vary_repeats=vary)) as sandbox, official(sandbox) as client:
            answers = [await client.images.generate(prompt="A fox", **SMALL) for _ in range(2)]
        seen.append(len({answer.data[0].b64_json for answer in answers}))

    assert seen == [1, 2]


@pytest.fixture
async def bench():
    """Calls fast mode and gives the bytes of all pictures of the answer."""
    async with run(SandboxSettings(fast=True)) as sandbox, aiohttp.ClientSession(sandbox.address) as session:

        async def call(path, body):
            async with session.post(path, json=body) as answer:
                assert answer.status == 200
                text = await answer.text()
            lines = text.split("\n") if "data: " in text else ["data: " + text]
            bodies = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
            return [base64.b64decode(_picture(body), validate=True) for body in bodies]

        yield call


def _picture(body):
    if "candidates" in body:
        return body["candidates"][0]["content"]["parts"][0]["inlineData"]["data"]
    return body["b64_json"] if "b64_json" in body else body["data"][0]["b64_json"]


def _gemini(prompt):
    return {"contents": [{"parts": [{"text": prompt}]}]}


@pytest.mark.parametrize("size", [20_000, 65_536, 65_537, 65_538, 200_000, 1_572_864])
async def test_fast_pictures_have_the_asked_size_and_hash(bench, size):
    """Valid pictures of exactly so many bytes, whatever the remainder by three."""
    (png,) = await bench("/v1/images/generations", {"prompt": f"bench {size} tag-7"})
    (jpeg,) = await bench(f"{GEMINI}:generateContent", _gemini(f"bench {size} tag-7"))

    for data, provider, kind in ((png, "openai", "PNG"), (jpeg, "gemini", "JPEG")):
        assert (size, fast.expected_sha256(size, "tag-7", provider)) == (len(data), hashlib.sha256(data).hexdigest())
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert ((1024, 1024) if size > 40_000 else image.size, kind) == (image.size, image.format)


async def test_fast_pictures_differ_by_tag(bench):
    """A swapped answer is found out."""
    pictures = [(await bench("/v1/images/generations", {"prompt": f"bench 65536 t{n}"}))[0] for n in range(3)]

    assert len(set(pictures)) == 3


async def test_fast_streams_bring_partials_and_a_final(bench):
    """Each stamped by its place; Gemini's only event is the picture."""
    body = {"prompt": "bench 65536 s", "stream": True, "partial_images": 2}
    streamed = await bench("/v1/images/generations", body)
    whole = await bench(f"{GEMINI}:streamGenerateContent?alt=sse", _gemini("bench 65536 s"))

    expected = [fast.expected_sha256(65_536, "s", "openai", partial) for partial in (0, 1, None)]
    assert expected == [hashlib.sha256(data).hexdigest() for data in streamed]
    assert [fast.expected_sha256(65_536, "s", "gemini")] == [hashlib.sha256(data).hexdigest() for data in whole]


async def test_fast_mode_serves_the_official_sdk_with_uploads_and_streams():
    """A masked edit with megabytes of upload, streamed, many at once."""
    async with run(SandboxSettings(fast=True, fast_latency_ms=5)) as sandbox, official(sandbox) as client:

        async def edit(number):
            stream = await client.images.edit(
                model="gpt-image-2",
                prompt=f"bench 100000 n{number}",
                image=("a.png", os.urandom(1 << 20), "image/png"),
                stream=True,
                partial_images=1,
            )
            return [(event.type, base64.b64decode(event.b64_json)) async for event in stream]

        answers = await asyncio.gather(*map(edit, range(8)))

    for number, events in enumerate(answers):
        assert [kind for kind, _ in events] == ["image_edit.partial_image", "image_edit.completed"]
        assert fast.expected_picture(100_000, f"n{number}", "openai") == events[-1][1]


async def test_fast_mode_says_what_it_serves():
    """Healthz, and 404 for any other prompt."""
    async with run(SandboxSettings(fast=True)) as sandbox, aiohttp.ClientSession(sandbox.address) as session:
        async with session.get("/sandbox/healthz") as answer:
            assert (answer.status, (await answer.json())["fast"]) == (200, True)
        async with session.post("/v1/images/generations", json={"prompt": "A fox"}) as answer:
            assert answer.status == 404


@pytest.mark.parametrize("arguments", [[], ["--fast"]], ids=["full", "fast"])
async def test_the_command_says_sandbox_and_stops_at_a_signal(arguments):
    """It prints its URLs, answers there, and SIGTERM ends it with exit code 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pictord.sandbox", *arguments, "--time-scale", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        lines = [(await process.stdout.readline()).decode() for _ in range(4)]
        assert "SANDBOX" in lines[0]
        address = lines[2].strip().removeprefix("GEMINI_BASE_URL=")
        async with aiohttp.ClientSession() as session, session.get(f"{address}/sandbox/healthz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process._transport.close()
