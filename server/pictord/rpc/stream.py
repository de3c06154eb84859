"""From a job's log to the events of a stream: previews and pictures in chunks, signs of life, slow readers.

The rules:

- Every event of the log is sent, in order; chunks and heartbeats between them repeat the last sequence.
- Bytes are cut from the log's shared copy one chunk at a time, only when the client has taken the one before: a reader
  that never reads costs one chunk, not one picture.
- A preview is left out (`omitted`) if a newer preview of the same output, its picture or a new attempt is there and it
  has waited longer than `PATIENCE_S`: the reader is slow. A burst does not make a fast reader lose anything.
- A preview that was begun is sent whole. A picture is never left out: when the log has let go of its bytes they come
  from the store. If retention has dropped it there too, the stream ends with EXPIRED; of a set only the item does.
- A failed generation ends the stream with its error, and `completed` is not sent.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar

from pictor.v1.generation_pb2 import GenerationEvent
from pictord.domain.events import AttemptStarted, Completed, ImageReady, LoggedEvent, PreviewReady
from pictord.domain.generation import Generation, Image
from pictord.errors import generation_error
from pictord.jobs.log import EventLog
from pictord.jobs.silences import closable, with_silences
from pictord.rpc.convert_out import Linker, fill_event, no_link, stamp_event

CHUNK_BYTES = 256 * 1024
HEARTBEAT_S = 10.0
PATIENCE_S = 1.0
"""A preview that waited this long although a newer one was there has a slow reader."""

R = TypeVar("R", bound="EventResponse")

ReadImage = Callable[[Image, int, int], AsyncIterator[bytes]]
"""A stored picture from an offset (bytes) in chunks of a size (bytes)."""

End = Callable[[], Awaitable[Generation]]
"""Waits for a final record."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Spans in seconds, whether simulated engines draw, and where pictures can be fetched."""

    sandbox: bool = False
    heartbeat_s: float = HEARTBEAT_S
    patience_s: float = PATIENCE_S
    link: Linker = no_link


class InlineBudget:
    """Bytes of pictures that may still go into an answer; None means no bound."""

    def __init__(self, bound: int | None) -> None:
        self._left = bound

    def take(self, image: Image) -> bool:
        """Whether the picture fits; if so it is charged."""
        if self._left is None:
            return True
        if image.size_bytes > self._left:
            return False
        self._left -= image.size_bytes
        return True


class EventResponse(Protocol):
    """A streamed response of the contract: each has an event."""

    @property
    def event(self) -> GenerationEvent:
        """What happened; reading it makes it."""
        ...


class EventWriter:
    """Turns logged events into the messages of one reader."""

    def __init__(
        self, settings: StreamSettings, budget: InlineBudget, read_image: ReadImage, now: Callable[[], datetime]
    ) -> None:
        """Serve one reader.

        Args:
            settings: see there.
            budget: what pictures may be sent.
            read_image: reads a stored picture.
            now: UTC, the clock of the log's events.
        """
        self._settings = settings
        self._budget = budget
        self._read_image = read_image
        self._now = now

    def messages(self, entry: LoggedEvent, log: EventLog, new: Callable[[], R]) -> AsyncGenerator[R]:
        """The event, then its chunks; `new` makes an empty response."""
        match entry.event:
            case PreviewReady():
                return self._preview(entry, log, new)
            case ImageReady(image=image):
                return self._image(entry, image, log, new)
            case _:
                return self._plain(entry, new)

    def heartbeat(self, sequence: int, response: R) -> R:
        """A sign of life."""
        stamp_event(response.event, sequence, self._now())
        response.event.heartbeat.SetInParent()
        return response

    async def _plain(self, entry: LoggedEvent, new: Callable[[], R]) -> AsyncGenerator[R]:
        yield self._event(entry, new())

    async def _preview(self, entry: LoggedEvent, log: EventLog, new: Callable[[], R]) -> AsyncGenerator[R]:
        payload = log.payload(entry.sequence)
        if payload is None or await self._is_behind(entry, log):
            yield self._event(entry, new(), omitted=True)
            return
        yield self._event(entry, new())
        for offset, data in _slices(payload):
            response = self._following(entry, new())
            chunk = response.event.preview_chunk
            chunk.offset_bytes, chunk.data, chunk.last = offset, data, offset + len(data) == len(payload)
            del chunk, data  # a reader that stops here keeps only the message
            yield response

    async def _image(self, entry: LoggedEvent, image: Image, log: EventLog, new: Callable[[], R]) -> AsyncGenerator[R]:
        wanted = self._budget.take(image)
        yield self._event(entry, new(), chunks_follow=wanted)
        if not wanted:
            return
        offset = 0
        payload = log.payload(entry.sequence)
        chunks = _each(_slices(payload)) if payload is not None else self._read_image(image, 0, CHUNK_BYTES)
        async with aclosing(closable(chunks)) as parts:
            async for data in parts:
                response = self._following(entry, new())
                chunk = response.event.image_chunk
                chunk.image_id, chunk.offset_bytes, chunk.data = image.id, offset, data
                offset += len(data)
                chunk.last = offset == image.size_bytes
                del chunk, data  # a reader that stops here keeps only the message
                yield response

    def _event(self, entry: LoggedEvent, response: R, *, omitted: bool = False, chunks_follow: bool = False) -> R:
        fill_event(
            response.event,
            entry,
            sandbox=self._settings.sandbox,
            link=self._settings.link,
            omitted=omitted,
            chunks_follow=chunks_follow,
        )
        return response

    def _following(self, entry: LoggedEvent, response: R) -> R:
        stamp_event(response.event, entry.sequence, self._now())
        return response

    async def _is_behind(self, entry: LoggedEvent, log: EventLog) -> bool:
        if (self._now() - entry.time).total_seconds() <= self._settings.patience_s:
            return False
        async with aclosing(_already_there(log, entry.sequence)) as later:
            return any([_supersedes(each, entry) async for each in later])


async def follow(
    log: EventLog,
    writer: EventWriter,
    settings: StreamSettings,
    new: Callable[[], R],
    *,
    after: int = 0,
    replayed: Generation | None = None,
) -> AsyncGenerator[R]:
    """Send a generation's events past `after` to its end.

    Args:
        log: what happened.
        writer: writes for this reader.
        settings: see there.
        new: makes an empty response of the RPC.
        after: the last sequence that the reader has.
        replayed: stands for the final record, if it is given.

    Raises:
        GatewayError: the generation failed or was cancelled.
    """
    sequence = after
    async with aclosing(with_silences(closable(log.read(after)), settings.heartbeat_s)) as entries:
        async for entry in entries:
            if entry is None:
                yield writer.heartbeat(sequence, new())
                continue
            sequence = entry.sequence
            async with aclosing(writer.messages(_final(entry, replayed), log, new)) as responses:
                async for response in responses:
                    yield response


async def ended(
    end: End, writer: EventWriter, settings: StreamSettings, new: Callable[[], R], *, after: int = 0
) -> AsyncGenerator[R]:
    """Send what there is without a log, because it is gone or another replica has it: signs of life, then the end.

    Args:
        end: waits for the final record.
        writer: writes for this reader.
        settings: see there.
        new: makes an empty response of the RPC.
        after: the last sequence that the reader has.

    Raises:
        GatewayError: as `end`; the generation failed or was cancelled.
    """
    async with aclosing(with_silences(_once(end), settings.heartbeat_s)) as found:
        async for generation in found:
            if generation is None:
                yield writer.heartbeat(after, new())
            else:
                yield completed_alone(generation, new(), settings)


async def _once(end: End) -> AsyncGenerator[Generation]:
    yield await end()


def completed_alone(generation: Generation, response: R, settings: StreamSettings) -> R:
    """The last event where there is no log.

    Raises:
        GatewayError: the generation failed or was cancelled.
    """
    entry = LoggedEvent(1, generation.finish_time or generation.create_time, Completed(generation))
    fill_event(response.event, _final(entry, None), sandbox=settings.sandbox, link=settings.link)
    return response


def _final(entry: LoggedEvent, replayed: Generation | None) -> LoggedEvent:
    if not isinstance(entry.event, Completed):
        return entry
    generation = replayed or entry.event.generation
    error = generation_error(generation)
    if error is not None:
        raise error
    return replace(entry, event=Completed(generation))


async def _already_there(log: EventLog, after: int) -> AsyncGenerator[LoggedEvent]:
    """The events past `after` that are in the log now; never waits."""
    newest = log.last_sequence
    if newest <= after:
        return
    async with aclosing(closable(log.read(after))) as entries:
        async for entry in entries:
            yield entry
            if entry.sequence == newest:
                return


def _supersedes(later: LoggedEvent, preview: LoggedEvent) -> bool:
    """Whether nobody needs the preview any more."""
    assert isinstance(preview.event, PreviewReady)  # noqa: S101 - asked only for previews
    index = preview.event.output_index
    match later.event:
        case PreviewReady(output_index=output) | AttemptStarted(output_index=output):
            return output == index
        case ImageReady(image=image):
            return image.output_index == index
        case Completed():
            return True
        case _:
            return False


def _slices(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """The chunks of a picture with their offsets, each copied when it is its turn."""
    view = memoryview(payload)
    for offset in range(0, len(view), CHUNK_BYTES):
        yield offset, bytes(view[offset : offset + CHUNK_BYTES])


async def _each(slices: Iterator[tuple[int, bytes]]) -> AsyncGenerator[bytes]:
    for _, data in slices:
        yield data
