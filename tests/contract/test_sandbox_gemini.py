"""The sandbox as Gemini's generateContent, seen through the official SDK as shipped."""

import asyncio
import io
import json
from dataclasses import replace

import aiohttp
import pybase64
import pytest
import pytest_asyncio
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from PIL import Image

from pictord.sandbox import Quota, SandboxSettings, run, tables

MODEL = "gemini-3.1-flash-image"
SETTINGS = SandboxSettings(time_scale=0, seed=3)
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # google-genai subclasses aiohttp's session, which aiohttp discourages
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]


def png(size=(512, 384), color="teal", kind="PNG"):
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    return out.getvalue()


def part(data=None, mime="image/png"):
    return types.Part.from_bytes(data=png() if data is None else data, mime_type=mime)


def options(sandbox, fault=None, **headers):
    """HTTP options with one attempt: the SDK otherwise repeats a broken connection by itself."""
    if fault:
        headers["x-sandbox-fault"] = fault
    return types.HttpOptions(
        base_url=sandbox.gemini_base_url,
        api_version="v1beta",
        headers=headers,
        retry_options=types.HttpRetryOptions(attempts=1),
    )


def config(size="512", ratio=None, fault=None, **more):
    image = types.ImageConfig(image_size=size, aspect_ratio=ratio)
    http = {"http_options": types.HttpOptions(headers={"x-sandbox-fault": fault})} if fault else {}
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(
        **{"response_modalities": ["IMAGE"], "image_config": image, "automatic_function_calling": off, **http, **more}
    )


def pictures(answer):
    parts = answer.candidates[0].content.parts or []
    return [one.inline_data for one in parts if one.inline_data]


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served():
    async with run(SETTINGS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(served):
    """A sandbox that has seen nothing: making a client takes 65 ms, so all tests share both."""
    served.reset()
    return served


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(served):
    client = genai.Client(api_key="key-test", http_options=options(served))
    yield client
    await client.aio.aclose()
    client.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def vertex(served):
    where = {"project": "p", "location": "global", "credentials": Credentials("token")}
    client = genai.Client(vertexai=True, http_options=options(served).model_copy(update={"api_version": None}), **where)
    yield client
    await client.aio.aclose()
    client.close()


async def generate(client, contents="A fox", **asked):
    return await client.aio.models.generate_content(model=MODEL, contents=contents, config=config(**asked))


SHAPES = [
    (ratio, size)
    for ratio, sizes in tables.read("sizes.toml")["gemini"]["pixels"].items()
    for size in sizes
    if size == "512" or (size, ratio) in (("1K", "1:1"), ("2K", "21:9"))
]


@pytest.mark.parametrize(("ratio", "size"), SHAPES)
async def test_every_ratio_has_its_documented_pixels(client, ratio, size):
    """The Developer API answers JPEG of the table's size, and tokens by the size alone."""
    answer = await generate(client, ratio=ratio, size=size)

    (picture,) = pictures(answer)
    image = opened(picture.data)
    expected = tuple(tables.read("sizes.toml")["gemini"]["pixels"][ratio][size])
    assert (expected, "JPEG", "image/jpeg") == (image.size, image.format, picture.mime_type)
    tokens = {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520}[size]
    assert [tokens] == [detail.token_count for detail in answer.usage_metadata.candidates_tokens_details]


async def test_usage_and_charge_agree_to_the_nano_dollar(sandbox, client):
    """Prompt at $0.50, picture at $60, all other tokens of the total at $3 per million."""
    answer = await generate(client, ["A red fox", part()])

    usage = answer.usage_metadata
    (charge,) = sandbox.charges
    rest = usage.total_token_count - usage.prompt_token_count - 747
    assert usage.prompt_token_count == 3 + 1120
    assert 88 <= rest <= 420
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert usage.thoughts_token_count is None
    assert 1123 * 500 + 747 * 60_000 + rest * 3_000 == charge.nanos
    assert (answer.response_id, MODEL, "edit") == (charge.request_id, answer.model_version, charge.operation)


async def test_high_thinking_is_counted_and_shown_if_asked_for(client):
    """700 to 792 thinking tokens, a thought part before the picture, and a total that is a plain sum."""
    thinking = types.ThinkingConfig(thinking_level="HIGH", include_thoughts=True)

    answer = await generate(client, thinking_config=thinking)

    usage = answer.usage_metadata
    assert 700 <= usage.thoughts_token_count <= 792
    parts = (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count)
    assert usage.total_token_count == sum(parts)
    assert [one.thought for one in answer.candidates[0].content.parts] == [True, None]


async def test_the_default_is_one_square_1k_picture_and_a_word(client):
    """Nothing asked but a prompt: 1:1, 1K, text and image."""
    answer = await client.aio.models.generate_content(model=MODEL, contents="A fox")

    assert [opened(one.data).size for one in pictures(answer)] == [(1024, 1024)]
    assert answer.text


async def test_an_edit_takes_the_ratio_of_its_input(client):
    """Without a ratio the nearest to the first picture's; here 3:2."""
    answer = await generate(client, [part(png((600, 400))), "Make it blue"])

    assert opened(pictures(answer)[0].data).size == (632, 424)


async def test_the_request_log_keeps_parts_and_pictures_apart(sandbox, client):
    """Each text part as it was sent, each picture by its hash, the key nowhere."""
    texts = ["  Replace the sky \n", "fixed instruction"]

    await generate(client, [texts[0], part(), texts[1], part(png(kind="JPEG"), "image/jpeg")])

    (record,) = sandbox.requests
    assert (texts, ["image/png", "image/jpeg"]) == (record.texts, record.image_mime)
    assert len(set(record.image_sha256)) == 2
    assert "key-test" not in json.dumps(record.as_json())
    assert f"/v1beta/models/{MODEL}:generateContent" == record.path


async def test_instructions_before_the_prompt_do_not_title_the_picture(client):
    """The last text is what was asked for: a fixed instruction before it changes nothing that is drawn."""
    with_instruction = [part(), "The next text is a prompt.", "Replace the sky"]

    alone, instructed, other = [
        pictures(await generate(client, contents))[0].data
        for contents in ([part(), "Replace the sky"], with_instruction, [*with_instruction[:2], "Replace the sea"])
    ]

    assert alone == instructed
    assert alone != other


async def test_fourteen_pictures_are_taken_and_fifteen_refused(client):
    """The documented most."""
    await generate(client, ["All of them", *[part(png((16, 16)))] * 14])

    with pytest.raises(errors.ClientError, match="14"):
        await generate(client, ["All of them", *[part(png((16, 16)))] * 15])


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"ratio": "9:21"}, "aspect_ratio"),
        ({"size": "512px"}, "image_size"),
        ({"size": "1k"}, "image_size"),
        ({"candidate_count": 2}, "Multiple candidates is not enabled for this model"),
        ({"thinking_config": {"thinking_level": "MEDIUM"}}, "'medium' is not a supported thinking level"),
        ({"thinking_config": {"thinking_budget": 100}}, "hinking budget"),
        ({"response_modalities": ["AUDIO"]}, "AUDIO"),
        ({"contents": [part(png(kind="JPEG"), "image/png")]}, "Unhandled generated data mime type: image/jpeg"),
        ({"contents": [part(b"text", "text/plain")]}, "Unsupported MIME type: text/plain"),
        ({"contents": [part(png()[:300])]}, "Unable to process input image"),
        ({"labels": {"a": "b"}}, 'Unknown name "labels"'),
    ],
)
async def test_a_bad_request_is_refused_and_costs_nothing(sandbox, client, asked, text):
    """400 INVALID_ARGUMENT with the real text."""
    with pytest.raises(errors.ClientError) as refused:
        await generate(client, **asked)

    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    assert text in refused.value.message
    assert [charge.billed for charge in sandbox.charges] == [False]


async def test_a_deadline_below_ten_seconds_is_refused():
    """The SDK sends its timeout as X-Server-Timeout; the least is scaled like every other time."""
    settings = replace(SETTINGS, time_scale=0.5)
    async with run(settings) as sandbox:
        body = {"contents": [{"parts": [{"text": "A fox"}]}]}
        status, _, answer = await post(sandbox, body, **{"x-server-timeout": "4", "x-sandbox-latency-ms": "0"})
        enough, _, _ = await post(sandbox, body, **{"x-server-timeout": "5", "x-sandbox-latency-ms": "0"})

    assert (status, enough) == (400, 200)
    assert answer["error"]["message"] == "Manually set deadline 4s is too short. Minimum allowed deadline is 10s."


async def test_a_model_that_was_shut_down_is_not_found(client):
    """The preview's name answers 404 like any unknown one."""
    with pytest.raises(errors.ClientError) as missing:
        await client.aio.models.generate_content(model="gemini-3.1-flash-image-preview", contents="A fox")

    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")


async def post(sandbox, body, path=f"/v1/models/{MODEL}:generateContent?key=k", **headers):
    url = sandbox.gemini_base_url + path
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, dict(answer.headers), await answer.json()


@pytest.mark.parametrize("alphabet", ["standard", "url-safe"])
@pytest.mark.parametrize("case", ["camel", "snake"])
async def test_both_spellings_and_both_alphabets_are_read(sandbox, alphabet, case):
    """Like any proto3 JSON; the key may come in the URL."""
    data = png((40, 30), color=(251, 255, 190)) + b"\xff\xfe\xfb"
    encode = pybase64.urlsafe_b64encode if alphabet == "url-safe" else pybase64.standard_b64encode
    blob = {"mimeType" if case == "camel" else "mime_type": "image/png", "data": encode(data).decode()}
    parts = [{"text": "A fox"}, {"inlineData" if case == "camel" else "inline_data": blob}]
    image = {"imageConfig": {"imageSize": "512"}} if case == "camel" else {"image_config": {"image_size": "512"}}
    body = {"contents": {"parts": parts}, "generationConfig" if case == "camel" else "generation_config": image}

    status, headers, answer = await post(sandbox, body)

    assert (status, answer["candidates"][0]["finishReason"]) == (200, "STOP")
    assert headers["Server-Timing"].startswith("gfet4t7; dur=")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"contents": []}, 400),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "%%%"}}]}]}, 400),
        ({"contents": [{"parts": [{"text": "A"}]}], "colour": 1}, 400),
        (
            {
                "contents": [{"parts": [{"text": "A"}]}],
                "generationConfig": {"imageConfig": {"personGeneration": "ALLOW_ALL"}},
            },
            400,
        ),
        ({"contents": [{"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}]}, 400),
        ([], 400),
    ],
)
async def test_a_malformed_body_is_refused(sandbox, body, status):
    """Without an exception inside."""
    assert status == (await post(sandbox, body))[0]


async def test_calls_without_credentials_are_refused(sandbox):
    """403 on the Developer API, 401 on Vertex."""
    body = {"contents": [{"parts": [{"text": "A fox"}]}]}
    path = f"models/{MODEL}:generateContent"

    developer = await post(sandbox, body, f"/v1beta/{path}")
    vertex = await post(sandbox, body, f"/v1beta1/projects/p/locations/global/publishers/google/{path}")

    assert (developer[0], vertex[0]) == (403, 401)


DOORS = {
    "developer": ({"api_key": "k"}, "/v1/models/"),
    "developer v1beta": ({"api_key": "k", "version": "v1beta"}, "/v1beta/models/"),
    "developer behind a path": ({"api_key": "k", "prefix": "/google"}, "/google/v1/models/"),
    "express": ({"vertexai": True, "api_key": "k"}, "/v1beta1/publishers/google/models/"),
    "project with key": (
        {"vertexai": True, "api_key": "k", "project": "p", "location": "eu"},
        "/v1beta1/projects/p/locations/eu/publishers/google/models/",
    ),
    "project with token": (
        {"vertexai": True, "project": "p", "location": "global", "credentials": Credentials("token")},
        "/v1beta1/projects/p/locations/global/publishers/google/models/",
    ),
}


@pytest.mark.parametrize("door", DOORS)
async def test_the_sdk_comes_in_by_every_door(sandbox, door):
    """The constructs of facts section 2.4, with the path that each leads to."""
    how, path = dict(DOORS[door][0]), DOORS[door][1]
    base = sandbox.gemini_base_url + how.pop("prefix", "")
    http = types.HttpOptions(base_url=base, api_version=how.pop("version", None))
    client = genai.Client(http_options=http, **how)

    answer = await client.aio.models.generate_content(model=MODEL, contents="A fox", config=config())

    assert [opened(one.data).size for one in pictures(answer)] == [(512, 512)]
    assert [f"{path}{MODEL}:generateContent"] == [record.path for record in sandbox.requests]
    await client.aio.aclose()
    client.close()


async def test_vertex_honours_output_options(vertex):
    """PNG unless asked otherwise, JPEG with a quality if asked; its own fields in the answer."""
    plain = await generate(vertex)
    image = types.ImageConfig(image_size="512", output_mime_type="image/jpeg", output_compression_quality=60)
    small = await generate(vertex, image_config=image)

    assert [opened(pictures(answer)[0].data).format for answer in (plain, small)] == ["PNG", "JPEG"]
    assert len(pictures(small)[0].data) * 2 < len(pictures(plain)[0].data)
    assert plain.create_time
    assert plain.usage_metadata.traffic_type == types.TrafficType.ON_DEMAND


async def test_vertex_counts_candidates_in_its_own_words(vertex):
    """The Vertex text of the same refusal."""
    with pytest.raises(errors.ClientError, match="candidateCount must be 1 but the entered value was 2"):
        await generate(vertex, candidate_count=2)


STREAM = [
    ({}, [False]),
    ({"response_modalities": ["TEXT", "IMAGE"]}, [False, False]),
    ({"thinking_config": types.ThinkingConfig(thinking_level="HIGH", include_thoughts=True)}, [True, False]),
    ({"fault": "thought_images;count=2"}, [True, True, False]),
]


@pytest.mark.parametrize(("asked", "thoughts"), STREAM, ids=["plain", "with text", "with thoughts", "with drafts"])
async def test_a_stream_brings_one_part_an_event(client, asked, thoughts):
    """Usage and finish reason come with the last event; a picture is never split."""
    stream = await client.aio.models.generate_content_stream(model=MODEL, contents="A fox", config=config(**asked))
    chunks = [chunk async for chunk in stream]

    parts = [one for chunk in chunks for one in chunk.candidates[0].content.parts]
    assert thoughts == [bool(one.thought) for one in parts]
    assert [None] * (len(chunks) - 1) + ["STOP"] == [chunk.candidates[0].finish_reason for chunk in chunks]
    assert chunks[-1].usage_metadata.total_token_count
    assert opened(parts[-1].inline_data.data).size == (512, 512)


ERRORS = [
    ("rate_limit", 429, "RESOURCE_EXHAUSTED", "PerMinute"),
    ("rate_limit;retry_delay=45.837906927s", 429, "RESOURCE_EXHAUSTED", "45.837906927s"),
    ("rate_limit_bare", 429, "RESOURCE_EXHAUSTED", "error-code-429"),
    ("quota_per_day", 429, "RESOURCE_EXHAUSTED", "GenerateRequestsPerDayPerProjectPerModel"),
    ("api_key_invalid", 400, "INVALID_ARGUMENT", "API_KEY_INVALID"),
    ("unauthenticated", 401, "UNAUTHENTICATED", "authentication credential"),
    ("permission_denied", 403, "PERMISSION_DENIED", "Permission denied"),
    ("not_found", 404, "NOT_FOUND", "is not found for API version"),
    ("failed_precondition", 400, "FAILED_PRECONDITION", "location"),
    ("invalid_argument;message=Odd request", 400, "INVALID_ARGUMENT", "Odd request"),
    ("internal", 500, "INTERNAL", "An internal error has occurred"),
    ("bad_gateway_html", 502, "Bad Gateway", "<html>"),
    ("unavailable", 503, "UNAVAILABLE", "overloaded"),
    ("unavailable;reason=MODEL_CAPACITY_EXHAUSTED", 503, "UNAVAILABLE", "MODEL_CAPACITY_EXHAUSTED"),
    ("overloaded", 529, "UNAVAILABLE", "overloaded"),
]


@pytest.mark.parametrize(("kind", "expected"), [(kind, rest) for kind, *rest in ERRORS])
async def test_an_error_fault_gives_the_real_class_and_body(sandbox, client, kind, expected):
    """Status, details and text as facts section 5.1 has them; at no cost, and without a Retry-After header."""
    code, status, text = expected
    with pytest.raises(errors.ClientError if code < 500 else errors.ServerError) as failed:
        await generate(client, fault=kind)

    assert (code, status) == (failed.value.code, failed.value.status)
    assert text in json.dumps(failed.value.details)
    assert "retry-after" not in {name.lower() for name in failed.value.response.headers}
    assert [(charge.billed, charge.nanos) for charge in sandbox.charges] == [(False, 0)]


async def test_a_deadline_is_billed_because_the_picture_was_made(sandbox, client):
    """504 after generation; the argument `billed` says otherwise if asked."""
    for kind in ("deadline_exceeded", "deadline_exceeded;billed=false", "internal;billed=true"):
        with pytest.raises(errors.ServerError):
            await generate(client, fault=kind)

    assert [charge.billed for charge in sandbox.charges] == [True, False, True]


@pytest.mark.parametrize("parts", ["null", "absent", "empty"])
@pytest.mark.parametrize("reason", ["IMAGE_SAFETY", "PROHIBITED_CONTENT", "NO_IMAGE", "MAX_TOKENS", "IMAGE_RECITATION"])
async def test_a_refusal_is_an_answer_without_a_picture(sandbox, client, reason, parts):
    """HTTP 200, a finish reason, no parts in any of three ways; the prompt alone is billed."""
    answer = await generate(client, "A red fox", fault=f"finish_reason;reason={reason};parts={parts}")

    (candidate,) = answer.candidates
    assert reason == candidate.finish_reason
    assert not (candidate.content and candidate.content.parts)
    assert answer.usage_metadata.total_token_count == 3
    assert [(charge.billed, charge.nanos) for charge in sandbox.charges] == [(True, 3 * 500)]


async def test_a_refusal_after_thinking_repeats_its_thoughts_as_candidates(sandbox, client):
    """The fields must not be added up; the total is right, and is what is charged."""
    thinking = types.ThinkingConfig(thinking_level="HIGH")

    answer = await generate(client, "A red fox", fault="finish_reason", thinking_config=thinking)

    usage = answer.usage_metadata
    assert usage.candidates_token_count == usage.thoughts_token_count == usage.total_token_count - 3
    assert 3 * 500 + usage.thoughts_token_count * 3_000 == sandbox.charges[0].nanos


@pytest.mark.parametrize("reason", ["PROHIBITED_CONTENT", "SAFETY", "IMAGE_SAFETY"])
async def test_a_blocked_prompt_has_no_candidates(client, reason):
    """`promptFeedback` instead."""
    answer = await generate(client, fault=f"block_reason;reason={reason}")

    assert (None, reason) == (answer.candidates, answer.prompt_feedback.block_reason)


def _kinds(answer):
    return ["image" if one.inline_data else "text" for one in answer.candidates[0].content.parts]


def _thoughts(answer):
    return [bool(one.thought) for one in answer.candidates[0].content.parts]


ODD = {
    "text_only": lambda a: _kinds(a) == ["text"] and a.candidates[0].finish_reason == "STOP",
    "no_candidates": lambda a: not a.candidates,
    "several_images;count=3": lambda a: (
        _kinds(a) == ["image"] * 3 and a.usage_metadata.candidates_tokens_details[0].token_count == 3 * 747
    ),
    "thought_images": lambda a: (
        _thoughts(a) == [True, True, False] and a.usage_metadata.candidates_tokens_details[0].token_count == 747
    ),
    "thought_image_only": lambda a: _thoughts(a) == [True] and _kinds(a) == ["image"],
    "mislabelled_mime": lambda a: (
        pictures(a)[0].mime_type == "image/png" and opened(pictures(a)[0].data).format == "JPEG"
    ),
    "odd_pixels": lambda a: opened(pictures(a)[0].data).size == (544, 512),
    "big_signatures": lambda a: len(a.candidates[0].content.parts[0].thought_signature) == 825_000,
    "served_version;model_version=gemini-x": lambda a: a.model_version == "gemini-x",
    "missing_usage": lambda a: a.usage_metadata is None,
    "wrong_image_type": lambda a: pictures(a)[0].data.startswith(b"Internal"),
    "truncated_image": lambda a: not pictures(a)[0].data.endswith(b"\xff\xd9"),
}


@pytest.mark.parametrize("kind", ODD)
async def test_an_odd_answer_comes_with_http_200(client, kind):
    """Answers that the SDK lets pass: a client has to look for itself."""
    assert ODD[kind](await generate(client, fault=kind))


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("error_in_200", lambda body: json.loads(body)["error"]["status"] == "RESOURCE_EXHAUSTED"),
        ("error_in_200;status=internal", lambda body: json.loads(body)["error"]["code"] == 500),
        ("html_in_200", lambda body: body.startswith("<!DOCTYPE html>")),
        ("truncated_json", lambda body: body.startswith("{") and not body.endswith("}")),
        ("bad_base64", lambda body: "*#!" in body),
        (
            "finish_reason;reason=IMAGE_SAFETY",
            lambda body: "Unable to show" in json.loads(body)["candidates"][0]["finishMessage"],
        ),
        ("continuation", lambda body: "continuationToken" in json.loads(body)),
    ],
)
async def test_the_body_as_it_came(sandbox, client, kind, check):
    """What the SDK would not show or not survive."""
    http = types.HttpOptions(headers={"x-sandbox-fault": kind})

    answer = await generate(client, http_options=http, should_return_http_response=True)

    assert check(answer.sdk_http_response.body)


@pytest.mark.parametrize("kind", ["reset_before_response", "reset_mid_body"])
async def test_a_reset_breaks_the_connection_after_the_picture_was_paid(sandbox, client, kind):
    """The client sees a broken connection, the charge log a picture."""
    with pytest.raises(aiohttp.ClientError):
        await generate(client, fault=kind)

    assert [charge.billed for charge in sandbox.charges] == [True]


@pytest.mark.parametrize("kind", ["stall", "stall_mid_body"])
async def test_a_stalled_call_goes_on_when_released(sandbox, client, kind):
    """And a client that leaves instead is billed, marked as undelivered."""
    staying, leaving = (asyncio.create_task(generate(client, text, fault=kind)) for text in ("A fox", "A hen"))
    await sandbox.wait_for_stalls(2)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    sandbox.release_stalls()
    answer = await staying
    await sandbox.settle()

    assert opened(pictures(answer)[0].data).size == (512, 512)
    assert sorted((charge.billed, charge.client_disconnected) for charge in sandbox.charges) == [
        (True, False),
        (True, True),
    ]


async def test_a_stream_fails_in_the_middle_with_an_error_event(client):
    """HTTP 200 and an error in the stream become the SDK's exception with the body's code."""
    stream = await client.aio.models.generate_content_stream(
        model=MODEL, contents="A fox", config=config(fault="error_in_200;status=unavailable")
    )

    with pytest.raises(errors.ServerError) as failed:
        [chunk async for chunk in stream]
    assert failed.value.code == 503


async def test_quotas_answer_as_each_door_does():
    """RetryInfo with the wait on the Developer API, nothing on Vertex."""
    settings = replace(SETTINGS, quotas={"gemini": Quota(requests_per_minute=1)})
    async with run(settings) as sandbox:
        body = {"contents": [{"parts": [{"text": "A fox"}]}], "generationConfig": {"imageConfig": {"imageSize": "512"}}}
        path = f"models/{MODEL}:generateContent?key=k"
        first = await post(sandbox, body, f"/v1beta/{path}")
        developer = await post(sandbox, body, f"/v1beta/{path}")
        vertex = await post(sandbox, body, f"/v1beta1/publishers/google/{path}")

    assert [first[0], developer[0], vertex[0]] == [200, 429, 429]
    delays = [detail.get("retryDelay") for detail in developer[2]["error"]["details"]]
    assert 50 < float(delays[-1].rstrip("s")) <= 60
    assert "details" not in vertex[2]["error"]
