"""Both official SDKs on the byte path: they keep their authentication, addresses and errors, and see no picture."""

import base64
import json
import socket
from contextlib import asynccontextmanager

import httpx2
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from pictord.providers.bytes.arriving_json import arrived
from pictord.providers.bytes.client import DirectClient
from pictord.providers.bytes.exchange import Exchange, watched_by
from pictord.providers.bytes.json_body import b64_image, parse_answer
from pictord.providers.bytes.sse import EventSplitter
from pictord.providers.bytes.transport import AiohttpTransport

PICTURE = bytes(range(256)) * 8192
OPENAI_ANSWER = json.dumps({"data": [{"b64_json": base64.b64encode(PICTURE).decode()}]})


@asynccontextmanager
async def provider(answer):
    """A server that keeps its requests as (method, path, headers, body) and lets `answer` answer."""
    seen = []

    async def handle(request):
        seen.append((request.method, request.path_qs, request.headers, await request.read()))
        return answer(len(seen))

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{any:.*}", handle)
    async with TestServer(app) as server:
        yield address(server), seen


def address(server):
    return str(server.make_url("")).rstrip("/")


def says(status=200, text="{}", **headers):
    """Answer everything with this."""
    return lambda _number: web.Response(
        status=status, text=text, content_type="application/json", headers=headers or None
    )


@asynccontextmanager
async def openai_client(url):
    client = openai.AsyncOpenAI(api_key="k", base_url=url + "/v1", max_retries=0, http_client=direct())
    async with client:
        yield client


@asynccontextmanager
async def gemini_client(url, *, vertex=False):
    account = (
        {"vertexai": True, "project": "p", "location": "global", "credentials": Credentials("tok")}
        if vertex
        else {"api_key": "k"}
    )
    async with direct() as http:
        options = types.HttpOptions(
            base_url=url,
            api_version="v1beta",
            httpx_async_client=http,
            retry_options=types.HttpRetryOptions(attempts=1),
        )
        client = genai.Client(http_options=options, **account)
        try:
            yield client
        finally:
            client.close()
            await client.aio.aclose()


def direct():
    return DirectClient(AiohttpTransport(), timeout=httpx2.Timeout(10))


def generate(client):
    return client.images.generate(model="gpt-image-2", prompt="a cat", n=1)


def draw(client, parts=None):
    """The public call, as an adapter makes it."""
    return client.aio.models.generate_content(
        model="gemini-3.1-flash-image",
        contents=types.Content(role="user", parts=parts or [types.Part(text="a cat")]),
        config=types.GenerateContentConfig(
            response_modalities=["IMAGE"],
            image_config=types.ImageConfig(aspect_ratio="1:1", image_size="1K"),
            automatic_continuation=False,
        ),
    )


def closed_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (408, openai.APIStatusError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
async def test_openai_types_its_errors_from_the_status(status, expected):
    """An error body reaches the SDK, with code and request id, and nothing is tried again."""
    text = json.dumps({"error": {"code": "c", "type": "t", "message": "m"}})

    answer = says(status, text, **{"x-request-id": "req_1"})
    async with provider(answer) as (url, seen), openai_client(url) as client:
        with pytest.raises(expected) as error, watched_by(Exchange()):
            await generate(client)

    assert (error.value.status_code, error.value.code, error.value.request_id) == (status, "c", "req_1")
    assert [headers["x-stainless-retry-count"] for _, _, headers, _ in seen] == ["0"]


async def test_openai_types_what_breaks_below_http():
    """A refused connection and a timeout are the SDK's own errors, with the transport's as their cause."""
    async with openai_client(f"http://127.0.0.1:{closed_port()}") as client:
        with pytest.raises(openai.APIConnectionError) as error, watched_by(Exchange()) as exchange:
            await generate(client)

    assert isinstance(error.value.__cause__, httpx2.ConnectError)
    assert not exchange.sent


async def test_openai_sends_its_request_and_the_picture_passes_beside_it():
    """Address, key and JSON are the SDK's; the answer's bytes are ours."""
    answer = says(text=OPENAI_ANSWER, **{"x-request-id": "req_1"})
    async with provider(answer) as (url, seen), openai_client(url) as client:
        with watched_by(Exchange()) as exchange:
            await generate(client)

    method, path, headers, body = seen[0]
    assert (method, path, headers["authorization"]) == ("POST", "/v1/images/generations", "Bearer k")
    assert json.loads(body) == {"model": "gpt-image-2", "prompt": "a cat", "n": 1}
    assert b64_image(parse_answer(exchange.body)["data"][0]["b64_json"]).data == PICTURE
    assert exchange.headers["x-request-id"] == "req_1"


async def test_an_openai_stream_comes_as_events():
    """The raw stream of the SDK feeds the splitter, chunk by chunk."""

    async def stream(request):
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for i in range(3):
            await response.write(f"event: partial\ndata: {OPENAI_ANSWER}\n\ndata: {i}\n\n".encode())
        return response

    app = web.Application()
    app.router.add_post("/v1/images/generations", stream)
    async with TestServer(app) as server, openai_client(address(server)) as client:
        with watched_by(Exchange()) as exchange:
            opened = client.images.with_streaming_response.generate(model="gpt-image-2", prompt="a cat", stream=True)
            response = await opened.__aenter__()
        splitter = EventSplitter(2**30)
        said = [event async for chunk in response.iter_bytes() for event in splitter.feed(chunk)]
        splitter.close()
        await response.close()

    assert exchange.body is None
    assert [event.data.text for event in said[1::2]] == [b"0", b"1", b"2"]
    for event in said[::2]:
        assert (event.event, parse_answer(event.data)["data"][0]["b64_json"].data) == ("partial", PICTURE)


async def test_a_retry_by_the_sdk_is_refused_once_the_request_was_sent():
    """Even with the SDK's retries left on, a second paid request does not leave."""
    async with provider(says(500, **{"retry-after-ms": "1"})) as (url, seen):
        client = openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=1, http_client=direct())
        async with client:
            with pytest.raises(openai.APIConnectionError) as error, watched_by(Exchange()):
                await generate(client)

    assert isinstance(error.value.__cause__, httpx2.LocalProtocolError)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("status", "expected"), [(400, errors.ClientError), (429, errors.ClientError), (503, errors.ServerError)]
)
async def test_gemini_types_its_errors_from_the_status(status, expected):
    """An error body reaches the SDK whole, details included, and nothing is tried again."""
    body = {"error": {"code": status, "status": "S", "message": "m", "details": [{"a": 1}]}}

    async with provider(says(status, json.dumps(body))) as (url, seen), gemini_client(url) as client:
        with pytest.raises(expected) as error, watched_by(Exchange()):
            await draw(client)

    assert (error.value.code, error.value.status, error.value.details) == (status, "S", body)
    assert len(seen) == 1


async def test_gemini_lets_a_broken_connection_through_as_it_is():
    """google-genai wraps nothing: the transport's own error arrives, after one try and at once."""
    async with gemini_client(f"http://127.0.0.1:{closed_port()}") as client:
        with pytest.raises(httpx2.ConnectError), watched_by(Exchange()) as exchange:
            await draw(client)

    assert not exchange.sent


@pytest.mark.parametrize("form", ["bytes", "text"])
async def test_gemini_sends_a_picture_that_it_has_not_seen(form):
    """The SDK encodes a placeholder; the provider gets the picture's base64, key and address as ever."""
    exchange = Exchange()
    placeholder = exchange.attach(PICTURE)
    blob = (
        types.Blob(data=base64.b64decode(placeholder), mime_type="image/png")
        if form == "bytes"
        else types.Blob.model_validate({"data": placeholder, "mime_type": "image/png"})
    )

    async with provider(says()) as (url, seen), gemini_client(url) as client:
        with watched_by(exchange):
            await draw(client, [types.Part(inline_data=blob)])

    _, path, headers, body = seen[0]
    assert path == "/v1beta/models/gemini-3.1-flash-image:generateContent"
    assert headers["x-goog-api-key"] == "k"
    sent = json.loads(body)["contents"][0]["parts"][0]["inlineData"]["data"]
    assert base64.b64decode(sent, validate=True) == PICTURE


@pytest.mark.parametrize("vertex", [False, True], ids=["Developer API", "Vertex"])
async def test_gemini_s_answer_passes_beside_the_sdk(vertex):
    """The SDK parses an empty object; the picture's JSON is in the exchange."""
    async with provider(says(text=OPENAI_ANSWER)) as (url, seen), gemini_client(url, vertex=vertex) as client:
        with watched_by(Exchange()) as exchange:
            response = await draw(client)

    assert response.candidates is None
    assert exchange.body == arrived(OPENAI_ANSWER.encode(), hashing=True)
    assert b64_image(parse_answer(exchange.body)["data"][0]["b64_json"]).data == PICTURE
    assert seen[0][2].get("authorization") == ("Bearer tok" if vertex else None)
