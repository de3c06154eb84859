"""One generation's stream: the contract's messages in, typed events with whole pictures out.

The gateway sends a log (`accepted` to `completed`, numbered from 1 without gaps) and, between its entries, transport
messages with the bytes of previews and pictures. The assembler holds a preview or picture back until its last chunk is
there. After a broken connection `resume_after` says where to go on: before the oldest entry whose bytes were still
coming. Entries that come again are dropped, so a reader sees each event once whatever the network did.

The log ends some minutes after the generation; who comes later gets `completed` alone. Its pictures then come as events
made from the generation, without bytes: the client fetches them one by one.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc

from pictor.amounts import seconds
from pictor.errors import PictorError
from pictor.generation import Generation, Picture
from pictor.v1 import generation_pb2, image_pb2


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a generation."""

    raw: generation_pb2.GenerationEvent
    """The entry of the log, with its sequence and time."""

    @property
    def sequence(self) -> int:
        """Place in the log; `Client.watch(after_sequence=...)` goes on from there."""
        return self.raw.sequence


@dataclass(frozen=True, slots=True)
class Accepted(Event):
    """The generation exists; nothing is sent yet."""

    @property
    def generation_id(self) -> str:
        """Names the generation."""
        return self.raw.accepted.generation_id

    @property
    def plan(self) -> generation_pb2.Plan:
        """How it is routed, and why."""
        return self.raw.accepted.decision


@dataclass(frozen=True, slots=True)
class Queued(Event):
    """An output waits for the engine's rate limit or a slot."""

    @property
    def output_index(self) -> int:
        """Which output."""
        return self.raw.queued.output_index

    @property
    def position(self) -> int:
        """Calls before it."""
        return self.raw.queued.position

    @property
    def predicted_wait_s(self) -> float:
        """Seconds it will probably wait."""
        return seconds(self.raw.queued.predicted_wait)


@dataclass(frozen=True, slots=True)
class AttemptStarted(Event):
    """An engine is being called; previews of earlier attempts for this output are void."""

    @property
    def output_index(self) -> int:
        """For which output."""
        return self.raw.attempt_started.output_index

    @property
    def model(self) -> str:
        """The catalog's id."""
        return self.raw.attempt_started.model

    @property
    def expected_p50_s(self) -> float:
        """Half of such calls are done after these seconds."""
        return seconds(self.raw.attempt_started.expected_p50)

    @property
    def expected_p90_s(self) -> float:
        """Nine in ten are."""
        return seconds(self.raw.attempt_started.expected_p90)

    @property
    def preview_count(self) -> int:
        """Previews to expect at most."""
        return self.raw.attempt_started.preview_count


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """An engine brought no picture."""

    @property
    def output_index(self) -> int:
        """For which output."""
        return self.raw.attempt_failed.output_index

    @property
    def model(self) -> str:
        """The catalog's id."""
        return self.raw.attempt_failed.model

    @property
    def outcome(self) -> str:
        """How it ended, e.g. `rate_limited`."""
        return self.raw.attempt_failed.outcome

    @property
    def text(self) -> str:
        """The same for people."""
        return self.raw.attempt_failed.text

    @property
    def goes_on(self) -> bool:
        """Whether another attempt follows."""
        return self.raw.attempt_failed.goes_on


@dataclass(frozen=True, slots=True)
class Preview(Event):
    """An unfinished picture, only for showing."""

    data: bytes | None
    """The encoded picture; None if the gateway left it out because this reader is slow."""

    @property
    def output_index(self) -> int:
        """Of which output."""
        return self.raw.preview.output_index

    @property
    def index(self) -> int:
        """From 0."""
        return self.raw.preview.index

    @property
    def mime_type(self) -> str:
        """IANA media type."""
        return self.raw.preview.mime_type


@dataclass(frozen=True, slots=True)
class Image(Event):
    """A finished picture."""

    picture: Picture

    @property
    def data(self) -> bytes | None:
        """The encoded picture; None if the call asked not to fetch it."""
        return self.picture.data


@dataclass(frozen=True, slots=True)
class Completed(Event):
    """The end: the whole generation. Its pictures came before, so here they are without bytes."""

    generation: Generation


@dataclass(slots=True)
class _Unfinished:
    """A preview or picture whose bytes are still coming."""

    event: generation_pb2.GenerationEvent
    data: bytearray = field(default_factory=bytearray)

    def add(self, chunk: generation_pb2.PreviewChunk | generation_pb2.ImageChunk) -> None:
        if chunk.offset_bytes != len(self.data):
            raise damaged(f"bytes {len(self.data)} to {chunk.offset_bytes} of a picture are missing from the stream")
        self.data += chunk.data


class Assembler:
    """Turns the messages of one generation's stream into events; see the module for the rules."""

    def __init__(self, after_sequence: int = 0) -> None:
        self.generation_id: str | None = None
        self.is_completed = False
        self._last = after_sequence
        self._preview: _Unfinished | None = None
        self._images: dict[str, _Unfinished] = {}
        self._again: set[int] = set()
        self._delivered: set[str] = set()

    @property
    def resume_after(self) -> int:
        """The sequence after which the log must be sent again."""
        open_entries = [part.event.sequence for part in (self._preview, *self._images.values()) if part]
        return min([self._last + 1, *open_entries, *self._again]) - 1

    def interrupt(self) -> None:
        """The connection broke: forget half pictures, and take their entries again."""
        self._again |= {part.event.sequence for part in (self._preview, *self._images.values()) if part}
        self._preview = None
        self._images.clear()

    def feed(self, message: generation_pb2.GenerationEvent) -> Iterator[Event]:
        """Take one message; yield the events that are whole with it.

        Raises:
            PictorError: DATA_LOSS, the bytes do not fit together.
        """
        match message.WhichOneof("event"):
            case "preview_chunk":
                yield from self._preview_chunk(message.preview_chunk)
            case "image_chunk":
                yield from self._image_chunk(message.image_chunk)
            case "heartbeat":
                pass
            case "completed":
                yield from self._completed(message)
            case kind if self._is_news(message.sequence):
                yield from self._entry(kind, message)

    def _is_news(self, sequence: int) -> bool:
        news = sequence > self._last or sequence in self._again
        self._again.discard(sequence)
        self._last = max(self._last, sequence)
        return news

    def _entry(self, kind: str | None, message: generation_pb2.GenerationEvent) -> Iterator[Event]:
        match kind:
            case "accepted":
                self.generation_id = message.accepted.generation_id
                yield Accepted(message)
            case "queued":
                yield Queued(message)
            case "attempt_started":
                yield AttemptStarted(message)
            case "attempt_failed":
                yield AttemptFailed(message)
            case "preview" if message.preview.omitted:
                yield Preview(message, None)
            case "preview":
                self._preview = _Unfinished(message)
            case "image" if message.image.chunks_follow:
                self._images[message.image.image.id] = _Unfinished(message)
            case "image":
                yield self._image(message, None)

    def _preview_chunk(self, chunk: generation_pb2.PreviewChunk) -> Iterator[Event]:
        if self._preview is None:
            return  # of an entry that was seen before
        self._preview.add(chunk)
        if chunk.last:
            yield Preview(self._preview.event, bytes(self._preview.data))
            self._preview = None

    def _image_chunk(self, chunk: generation_pb2.ImageChunk) -> Iterator[Event]:
        unfinished = self._images.get(chunk.image_id)
        if unfinished is None:
            return
        unfinished.add(chunk)
        if chunk.last:
            del self._images[chunk.image_id]
            yield self._image(unfinished.event, bytes(unfinished.data))

    def _image(self, message: generation_pb2.GenerationEvent, data: bytes | None) -> Image:
        image = message.image.image
        self._delivered.add(image.id)
        if data is not None:
            check(image, len(data), hashlib.sha256(data).hexdigest())
        return Image(message, Picture(image, data))

    def _completed(self, message: generation_pb2.GenerationEvent) -> Iterator[Event]:
        self.is_completed = True
        generation = Generation.of(message.completed.generation)
        if self._last == 0 or message.sequence != self._last + 1 or self._again:
            yield from self._late(message, generation)
        yield Completed(message, generation)

    def _late(self, end: generation_pb2.GenerationEvent, generation: Generation) -> Iterator[Image]:
        """Picture events that the log no longer had, made from the completed generation."""
        for picture in generation.pictures:
            if picture.id not in self._delivered:
                entry = generation_pb2.GenerationEvent(sequence=end.sequence, event_time=end.event_time)
                entry.image.image.CopyFrom(picture.message)
                yield Image(entry, picture)


def check(image: image_pb2.Image, size_bytes: int, sha256: str) -> None:
    """Compare the bytes of a picture that arrived with those that its description names.

    Raises:
        PictorError: DATA_LOSS, they are others.
    """
    if sha256 != image.sha256:
        raise damaged(f"picture {image.id} arrived damaged: {size_bytes} of {image.size_bytes} bytes, wrong SHA-256")


def damaged(text: str) -> PictorError:
    """The client's own error: bytes did not arrive as they were sent."""
    return PictorError.of(grpc.StatusCode.DATA_LOSS, text)
