"""One paid send as both adapters see it: its wire, its deadline, and names for what breaks below the SDK."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import httpx2

from pictord.domain.outcome import Signal, Transport, Unusable
from pictord.providers.base import BadPicture, ProviderFailure, VerifiedPicture, Verify
from pictord.providers.bytes.arriving_json import Decoded
from pictord.providers.bytes.exchange import Exchange, watched_by
from pictord.providers.bytes.json_body import BadBase64, NotJson, TruncatedJson, b64_image
from pictord.providers.bytes.sse import BadEventStream, EventTooBig

BROKEN = (
    TimeoutError,
    httpx2.TransportError,
    httpx2.DecodingError,
    NotJson,
    BadBase64,
    BadPicture,
    BadEventStream,
)
"""What can go wrong below an SDK, and what `Sending.failure` names."""

_WHY: tuple[tuple[type[Exception], Unusable], ...] = (
    # First match wins; subclasses stand before their bases.
    (TruncatedJson, Unusable.TRUNCATED),
    (NotJson, Unusable.NOT_JSON),
    (httpx2.DecodingError, Unusable.NOT_JSON),  # it says that it is compressed, and is not
    (BadBase64, Unusable.BAD_BASE64),
    (EventTooBig, Unusable.TOO_LARGE),
    (BadEventStream, Unusable.TRUNCATED),
)


class Sending:
    """The one HTTP request of a `draw`.

    Args:
        timeout_s: bounds all of it, from now on.
        on_sent: called when the first byte has left.
    """

    def __init__(self, timeout_s: float, on_sent: Callable[[], None]) -> None:
        self.exchange = Exchange(on_first_byte=on_sent)
        self._timeout_s = timeout_s
        self._ends_at = asyncio.get_running_loop().time() + timeout_s

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; empty until they are here."""
        return self.exchange.headers or {}

    def in_time(self) -> asyncio.Timeout:
        """Bound one awaited part of the exchange by the deadline of the whole; never yield pictures inside."""
        return asyncio.timeout_at(self._ends_at)

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        """The same for a part that an SDK sends or reads: the exchange watches it."""
        with watched_by(self.exchange):
            async with self.in_time():
                yield

    def failure(self, error: Exception) -> ProviderFailure:
        """Name one of `BROKEN`."""
        if isinstance(error, TimeoutError | httpx2.TimeoutException):
            return self.lost(f"no answer within {self._timeout_s:g} s", timed_out=True)
        if isinstance(error, httpx2.TransportError):
            return self.lost(str(error), timed_out=False)
        why = error.why if isinstance(error, BadPicture) else next(why for kind, why in _WHY if isinstance(error, kind))
        return ProviderFailure(Signal(self.exchange.status, unusable=why), str(error))

    def lost(self, text: str, *, timed_out: bool) -> ProviderFailure:
        """The failure of a connection; whether anything was sent, the wire knows.

        A status that came before the connection broke stays: a 429 is a 429, with or without its body.
        """
        after = Transport.TIMEOUT if timed_out else Transport.RESET
        transport = after if self.exchange.sent else Transport.UNSENT
        return ProviderFailure(Signal(self.exchange.status, transport=transport), text)


def verified(picture: object, verify: Verify) -> tuple[Decoded, VerifiedPicture]:
    """Decode a picture, if that has not been done while it arrived, and look at it.

    Raises:
        BadBase64, BadPicture: it is none.
    """
    decoded = b64_image(picture)
    return decoded, verify(decoded.data)
