"""How a call survives the network: plain questions, joined unary calls, followed streams, resumed downloads.

Once a generation is accepted, a lost connection is no failure. A unary call is sent again and joins its generation by
`request_id`; a stream goes on with WatchGeneration; a download asks for the rest. Refusals are never repeated here:
gRPC's own retries (service_config.json) cover those that the gateway marks as safe.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc

from pictor.errors import PictorError
from pictor.events import Assembler, Event, Image
from pictor.generation import Picture
from pictor.reconnect import Reconnect
from pictor.transfer import Download
from pictor.v1.history_service_pb2 import WatchGenerationRequest
from pictor.v1.history_service_pb2_grpc import HistoryServiceStub

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Calls:
    """Sends messages over one channel with one identity; `reconnect` makes the patience of one call."""

    def __init__(
        self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...], reconnect: Callable[[], Reconnect]
    ) -> None:
        self.metadata = metadata
        self._history = HistoryServiceStub(channel)
        self._reconnect = reconnect

    async def ask(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Asked, Answer]", message: Asked, timeout: float | None
    ) -> Answer:
        """Send one message and wait for the answer, `timeout` seconds at most.

        Raises:
            PictorError: The call failed.
        """
        try:
            return await method(message, timeout=timeout, metadata=self.metadata)
        except grpc.aio.AioRpcError as failure:
            raise PictorError.from_rpc(failure) from failure

    async def join(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Asked, Answer]", message: Asked, timeout: float | None
    ) -> Answer:
        """Ask; if the connection is lost after the gateway accepted, ask again: the `request_id` joins or replays.

        Raises:
            PictorError: The call failed.
        """
        reconnect, left = self._reconnect(), _countdown(timeout)
        generation_id: str | None = None
        while True:
            try:
                return await self.ask(method, message, left())
            except PictorError as error:
                generation_id = error.generation_id = error.generation_id or generation_id
                if not generation_id:
                    raise
                await reconnect.wait(error)

    async def follow(
        self,
        start: "Callable[[float | None], grpc.aio.UnaryStreamCall[Any, Any]]",
        assembler: Assembler,
        *,
        max_inline_bytes: int | None,
        timeout: float | None,
        fetch: bool,
    ) -> AsyncIterator[Event]:
        """Read a generation's stream to its end, over as many connections as it takes.

        Args:
            start: Opens the first stream with the seconds it may take.
            assembler: Knows the generation's id if it exists already, and what was seen of it.
            max_inline_bytes: Bound of pictures' bytes on later streams, as on the first.
            timeout: Seconds for all of it.
            fetch: Whether to download pictures whose bytes do not come with the stream.

        Raises:
            PictorError: The generation failed, or the gateway stayed away.
        """
        reconnect, left = self._reconnect(), _countdown(timeout)
        call = start(left())
        while True:
            try:
                async for response in call:
                    reconnect.progress()
                    for event in assembler.feed(response.event):
                        yield await self.with_bytes(event) if fetch else event
                error = PictorError(grpc.StatusCode.UNAVAILABLE, "the stream ended early")
            except grpc.aio.AioRpcError as failure:
                error = PictorError.from_rpc(failure)
            finally:
                call.cancel()
            if assembler.is_completed:
                return
            error.generation_id = assembler.generation_id = assembler.generation_id or error.generation_id
            if not assembler.generation_id:
                raise error
            await reconnect.wait(error)
            assembler.interrupt()
            call = self.watch(assembler, max_inline_bytes, left())

    def watch(
        self, assembler: Assembler, max_inline_bytes: int | None, timeout: float | None
    ) -> "grpc.aio.UnaryStreamCall[Any, Any]":
        """Open a stream from where the assembler needs it."""
        message = WatchGenerationRequest(
            generation_id=assembler.generation_id or "",
            after_sequence=assembler.resume_after,
            max_inline_bytes=max_inline_bytes,
        )
        return self._history.WatchGeneration(message, timeout=timeout, metadata=self.metadata)

    async def download(self, image_id: str) -> Picture:
        """Fetch a picture, asking for the rest whenever the connection is lost.

        Raises:
            PictorError: The gateway refused or stayed away, or the picture arrived damaged.
        """
        download, reconnect = Download(image_id), self._reconnect()
        while True:
            call = self._history.DownloadImage(download.request, metadata=self.metadata)
            try:
                async for message in call:
                    download.feed(message)
                    reconnect.progress()
                error = PictorError(grpc.StatusCode.UNAVAILABLE, "the download ended early")
            except grpc.aio.AioRpcError as failure:
                error = PictorError.from_rpc(failure)
            finally:
                call.cancel()
            if download.is_whole:
                return download.picture
            await reconnect.wait(error)

    async def with_bytes(self, event: Event) -> Event:
        """The same event; a picture whose bytes did not come with the stream is fetched."""
        if not isinstance(event, Image) or event.data is not None:
            return event
        return Image(event.raw, await self.download(event.picture.id))


def _countdown(timeout: float | None) -> Callable[[], float | None]:
    """Seconds left of a timeout that starts now; None for ever."""
    if timeout is None:
        return lambda: None
    clock = asyncio.get_running_loop().time
    ends_at = clock() + timeout
    return lambda: max(0.0, ends_at - clock())
