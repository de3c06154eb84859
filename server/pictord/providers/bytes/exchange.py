"""What one provider call did on the wire, seen from beside the SDK that made it.

An SDK hides its HTTP request, yet three things are decided by it: whether the provider can have seen it (money hangs
on that), the picture inside the answer (the SDK would spend milliseconds on it), and the pictures inside the question.
An adapter puts an `Exchange` around the SDK call, and the transport, below the SDK, works with it. It travels in a
context variable because neither SDK lets a caller pass anything of its own down to its transport.

    exchange = Exchange()
    with watched_by(exchange):
        await sdk_call()            # raises the SDK's own errors
    exchange.body                   # the answer, untouched by the SDK
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import httpx2
import pybase64

from pictord.providers.bytes.arriving_json import ArrivedJson


@dataclass(slots=True, eq=False)
class Exchange:
    """One HTTP request and its answer; readable whether the call returned, raised or was cancelled.

    It carries one request: a second one, by a retry hidden in an SDK, is refused once the first may have been seen.
    """

    on_first_byte: Callable[[], None] | None = None
    """Called once, right before the first byte of the request is handed to the socket; must not raise."""

    sent: bool = False
    """False: the provider provably saw nothing of the request. True: it may have seen any part of it."""

    status: int | None = None
    """HTTP status, once the answer's headers are here."""

    headers: httpx2.Headers | None = None
    """The answer's headers, set together with `status`."""

    body: ArrivedJson | None = None
    """The whole body of a 200, with its pictures decoded, which the SDK gets `{}` for; None for an event stream and for
    any other status."""

    attachments: dict[bytes, bytes] = field(default_factory=dict)
    """Placeholder in the request's JSON → the base64 text that goes out in its place."""

    def attach(self, picture: bytes) -> str:
        """Keep `picture` out of the SDK: returns the placeholder to give it where the base64 text belongs.

        The placeholder is hexadecimal, so no JSON writer escapes anything in it.
        """
        placeholder = secrets.token_hex(16)
        self.attachments[placeholder.encode()] = pybase64.b64encode(picture)
        return placeholder

    def mark_sent(self) -> None:
        """Note, and tell the observer once, that from here on bytes of the request may have left."""
        if not self.sent:
            self.sent = True
            if self.on_first_byte is not None:
                self.on_first_byte()


_current: ContextVar[Exchange | None] = ContextVar("pictor_exchange", default=None)


@contextmanager
def watched_by(exchange: Exchange) -> Iterator[Exchange]:
    """Let `exchange` watch the request made inside this block, by this task or by those it starts.

    Put it around the awaited call alone: a generator must not yield from inside the block.
    """
    token = _current.set(exchange)
    try:
        yield exchange
    finally:
        _current.reset(token)


def watching_exchange() -> Exchange | None:
    """The exchange this task's requests are watched by, if any."""
    return _current.get()
