"""How a call survives the network: plain questions, joined unary calls, followed streams, resumed downloads.

Once a generation is accepted, a lost connection is no failure: unary calls and streams go on with WatchGeneration (see
`journey`), a download asks for the rest. Refusals are never repeated here: gRPC's own retries (service_config.json)
cover those that the gateway marks as safe.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc

from pictor import failure
from pictor.channel import Target
from pictor.errors import PictorError
from pictor.events import Assembler, Completed, Event, Image
from pictor.generation import Generation, Picture
from pictor.journey import Journey
from pictor.reconnect import Reconnect
from pictor.transfer import Download, upload_parts
from pictor.v1 import generation_pb2, image_pb2
from pictor.v1.catalog_service_pb2_grpc import CatalogServiceStub
from pictor.v1.history_service_pb2 import GetGenerationRequest, WatchGenerationRequest
from pictor.v1.history_service_pb2_grpc import HistoryServiceStub
from pictor.v1.image_service_pb2_grpc import ImageServiceStub
from pictor.v1.usage_service_pb2_grpc import UsageServiceStub
from pictor.wire import Stream, Wire

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

_READ_TIMEOUT_S = 30.0
"""For calls that only look something up."""


class _HasGeneration(Protocol):
    """The answer of a unary call that makes pictures."""

    @property
    def generation(self) -> generation_pb2.Generation: ...


Made = TypeVar("Made", bound=_HasGeneration)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of one generation, whatever becomes of the connection."""

    request_id: str | None
    """Names the call that asks for it; None for who only watches."""
    max_inline_bytes: int | None
    """Bound of pictures' bytes on each stream; None means no bound."""
    timeout: float | None
    """Seconds for all of it; None means as long as it takes."""
    fetch: bool
    """Whether to download pictures whose bytes do not come with a stream."""
    is_withdrawn_when_lost: bool = False
    """Whether the gateway gives it up, as far as it is not sent, when the connection is lost."""


class Calls:
    """Sends messages over one wire with one identity.

    Args:
        wire: Carries them.
        target: Where they go.
        metadata: Goes with every call.
        reconnect: Makes the patience of one call.
        new_id: Makes a `request_id` for calls that have none.
    """

    def __init__(
        self,
        wire: Wire,
        target: Target,
        metadata: tuple[tuple[str, str], ...],
        reconnect: Callable[[], Reconnect],
        new_id: Callable[[], str],
    ) -> None:
        self._wire = wire
        self._target = target
        self._metadata = metadata
        self.reconnect = reconnect
        self.new_id = new_id
        self.images = ImageServiceStub(wire.channel)
        self.history = HistoryServiceStub(wire.channel)
        self.usage = UsageServiceStub(wire.channel)
        self.catalog = CatalogServiceStub(wire.channel)

    async def ask(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Asked, Answer]",
        message: Asked,
        timeout: float | None = _READ_TIMEOUT_S,
    ) -> Answer:
        """Send one message and wait for the answer, `timeout` seconds at most.

        Raises:
            PictorError: The call failed.
        """
        return await self._ask(method, message, timeout)

    def stream(self, method: Callable[..., Any], message: Any, timeout: float | None) -> Stream[Any]:
        """Send one message and read the answers as they come."""
        return self._wire.stream(method, message, timeout, self._metadata)

    async def join(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Asked, Made]", message: Asked, wish: Wish
    ) -> Generation:
        """Ask for a generation and wait for it; pictures over the bound may be without bytes.

        Raises:
            PictorError: The generation failed, or the connection was lost and nobody knows it any more.
        """
        journey = self._journey(wish)
        while True:
            try:
                return await self._joined(method, message, wish, journey)
            except PictorError as error:
                await journey.send_again(error, is_withdrawn_when_lost=wish.is_withdrawn_when_lost)

    async def _joined(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Asked, Made]",
        message: Asked,
        wish: Wish,
        journey: Journey,
    ) -> Generation:
        assembler = Assembler()
        try:
            return Generation.of((await self.ask(method, message, journey.left())).generation)
        except PictorError as error:
            assembler.generation_id = await journey.go_on(error, None)
        watch = partial(self.watch, assembler, wish.max_inline_bytes)
        return await collected(self.follow(watch, assembler, wish, journey))

    async def follow(
        self,
        start: Callable[[float | None], Stream[Any]],
        assembler: Assembler,
        wish: Wish,
        journey: Journey | None = None,
    ) -> AsyncIterator[Event]:
        """Read a generation's stream to its end, over as many connections as it takes.

        Args:
            start: Opens the first stream with the seconds it may take.
            assembler: Knows the generation's id if it exists already, and what was seen of it.
            wish: What is wanted of it.
            journey: The way that led here, if a connection was lost before.

        Raises:
            PictorError: The generation failed, or the gateway stayed away.
        """
        journey = journey or self._journey(wish)
        call = start(journey.left())
        while True:
            try:
                async for response in call:
                    journey.progress()
                    for event in assembler.feed(response.event):
                        yield await self.with_bytes(event) if wish.fetch else event
                error = ended_early("stream")
            except grpc.RpcError as failed:
                error = self.failed(failed)
            finally:
                call.cancel()
            if assembler.is_completed:
                return
            assembler.generation_id = await journey.go_on(error, assembler.generation_id)
            assembler.interrupt()
            call = self.watch(assembler, wish.max_inline_bytes, journey.left())

    def watch(self, assembler: Assembler, max_inline_bytes: int | None, timeout: float | None) -> Stream[Any]:
        """Open a stream from where the assembler needs it."""
        message = WatchGenerationRequest(
            generation_id=assembler.generation_id or "",
            after_sequence=assembler.resume_after,
            max_inline_bytes=max_inline_bytes,
        )
        return self.stream(self.history.WatchGeneration, message, timeout)

    async def with_bytes(self, event: Event) -> Event:
        """The same event; a picture whose bytes did not come with the stream is fetched."""
        if not isinstance(event, Image) or event.data is not None:
            return event
        return Image(event.raw, await self.fetch(event.picture.id))

    async def fetch(self, image_id: str) -> Picture:
        """Download a picture that the gateway has just told of; one that restarts meanwhile is waited for.

        Raises:
            PictorError: As `download`.
        """
        reconnect = self.reconnect()
        reconnect.progress()
        data = bytearray()
        image = await self.download(image_id, data.extend, reconnect)
        return Picture(image, bytes(data))

    async def download(
        self, image_id: str, write: Callable[[bytes], object], reconnect: Reconnect | None = None
    ) -> image_pb2.Image:
        """Hand on a picture's bytes as they come, asking for the rest whenever the connection is lost.

        Raises:
            PictorError: The gateway refused or stayed away, or the picture arrived damaged.
        """
        download, reconnect = Download(image_id, write), reconnect or self.reconnect()
        while True:
            call = self.stream(self.history.DownloadImage, download.request, None)
            try:
                async for message in call:
                    download.feed(message)
                    reconnect.progress()
                error = ended_early("download")
            except grpc.RpcError as failed:
                error = self.failed(failed)
            finally:
                call.cancel()
            if download.is_whole:
                return download.image
            await reconnect.wait(error)

    async def upload(self, data: bytes) -> image_pb2.Image:
        """Bring a picture, from its beginning again whenever the connection is lost: nobody pays for an upload.

        Raises:
            PictorError: The gateway refused or stayed away.
        """
        reconnect = self.reconnect()
        while True:
            try:
                answer = await self._ask(self.history.UploadImage, upload_parts(data), None)
            except PictorError as error:
                await reconnect.wait(error)
            else:
                return answer.image

    async def _ask(self, method: Callable[..., Awaitable[Answer]], sent: Any, timeout: float | None) -> Answer:
        try:
            return await self._wire.ask(method, sent, timeout, self._metadata)
        except grpc.RpcError as failed:
            raise self.failed(failed) from None  # it says all that gRPC does

    def failed(self, call: grpc.RpcError) -> PictorError:
        """What a failed call tells."""
        return failure.read(call, self._target)

    def _journey(self, wish: Wish) -> Journey:
        return Journey(self.reconnect(), self._find, wish.request_id, wish.timeout)

    async def _find(self, request_id: str, timeout: float | None) -> str:
        message = GetGenerationRequest(request_id=request_id)
        return (await self.ask(self.history.GetGeneration, message, timeout)).generation.id


def ended_early(what: str) -> PictorError:
    """The error of a stream that ended well, but without its end: a proxy hung up."""
    return PictorError.of(grpc.StatusCode.UNAVAILABLE, f"the {what} ended early")


async def collected(events: AsyncIterator[Event]) -> Generation:
    """What a unary call would have answered, out of the events of a stream."""
    pictures: dict[str, Picture] = {}
    async for event in events:
        if isinstance(event, Image):
            pictures[event.picture.id] = event.picture
        elif isinstance(event, Completed):
            made = event.generation
    return Generation(made.message, tuple(pictures.get(each.id, each) for each in made.pictures))
