"""The Gemini adapter: Nano Banana models through the official SDK, on the Developer API or on Vertex.

The SDK authenticates, addresses, sends and types errors. All its ways of sending twice are off, and it sees no
picture: those of a request are spliced in below it, and the body of a 200 is kept back and read in `gemini_answer`.

Source: ai.google.dev/gemini-api/docs/image-generation and google-genai 3.4.0 (`models.py`, `errors.py`,
`_api_client.py`), read 2026-11-22.
"""

import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from json import JSONDecodeError
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any

import google.auth.exceptions
import httpx2
from google import genai
from google.auth.credentials import Credentials
from google.genai import errors, types
from google.genai._api_client import BaseApiClient

from pictord.domain.outcome import Signal
from pictord.providers import gemini_answer, gemini_request, sending
from pictord.providers.base import BadPicture, Call, Drawn, Preview, ProviderFailure, Verify
from pictord.providers.bytes.client import DirectClient
from pictord.providers.bytes.json_body import BadBase64, ErrorInBody, NotJson, parse_answer
from pictord.providers.bytes.transport import AiohttpTransport, Head
from pictord.providers.gemini_answer import Finished
from pictord.providers.provider_words import readable
from pictord.providers.sending import Sending, verified

_MULTI_REGIONS = frozenset({"us", "eu"})


@dataclass(frozen=True, slots=True)
class GeminiSettings:
    """One Google account: an API key of the Developer API, or a Vertex project.

    Nothing is read from the environment, except proxies (`trust_env`), and application default credentials for a
    project without `credentials`. `thinking` is the thinking level; thoughts are billed as text and take 6 s and more.
    """

    api_key: str | None = field(default=None, repr=False)
    project: str | None = None
    location: str = "global"
    credentials: Credentials | None = field(default=None, repr=False)
    base_url: str | None = None
    thinking: str = "minimal"
    trust_env: bool = False
    connect_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if bool(self.api_key) == bool(self.project):
            raise ValueError("give Gemini either an API key or a Vertex project")

    @property
    def vertex(self) -> bool:
        """Whether this is a Vertex project."""
        return self.project is not None

    @property
    def url(self) -> str:
        """Where requests go: `base_url`, or Google's address for this account."""
        if self.base_url:
            return self.base_url
        if not self.vertex:
            return "https://generativelanguage.googleapis.com/"
        if self.location in _MULTI_REGIONS:
            return f"https://aiplatform.{self.location}.rep.googleapis.com/"
        return f"https://{'' if self.location == 'global' else self.location + '-'}aiplatform.googleapis.com/"


class GeminiAdapter:
    """`ImageProvider` for Gemini; it has no previews.

    Args:
        settings: the account.
        verify: looks at every picture before anyone believes in it.
    """

    name = "gemini"

    def __init__(self, settings: GeminiSettings, *, verify: Verify) -> None:
        self._settings = settings
        self._secrets = (settings.api_key or "",)
        self._verify = verify
        self._models = "publishers/google/models" if settings.vertex else "models"
        self._transport = AiohttpTransport(connect_timeout=settings.connect_timeout_s, trust_env=settings.trust_env)
        self._heads: dict[tuple[str, float], Head] = {}
        self._http = DirectClient(self._transport, timeout=httpx2.Timeout(settings.connect_timeout_s))
        # The SDK also makes clients of its own, which nobody uses; trusting no authority they cost 80 ms less to make.
        unused = SSLContext(PROTOCOL_TLS_CLIENT)
        self._client = genai.Client(
            vertexai=settings.vertex,
            api_key=settings.api_key,
            project=settings.project,
            location=settings.location if settings.vertex else None,
            credentials=settings.credentials,
            http_options=types.HttpOptions(
                base_url=settings.url,
                # The SDK's own default for the Developer API, v1, is not known to take every image field.
                api_version="v1beta1" if settings.vertex else "v1beta",
                httpx_async_client=self._http,
                client_args={"verify": unused},
                async_client_args={"ssl": unused},
                retry_options=types.HttpRetryOptions(attempts=1),
            ),
        )

    async def draw(self, call: Call, *, on_sent: Callable[[], None]) -> AsyncGenerator[Preview | Drawn, None]:
        """Make one paid send; see `ImageProvider.draw`."""
        send = Sending(call.candidate.timeout_s, on_sent)
        try:
            yield await self._whole(call, send)
        except ProviderFailure as failure:
            self._redact(failure)
            raise
        except _FAILURES as error:
            raise self._redact(failure_of(error, send)) from error

    async def close(self) -> None:
        """Close connections; no call is in flight."""
        self._client.close()
        await self._client.aio.aclose()
        await self._http.aclose()

    async def _whole(self, call: Call, send: Sending) -> Drawn:
        body = gemini_request.body(
            call, send.exchange.attach, vertex=self._settings.vertex, thinking=self._settings.thinking
        )
        if self._settings.vertex:
            await self._ask_vertex(call, body, send)
        else:
            await self._ask(call, body, send)
        return self._drawn(gemini_answer.finished(parse_answer(send.exchange.body or b"")), call, send)

    async def _ask_vertex(self, call: Call, body: dict[str, Any], send: Sending) -> None:
        """What `generate_content` ends in: its models before and after would take a millisecond of every call."""
        options = types.HttpOptions.model_validate(gemini_request.options(call))
        async with send.step():
            await self._api.async_request("post", self._path(call), body, options)

    async def _ask(self, call: Call, body: dict[str, Any], send: Sending) -> None:
        """The same with a key, which never changes: so the SDK's part is the same for all calls, and is done once."""
        kind = (call.candidate.snapshot, call.candidate.timeout_s)
        head = self._heads.get(kind)
        if head is None:
            head = self._heads[kind] = self._head(call)
        async with send.in_time():
            answer = await self._transport.post(head, json.dumps(body).encode(), send.exchange, call.headers)
        if answer is not None:
            await errors.APIError.raise_for_async_response(answer)

    def _head(self, call: Call) -> Head:
        """The head of the SDK's own request for a picture: addressed and authenticated."""
        options = types.HttpOptions.model_validate(gemini_request.options(replace(call, headers={})))
        asked = self._api._build_request("post", self._path(call), {}, options)  # noqa: SLF001 - only this shows it unsent
        made = self._http.build_request(asked.method, asked.url, headers=asked.headers, timeout=asked.timeout)
        return self._transport.head(made)

    def _path(self, call: Call) -> str:
        return f"{self._models}/{call.candidate.snapshot}:generateContent"

    @property
    def _api(self) -> BaseApiClient:
        return self._client._api_client  # noqa: SLF001 - the SDK has no public way to send JSON

    def _drawn(self, final: Finished, call: Call, send: Sending) -> Drawn:
        try:
            decoded, picture = verified(final.picture, self._verify)
        except (BadBase64, BadPicture) as error:
            failure = send.failure(error)
            failure.usage = final.usage
            failure.provider_request_id, failure.served_version = final.response_id, final.model_version
            raise failure from error
        return Drawn(
            data=decoded.data,
            sha256=decoded.sha256,
            mime=picture.mime,
            width_px=picture.width_px,
            height_px=picture.height_px,
            has_c2pa=picture.has_c2pa,
            served_model=final.model_version or call.candidate.snapshot,
            served_version=final.model_version,
            provider_request_id=final.response_id,
            usage=final.usage,
            extra_images=final.extra_images,
            over_cap=picture.over_cap,
        )

    def _redact(self, failure: ProviderFailure) -> ProviderFailure:
        """Take out of a failure what nobody may read."""
        failure.text = readable(failure.text, self._secrets)
        failure.signal = replace(failure.signal, message=readable(failure.signal.message, self._secrets))
        return failure


_FAILURES = (
    ErrorInBody,
    errors.APIError,
    google.auth.exceptions.GoogleAuthError,
    JSONDecodeError,
    UnicodeDecodeError,
    *sending.BROKEN,
)


def failure_of(error: Exception, send: Sending) -> ProviderFailure:
    """The table of vendor errors: what each exception of a call means."""
    match error:
        case errors.APIError() if error.code < 300:  # the SDK takes any status but 200 for an error
            return send.failure(NotJson(f"HTTP {error.code} is no answer to an image request"))
        case errors.APIError():
            return gemini_answer.refused(error.code, error.details, send.headers)
        case ErrorInBody():
            return gemini_answer.refused(200, error.error, send.headers)
        case google.auth.exceptions.GoogleAuthError() if _is_passing(error):
            return send.lost(f"no access token: {error}", timed_out=False)
        case google.auth.exceptions.GoogleAuthError():
            return ProviderFailure(Signal(codes=("UNAUTHENTICATED",)), f"no access token: {error}")
        case JSONDecodeError() | UnicodeDecodeError():
            return send.failure(NotJson(f"the SDK cannot read the answer: {type(error).__name__}"))
        case _:
            return send.failure(error)


def _is_passing(error: google.auth.exceptions.GoogleAuthError) -> bool:
    """Whether the token server, and not the account, is the trouble."""
    return isinstance(error, google.auth.exceptions.TransportError) or bool(error.retryable)
