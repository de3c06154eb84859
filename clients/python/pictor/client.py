"""The asyncio client: one method for each RPC, whole pictures, one family of errors, and no lost generation.

Every generating call gets a `request_id` unless it has one, so that it can be repeated without paying twice. Once a
generation is accepted, a lost connection is no failure: calls and streams go on with WatchGeneration.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from pictor.calls import Calls
from pictor.catalog import Catalog
from pictor.channel import Route, Target, identity
from pictor.drawing import Drawing
from pictor.errors import PictorError
from pictor.history import History
from pictor.reconnect import Reconnect
from pictor.spending import Spending
from pictor.wire import Waiting


def new_id() -> str:
    """Make a `request_id`."""
    return str(uuid.uuid4())


class Everything(Drawing, History, Spending, Catalog):
    """All calls, over whichever wire."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls


class Client(Everything):
    """A connection to one gateway; make it inside a running event loop and use it as an async context manager.

    After a lost connection a generation is followed by its id or `request_id`; its call is sent again only if the
    gateway says that it ended for nothing. A gateway that does not know it may have been restarted: then the lost
    connection is raised (UNAVAILABLE, `paid`), with a message that says what is unknown.

    Args:
        address: `host:port`, or `https://host:port` for TLS; unset means PICTOR_ADDRESS, then `127.0.0.1:50051`.
        api_key: Sent as bearer token; unset means PICTOR_API_KEY, then none.
        tls: True for TLS with the system's roots, or credentials of your own.
        metadata: Sent with every call, e.g. `x-sandbox-*` for the simulated engines.
        options: gRPC channel options on top of ours.
        on_lost: Told when a connection is lost and will be tried again; the first time, not of every try.
        sleep: Waits between tries after a lost connection.
        jitter: Spreads those waits; a number from 0 to 1.
        new_id: Makes a `request_id` for calls that have none.

    Raises:
        ValueError: The address has no port, or key or metadata cannot be sent.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        tls: bool | grpc.ChannelCredentials = False,
        metadata: Sequence[tuple[str, str]] = (),
        options: Sequence[tuple[str, Any]] = (),
        on_lost: Callable[[PictorError], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        target = Target.parse(address)
        self.address = target.address
        who = identity(api_key, metadata)
        self._wire = Waiting(Route.to(target, tls=tls, options=options))
        super().__init__(Calls(self._wire, target, who, lambda: Reconnect(sleep, jitter, on_lost), new_id))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._wire.close()
