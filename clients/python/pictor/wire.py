"""The two ways to gRPC, and all that differs between the clients: `Waiting` on asyncio, `Blocking` in any thread.

Everything above is written once, as coroutines over a `Wire`. Over `Blocking` nothing that they await ever waits for a
loop: it blocks where it stands. Such a coroutine therefore runs to its end in one step, without an event loop (`now`,
`each`).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import grpc

from pictor.channel import Route

Answer = TypeVar("Answer")
Message_co = TypeVar("Message_co", covariant=True)
Result = TypeVar("Result")
Metadata = Sequence[tuple[str, str]]


class Stream(Protocol[Message_co]):
    """A server's messages as they come; whoever stops reading cancels it."""

    def __aiter__(self) -> AsyncIterator[Message_co]:
        """The messages."""
        ...

    def cancel(self) -> None:
        """End the call, if it has not ended."""
        ...


class Wire(Protocol):
    """Sends what the calls say; a call that fails raises gRPC's own error, which `failure` can read."""

    @property
    def channel(self) -> grpc.aio.Channel:
        """What stubs are made from; they are typed as asyncio's, and only the wire calls them."""
        ...

    async def ask(
        self, method: Callable[..., Awaitable[Answer]], message: Any, timeout: float | None, metadata: Metadata
    ) -> Answer:
        """Send one message, or an iterator of them, and answer what comes back within `timeout` seconds."""
        ...

    def stream(
        self, method: Callable[..., Any], message: Any, timeout: float | None, metadata: Metadata
    ) -> Stream[Any]:
        """Send one message and read many."""
        ...


class Waiting:
    """A wire of the running event loop."""

    def __init__(self, route: Route) -> None:
        if route.credentials is None:
            self.channel = grpc.aio.insecure_channel(route.address, options=route.options)
        else:
            self.channel = grpc.aio.secure_channel(route.address, route.credentials, options=route.options)

    async def ask(
        self, method: Callable[..., Awaitable[Answer]], message: Any, timeout: float | None, metadata: Metadata
    ) -> Answer:
        """See `Wire`."""
        return await method(message, timeout=timeout, metadata=metadata)

    def stream(
        self, method: Callable[..., Any], message: Any, timeout: float | None, metadata: Metadata
    ) -> Stream[Any]:
        """See `Wire`."""
        call = method(message, timeout=timeout, metadata=metadata)
        return cast("Stream[Any]", call)

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self.channel.close()


class Blocking:
    """A wire for any thread, with an event loop or without; several threads may use it at once."""

    def __init__(self, route: Route) -> None:
        if route.credentials is None:
            self._channel = grpc.insecure_channel(route.address, options=route.options)
        else:
            self._channel = grpc.secure_channel(route.address, route.credentials, options=route.options)

    @property
    def channel(self) -> grpc.aio.Channel:
        """See `Wire`."""
        return cast("grpc.aio.Channel", self._channel)

    async def ask(
        self, method: Callable[..., Awaitable[Answer]], message: Any, timeout: float | None, metadata: Metadata
    ) -> Answer:
        """See `Wire`."""
        return cast("Answer", method(message, timeout=timeout, metadata=metadata))

    def stream(
        self, method: Callable[..., Any], message: Any, timeout: float | None, metadata: Metadata
    ) -> Stream[Any]:
        """See `Wire`."""
        return _BlockingStream(method(message, timeout=timeout, metadata=metadata))

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._channel.close()


class _BlockingStream(Generic[Answer]):
    def __init__(self, call: Any) -> None:
        self._call = call

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Answer:
        try:
            return cast("Answer", next(self._call))
        except StopIteration:
            raise StopAsyncIteration from None

    def cancel(self) -> None:
        self._call.cancel()


def now(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine over a blocking wire to its end and answer its result."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast("Result", end.value)
    work.close()
    raise RuntimeError("this coroutine waits for an event loop; a wire that blocks never does")


def each(items: AsyncIterator[Result]) -> Iterator[Result]:
    """Iterate over what comes through a blocking wire; leaving early cancels the call."""

    async def upcoming() -> Result:
        return await anext(items)

    try:
        while True:
            try:
                yield now(upcoming())
            except StopAsyncIteration:
                return
    finally:
        now(cast("Any", items).aclose())
