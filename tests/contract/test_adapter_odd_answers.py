"""Answers that no provider ever documented, as proxies, load balancers and bad days make them.

Whatever comes back, an adapter ends in one `ProviderFailure`: no exception of an SDK, of a parser or of ours.
"""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import google.auth.exceptions
import pytest
from aiohttp import web
from google.auth.credentials import Credentials

from contract.adapter_rig import ADAPTERS, VERIFY, adapter_to, call_of, drawn, input_image
from pictord.domain.outcome import Outcome, Unusable
from pictord.providers.gemini import GeminiAdapter, GeminiSettings
from pictord.sandbox import SandboxSettings, run

JSON, EVENTS = "application/json", "text/event-stream"
GZIP = {"Content-Encoding": "gzip"}


@dataclass(frozen=True)
class Answer:
    """What the provider sends, and what is made of it."""

    name: str
    status: int
    body: bytes
    outcome: Outcome
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


WHOLE = [
    Answer("nothing at all", 200, b"", Outcome.UNUSABLE),
    Answer("blanks", 200, b" \r\n", Outcome.UNUSABLE),
    Answer("null", 200, b"null", Outcome.UNUSABLE),
    Answer("a list", 200, b"[]", Outcome.UNUSABLE),
    Answer("a word", 200, b'"ok"', Outcome.UNUSABLE),
    Answer("an empty object", 200, b"{}", Outcome.NO_IMAGE),
    Answer("no UTF-8", 200, b'{"data": "\xff\xfe"}', Outcome.UNUSABLE),
    Answer("compressed unasked", 200, gzip.compress(b"{}"), Outcome.NO_IMAGE, headers=GZIP),
    Answer("no gzip, as it says", 200, b"{}", Outcome.UNUSABLE, headers=GZIP),
    Answer("half a gzip", 200, gzip.compress(b'{"data": []}')[:-14], Outcome.UNUSABLE, headers=GZIP),
    Answer("429 no gzip", 429, b"slow down", Outcome.RATE_LIMITED, headers=GZIP),
    Answer("500 no gzip", 500, b"oops", Outcome.SERVER_ERROR, headers=GZIP),
    Answer("an error that is a word", 200, b'{"error": "no"}', Outcome.SERVER_ERROR),
    Answer("an error that is a list", 200, b'{"error": [1]}', Outcome.SERVER_ERROR),
    Answer("other fields of other types", 200, b'{"data": 1, "candidates": 1, "usage": 1}', Outcome.NO_IMAGE),
    Answer("an event stream", 200, b'data: {"data": []}\n\n', Outcome.UNUSABLE, EVENTS),
    Answer("created", 201, b'{"data": [{"b64_json": "AAAA"}]}', Outcome.UNUSABLE),
    Answer("no content", 204, b"", Outcome.UNUSABLE),
    Answer("a redirect", 302, b"", Outcome.SERVER_ERROR, headers={"Location": "/elsewhere"}),
    Answer("400 of nothing", 400, b"", Outcome.BAD_REQUEST),
    Answer("400 null", 400, b"null", Outcome.BAD_REQUEST),
    Answer("400 list", 400, b'[{"error": {"code": 400}}, 2]', Outcome.BAD_REQUEST),
    Answer("400 error null", 400, b'{"error": null}', Outcome.BAD_REQUEST),
    Answer("413 page", 413, b"<html><title>Too Large</title>", Outcome.BAD_REQUEST, "text/html"),
    Answer("429 no UTF-8", 429, b'{"error": {"message": "\xff"}}', Outcome.RATE_LIMITED),
    Answer("500 number", 500, b"5", Outcome.SERVER_ERROR),
    Answer("529 word", 529, b"overloaded", Outcome.OVERLOADED, "text/plain"),
]
STREAMS = [
    Answer("nothing at all", 200, b"", Outcome.UNUSABLE, EVENTS),
    Answer("no JSON", 200, b"data: {oops\n\n", Outcome.UNUSABLE, EVENTS),
    Answer("a list", 200, b"data: []\n\n", Outcome.UNUSABLE, EVENTS),
    Answer("half an event", 200, b'event: image_generation.completed\ndata: {"b64', Outcome.UNUSABLE, EVENTS),
    Answer("unknown kinds", 200, b'data: {"type": "x"}\n\ndata: {"type": 5}\n\n', Outcome.UNUSABLE, EVENTS),
    Answer("completed, no picture", 200, b'data: {"type": "image_edit.completed"}\n\n', Outcome.UNUSABLE, EVENTS),
    Answer("an error that is a word", 200, b'data: {"error": "no"}\n\n', Outcome.SERVER_ERROR, EVENTS),
    Answer("an error event of nothing", 200, b'event: error\ndata: {"x": 1}\n\n', Outcome.SERVER_ERROR, EVENTS),
    Answer("only the end mark", 200, b"data: [DONE]\n\n", Outcome.UNUSABLE, EVENTS),
    Answer("a page", 200, b"<html>", Outcome.UNUSABLE, "text/html"),
    Answer("no content", 204, b"", Outcome.UNUSABLE, EVENTS),
    Answer("no gzip, as it says", 200, b"data: {}\n\n", Outcome.UNUSABLE, EVENTS, GZIP),
]


@asynccontextmanager
async def provider(answer: Answer) -> AsyncIterator[str]:
    """A provider that answers everything with `answer`; yields its address."""

    async def reply(request: web.Request) -> web.Response:
        await request.read()
        headers = {"Content-Type": answer.content_type, **answer.headers}
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reply)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("api", ["openai", "gemini"])
@pytest.mark.parametrize("answer", WHOLE, ids=[answer.name for answer in WHOLE])
async def test_any_answer_ends_in_a_named_failure(api: str, answer: Answer) -> None:
    """Bodies and statuses that nobody promised are failures with an outcome."""
    async with provider(answer) as address:
        adapter = ADAPTERS[api](address)
        result = await drawn(adapter, call_of(api))
        await adapter.close()

    assert result.failure is not None
    assert answer.outcome is result.failure.outcome
    assert result.failure.text


@pytest.mark.parametrize("answer", STREAMS, ids=[answer.name for answer in STREAMS])
async def test_any_stream_ends_in_a_named_failure(answer: Answer) -> None:
    """The same for what comes as a stream, or instead of one."""
    async with provider(answer) as address:
        adapter = ADAPTERS["openai"](address)
        result = await drawn(adapter, call_of("openai", previews=1))
        await adapter.close()

    assert result.failure is not None
    assert answer.outcome is result.failure.outcome
    assert result.failure.text
    assert not result.previews


PICTURE = base64.b64encode(input_image().data).decode()


def stream_of(*events: Mapping[str, Any] | str) -> Answer:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    body = "".join(f"data: {line}\n\n" for line in lines).encode()
    return Answer("a stream", 200, body, Outcome.IMAGE, EVENTS)


@pytest.mark.parametrize("spoilt", [None, "", "!!!!", PICTURE[:40], base64.b64encode(b"text").decode()])
async def test_a_broken_preview_is_left_out(spoilt: str | None) -> None:
    """A preview says nothing about the picture to come: the call goes on without it."""
    partial = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": spoilt}
    good = partial | {"partial_image_index": 1, "b64_json": PICTURE}
    completed = {"type": "image_generation.completed", "b64_json": PICTURE}

    async with provider(stream_of(partial, good, completed)) as address:
        adapter = ADAPTERS["openai"](address)
        result = await drawn(adapter, call_of("openai", previews=2))
        await adapter.close()

    assert [preview.index for preview in result.previews] == [1]
    assert result.image.data == input_image().data


async def test_an_end_mark_is_no_picture() -> None:
    """A stream that says it is done after previews only has not drawn anything."""
    partial = {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": PICTURE}

    async with provider(stream_of(partial, "[DONE]")) as address:
        adapter = ADAPTERS["openai"](address)
        result = await drawn(adapter, call_of("openai", previews=2))
        await adapter.close()

    assert result.failure is not None
    assert result.failure.signal.unusable is Unusable.NO_FINAL


async def test_a_reader_that_leaves_a_stream_hangs_up() -> None:
    """Closing the results after a preview closes the connection at once."""
    async with run(SandboxSettings(time_scale=0)) as sandbox, adapter_to("openai", sandbox) as adapter:
        sandbox.faults.add("stall_mid_body", args={"after": 1})
        results = adapter.draw(call_of("openai", previews=2), on_sent=lambda: None)
        await anext(results)
        await sandbox.wait_for_stalls(1)

        await results.aclose()
        await sandbox.settle()

        assert sandbox.charges[0].client_disconnected


async def test_cancelling_a_stream_hangs_up() -> None:
    """A task that is cancelled between two previews leaves no open connection."""
    async with run(SandboxSettings(time_scale=0)) as sandbox, adapter_to("openai", sandbox) as adapter:
        sandbox.faults.add("stall_mid_body", args={"after": 1})
        task = asyncio.create_task(drawn(adapter, call_of("openai", previews=2)))
        await sandbox.wait_for_stalls(1)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sandbox.settle()

        assert sandbox.charges[0].client_disconnected


class _NoToken(Credentials):
    """Credentials that cannot be refreshed."""

    def __init__(self, error: google.auth.exceptions.GoogleAuthError) -> None:
        super().__init__()
        self._error = error

    def refresh(self, request: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (google.auth.exceptions.RefreshError("invalid_grant"), Outcome.KEY_REFUSED),
        (google.auth.exceptions.DefaultCredentialsError("none found"), Outcome.KEY_REFUSED),
        (google.auth.exceptions.RefreshError("busy", retryable=True), Outcome.UNREACHABLE),
        (google.auth.exceptions.TransportError("no route"), Outcome.UNREACHABLE),
    ],
    ids=str,
)
async def test_no_access_token_costs_nothing(error: google.auth.exceptions.GoogleAuthError, outcome: Outcome) -> None:
    """Vertex without a token: the account's fault, or a passing one of the token server; nothing was sent."""
    async with run(SandboxSettings(time_scale=0)) as sandbox:
        settings = GeminiSettings(project="tests", credentials=_NoToken(error), base_url=sandbox.address)
        adapter = GeminiAdapter(settings, verify=VERIFY)
        result = await drawn(adapter, call_of("vertex"))
        await adapter.close()

    assert result.failure is not None
    assert (outcome, 0, 0) == (result.failure.outcome, result.sent, len(sandbox.requests))
    assert "no access token" in result.failure.text
