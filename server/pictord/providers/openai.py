"""The OpenAI adapter: gpt-image models through the official SDK, the big bytes beside it.

The SDK authenticates, shapes requests and types errors. Its retries are off, and it never sees a picture of an answer:
the transport keeps the body of a 200 back, and event streams are split here, because the SDK's own decoder takes an
event of an unknown kind for a partial image, and a stream that ends early for a finished one.

Source: openai 3.54.0 `resources/images.py`, `_base_client.py`, `_streaming.py`, read 2026-11-22.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from json import JSONDecodeError
from typing import Any

import httpx2
import openai
from openai._models import FinalRequestOptions
from openai._utils._json import openapi_dumps

from pictord.domain.events import PreviewKind
from pictord.domain.outcome import Signal, Unusable
from pictord.providers import openai_answer, openai_request, sending
from pictord.providers.base import BadPicture, Call, Drawn, Preview, ProviderFailure, Verify
from pictord.providers.bytes.client import DirectClient
from pictord.providers.bytes.json_body import BadBase64, ErrorInBody, NotJson, parse_answer
from pictord.providers.bytes.sse import EventSplitter, ServerSentEvent
from pictord.providers.bytes.transport import AiohttpTransport, Head
from pictord.providers.openai_answer import Finished, Partial
from pictord.providers.provider_words import readable
from pictord.providers.sending import Sending, verified

_MOST_EVENT_BYTES = 128 * 1024 * 1024
"""A picture at the cap of 64 MiB is 86 MiB of base64; more than this is no event we should keep in memory."""


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """One OpenAI account. Nothing is read from the environment, `trust_env` (proxies) excepted."""

    api_key: str = field(repr=False)
    base_url: str = "https://api.openai.com/v1"
    organization: str | None = None
    project: str | None = None
    trust_env: bool = False
    connect_timeout_s: float = 10.0


class OpenAIAdapter:
    """`ImageProvider` for OpenAI.

    Args:
        settings: the account.
        verify: looks at every picture before anyone believes in it.
    """

    name = "openai"

    def __init__(self, settings: OpenAISettings, *, verify: Verify) -> None:
        self._secrets = (settings.api_key,)
        self._verify = verify
        self._transport = AiohttpTransport(connect_timeout=settings.connect_timeout_s, trust_env=settings.trust_env)
        self._heads: dict[float, Head] = {}
        self._client = openai.AsyncOpenAI(
            api_key=settings.api_key,
            base_url=settings.base_url,
            max_retries=0,
            http_client=DirectClient(self._transport, timeout=httpx2.Timeout(settings.connect_timeout_s)),
        )
        # The SDK takes None for "look into the environment", and adds OPENAI_CUSTOM_HEADERS unasked.
        self._client.organization, self._client.project = settings.organization, settings.project
        self._client.admin_api_key = self._client.webhook_secret = None
        self._client._custom_headers = {}  # noqa: SLF001 - there is no public way to leave them out

    async def draw(self, call: Call, *, on_sent: Callable[[], None]) -> AsyncGenerator[Preview | Drawn, None]:
        """Make one paid send; see `ImageProvider.draw`."""
        send = Sending(call.candidate.timeout_s, on_sent)
        try:
            if not call.candidate.previews:
                yield await self._whole(call, send)
                return
            async with aclosing(self._streamed(call, send)) as results:
                async for result in results:
                    yield result
        except ProviderFailure as failure:
            self._named(failure, send)
            raise
        except _FAILURES as error:
            raise self._named(failure_of(error, send), send) from error

    async def close(self) -> None:
        """Close connections; no call is in flight."""
        await self._client.close()

    async def _whole(self, call: Call, send: Sending) -> Drawn:
        if call.request.input_images:
            async with send.step():
                await self._client.images.edit(**_arguments(call))
        else:
            await self._generate(call, send)
        return self._drawn(_finished(send), call, send)

    async def _generate(self, call: Call, send: Sending) -> None:
        """What `images.generate` does; the SDK's part of it, which is the same for all calls, is done once.

        It would take a third of a millisecond of every call, a quarter of all that a small picture costs here.
        """
        head = self._heads.get(call.candidate.timeout_s)
        if head is None:
            head = self._heads[call.candidate.timeout_s] = self._head(call.candidate.timeout_s)
        content = openapi_dumps(openai_request.arguments(call))
        async with send.in_time():
            answer = await self._transport.post(head, content, send.exchange, call.headers)
        if answer is not None and not answer.is_success:
            raise self._client._make_status_error_from_response(answer)  # noqa: SLF001 - the SDK types errors

    def _head(self, timeout_s: float) -> Head:
        """The head of the SDK's own request for a picture: addressed and authenticated."""
        options = FinalRequestOptions(
            method="post",
            url="/images/generations",
            json_data={},
            timeout=httpx2.Timeout(timeout_s),
            security={"bearer_auth": True},
        )
        return self._transport.head(self._client._build_request(options))  # noqa: SLF001 - only this shows it unsent

    async def _streamed(self, call: Call, send: Sending) -> AsyncGenerator[Preview | Drawn, None]:
        images = self._client.images.with_streaming_response
        method: Any = images.edit if call.request.input_images else images.generate
        async with send.step():
            response = await method(**_arguments(call), **openai_request.streaming(call)).__aenter__()
        try:
            async with aclosing(self._events(response, send)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        yield self._drawn(event, call, send)
                        return
                    for preview in self._preview(event):
                        yield preview
        finally:
            await response.close()

    async def _events(self, response: Any, send: Sending) -> AsyncGenerator[Partial | Finished, None]:
        """What the stream says, up to its end; a whole answer instead of a stream is its only event."""
        if send.exchange.body is not None:
            yield _finished(send)
            return
        splitter = EventSplitter(_MOST_EVENT_BYTES)
        chunks = response.iter_bytes()
        while True:
            async with send.step():
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            for event in splitter.feed(chunk):
                said = _said(event)
                if said is not None:
                    yield said
        splitter.close()
        text = "the stream ended before the picture was finished"
        raise ProviderFailure(Signal(send.exchange.status, unusable=Unusable.NO_FINAL), text)

    def _preview(self, partial: Partial) -> Iterator[Preview]:
        """The preview, unless it is broken: that says nothing about the picture to come."""
        try:
            decoded, picture = verified(partial.picture, self._verify)
        except (BadBase64, BadPicture):
            return
        yield Preview(partial.index, PreviewKind.PARTIAL, picture.mime, decoded.data)

    def _drawn(self, final: Finished, call: Call, send: Sending) -> Drawn:
        try:
            decoded, picture = verified(final.picture, self._verify)
        except (BadBase64, BadPicture) as error:
            failure = send.failure(error)
            failure.usage = final.usage
            raise failure from error
        candidate = call.candidate
        return Drawn(
            data=decoded.data,
            sha256=decoded.sha256,
            mime=picture.mime,
            width_px=picture.width_px,
            height_px=picture.height_px,
            has_c2pa=picture.has_c2pa,
            served_model=candidate.snapshot,  # the API reports none
            served_version=openai_answer.version_of(candidate.model, candidate.snapshot),
            provider_request_id=send.headers.get("x-request-id", ""),
            usage=final.usage,
            extra_images=final.extra_images,
            over_cap=picture.over_cap,
        )

    def _named(self, failure: ProviderFailure, send: Sending) -> ProviderFailure:
        """Add the request id, and take out what nobody may read."""
        failure.text = readable(failure.text, self._secrets)
        failure.signal = replace(failure.signal, message=readable(failure.signal.message, self._secrets))
        failure.provider_request_id = send.headers.get("x-request-id", "")
        return failure


_FAILURES = (ErrorInBody, openai.APIError, JSONDecodeError, *sending.BROKEN)


def failure_of(error: Exception, send: Sending) -> ProviderFailure:
    """The table of vendor errors: what each exception of a call means."""
    match error:
        case openai.APIStatusError():
            return openai_answer.refused(error.status_code, error.body, error.response.headers)
        case openai.APIConnectionError(__cause__=httpx2.DecodingError() as broken):
            return send.failure(broken)
        case openai.APIConnectionError():
            timed_out = isinstance(error, openai.APITimeoutError)
            return send.lost(str(error.__cause__ or error), timed_out=timed_out)
        case ErrorInBody():
            return openai_answer.refused(200, error.error, send.headers)
        case openai.APIError() | JSONDecodeError():
            return send.failure(NotJson(f"the SDK cannot read the answer: {type(error).__name__}"))
        case _:
            return send.failure(error)


def _arguments(call: Call) -> dict[str, Any]:
    return {
        **openai_request.arguments(call),
        **openai_request.pictures(call),
        "extra_headers": dict(call.headers),
        "timeout": httpx2.Timeout(call.candidate.timeout_s),
    }


def _finished(send: Sending) -> Finished:
    if send.exchange.body is None:
        raise NotJson(f"HTTP {send.exchange.status} is no answer to an image request")
    return openai_answer.finished(parse_answer(send.exchange.body))


def _said(event: ServerSentEvent) -> Partial | Finished | None:
    if event.data.text == b"[DONE]":
        return None
    return openai_answer.event(parse_answer(event.data), event.event)
