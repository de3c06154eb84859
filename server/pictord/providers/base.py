"""The image port: what the jobs ask of an engine, and what an adapter answers.

An adapter makes exactly one paid send per `draw`, never retries, and believes nothing: what it yields as `Drawn` has
been checked to be a complete picture. Everything else ends in `ProviderFailure`, whose `signal` the outcome table
reads (`domain/outcome.py`).
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pictord.domain.events import PreviewKind
from pictord.domain.money import Usage
from pictord.domain.outcome import Outcome, Signal, Unusable, classify
from pictord.domain.plan import Candidate
from pictord.domain.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Call:
    """One send: the request, and the candidate that says how this engine serves it.

    `end_user` is already a keyed hash. `headers` are extra HTTP headers (sandbox faults, trace context).
    """

    request: GenerationRequest
    candidate: Candidate
    end_user: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preview:
    """An unfinished picture, as the engine encoded it; `index` counts from 0."""

    index: int
    kind: PreviewKind
    mime: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifiedPicture:
    """What a complete picture's own bytes say of it; nothing here is the provider's word.

    `over_cap` means that it is larger than any engine should make it: it is paid for, so it is kept, and alarmed.
    """

    mime: str
    width_px: int
    height_px: int
    has_c2pa: bool
    over_cap: bool = False


class BadPicture(Exception):
    """Bytes that are no complete picture; `why` says what they are instead."""

    def __init__(self, why: Unusable, text: str) -> None:
        super().__init__(text)
        self.why = why
        self.text = text


Verify = Callable[[bytes], VerifiedPicture]
"""Looks at a picture's bytes without decoding it, or raises `BadPicture`. Adapters are given one."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished picture, verified from its bytes, with what the provider said of it.

    `usage` is None if the provider reported none. `extra_images` counts further finished pictures in the same answer,
    which were dropped. For `over_cap` see `VerifiedPicture`. `sha256` is that of the data in hexadecimal, if it was
    computed while they arrived.
    """

    data: bytes = field(repr=False)
    mime: str
    width_px: int
    height_px: int
    has_c2pa: bool
    served_model: str
    served_version: str
    provider_request_id: str
    usage: Usage | None
    extra_images: int = 0
    over_cap: bool = False
    sha256: str = ""


class ProviderFailure(Exception):
    """An attempt that brought no picture.

    Attributes:
        signal: what was seen, for the outcome table.
        text: the provider's own words, shortened; for operators and, after a refusal, for the caller.
        retry_after_s: seconds the provider asked us to wait, if it did.
        usage: tokens that the provider reported in spite of the failure.
        provider_request_id, served_version: as far as known.
    """

    def __init__(
        self,
        signal: Signal,
        text: str,
        *,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
        provider_request_id: str = "",
        served_version: str = "",
    ) -> None:
        super().__init__(text)
        self.signal = signal
        self.text = text
        self.retry_after_s = retry_after_s
        self.usage = usage
        self.provider_request_id = provider_request_id
        self.served_version = served_version

    @property
    def outcome(self) -> Outcome:
        """The row of the outcome table that this failure falls under."""
        return classify(self.signal)


def of_picture(usage: Usage | None) -> Usage | None:
    """The usage of a call that drew; none if it names no tokens of a picture, for no picture is free."""
    return usage if usage is not None and usage.image_out_tokens else None


class ImageProvider(Protocol):
    """One engine behind its official SDK."""

    name: str
    """`openai` or `gemini`."""

    def draw(self, call: Call, *, on_sent: Callable[[], None]) -> AsyncGenerator[Preview | Drawn, None]:
        """Make one paid send.

        Args:
            call: what to draw; `call.candidate.timeout_s` bounds the whole exchange.
            on_sent: called once, synchronously, when the first byte of the request leaves (it may be billed from here).

        Yields:
            Zero or more previews, then exactly one `Drawn`.

        Raises:
            ProviderFailure: anything else, including a transport failure or the timeout.
            asyncio.CancelledError: the awaiting task was cancelled; the connection is closed.
        """
        ...

    async def close(self) -> None:
        """Close connections; no call is in flight."""
        ...
