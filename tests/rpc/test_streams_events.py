"""From the log to one reader's messages: chunks, heartbeats, slow readers, ends. No network, and a clock of our own."""

import asyncio
import gc
from contextlib import aclosing
from datetime import timedelta
from enum import Enum, EnumType
from types import FunctionType

import pytest

from pictor.v1.history_service_pb2 import WatchGenerationResponse
from pictord.domain.events import Accepted, AttemptStarted, Completed, ImageReady, PreviewKind, PreviewReady
from pictord.domain.generation import Image, State
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.jobs.log import EventLog
from pictord.rpc.image_service import Answering, ImageRpcs
from pictord.rpc.stream import (
    CHUNK_BYTES,
    EventWriter,
    InlineBudget,
    StreamSettings,
    _already_there,
    completed_alone,
    ended,
    follow,
)
from samples import NOON, generation, plan, request

PREVIEW = bytes(range(256)) * 1025  # a little over one chunk
PICTURE = bytes(reversed(range(256))) * 2048  # exactly two chunks


async def events_of(responses):
    """The events of a stream's responses; closing it closes the stream."""
    async with aclosing(responses):
        async for response in responses:
            yield response.event


class World:
    """A log, a clock and a shelf of stored pictures."""

    def __init__(self) -> None:
        self.time = NOON
        self.log = EventLog(lambda: self.time)
        self.stored = {}
        self.reads = []

    def wait(self, seconds):
        self.time += timedelta(seconds=seconds)

    def preview(self, index, data=PREVIEW, output=0):
        self.log.append(PreviewReady(output, 0, index, PreviewKind.PARTIAL, "image/png", len(data)), data)

    def image(self, data=PICTURE, output=0):
        image = picture(f"img_{output}", data, output)
        self.stored[image.id] = data
        self.log.append(ImageReady(image), data)

    def start(self, attempt=0, output=0):
        self.log.append(AttemptStarted(output, attempt, "openai", "gpt-image-2", 35.0, 70.0, 2))

    def end(self, **changes):
        self.log.append(Completed(generation(**({"state": State.SUCCEEDED} | changes))))

    async def read_image(self, image, offset, chunk_bytes):
        self.reads.append(image.id)
        data = self.stored[image.id]
        for start in range(offset, len(data), chunk_bytes):
            yield data[start : start + chunk_bytes]

    def follow(self, *, after=0, bound=None, heartbeat_s=10.0, replayed=None):
        settings = StreamSettings(sandbox=True, heartbeat_s=heartbeat_s)
        writer = EventWriter(settings, InlineBudget(bound), self.read_image, lambda: self.time)
        return events_of(follow(self.log, writer, settings, WatchGenerationResponse, after=after, replayed=replayed))

    async def all(self, **options):
        return [message async for message in self.follow(**options)]


def picture(image_id, data, output=0):
    return Image(image_id, output, "image/png", 8, 8, len(data), "ab" * 32, "gpt-image-2", "", "", has_c2pa=False)


@pytest.fixture
def world():
    world = World()
    world.log.append(Accepted("gen_1", plan(), 60_000_000))
    return world


def kinds(messages) -> list[str]:
    return [message.WhichOneof("event") for message in messages]


def joined(messages, kind) -> bytes:
    return b"".join(getattr(message, kind).data for message in messages if message.WhichOneof("event") == kind)


async def test_a_stream_brings_every_event_and_all_bytes_in_chunks(world):
    """Previews and pictures follow their event in chunks; the sequence counts the log alone."""
    world.start()
    world.preview(0)
    world.image()
    world.log.hold()  # somebody reads: the log keeps its bytes
    world.end()
    messages = await world.all()

    assert kinds(messages) == [
        "accepted",
        "attempt_started",
        "preview",
        "preview_chunk",
        "preview_chunk",
        "image",
        "image_chunk",
        "image_chunk",
        "completed",
    ]
    assert [message.sequence for message in messages] == [1, 2, 3, 3, 3, 4, 4, 4, 5]
    assert joined(messages, "preview_chunk") == PREVIEW
    assert joined(messages, "image_chunk") == PICTURE
    assert world.reads == []


async def test_chunks_say_where_they_belong(world):
    """Offsets, the picture's id and the last mark let a reader put a picture together."""
    world.preview(0)
    world.image()
    world.log.hold()
    world.end()
    messages = await world.all()
    previews = [message.preview_chunk for message in messages if message.HasField("preview_chunk")]
    images = [message.image_chunk for message in messages if message.HasField("image_chunk")]

    assert [(each.offset_bytes, each.last) for each in previews] == [(0, False), (CHUNK_BYTES, True)]
    assert [(each.image_id, each.offset_bytes, each.last) for each in images] == [
        ("img_0", 0, False),
        ("img_0", CHUNK_BYTES, True),
    ]


async def test_reading_resumes_after_a_sequence(world):
    """A reader that names the last event it saw gets the rest."""
    world.start()
    world.image()
    world.log.hold()
    world.end()

    assert kinds(await world.all(after=2)) == ["image", "image_chunk", "image_chunk", "completed"]


async def test_when_the_log_has_let_go_pictures_come_from_the_store(world):
    """A late reader gets every picture from the store, and previews without bytes."""
    world.preview(0)
    world.image()
    world.end()  # nobody reads: the log drops its bytes
    messages = await world.all()

    assert kinds(messages) == ["accepted", "preview", "image", "image_chunk", "image_chunk", "completed"]
    assert messages[1].preview.omitted
    assert joined(messages, "image_chunk") == PICTURE
    assert messages[4].image_chunk.last
    assert world.reads == ["img_0"]


async def test_a_reader_that_fell_behind_loses_the_old_previews(world):
    """Previews that waited although newer ones were there are left out; the newest and the picture are sent."""
    world.preview(0)
    world.preview(1)
    world.wait(1.5)
    stream = world.follow()
    async with aclosing(stream) as messages:
        seen = [await anext(messages) for _ in range(5)]

    assert kinds(seen) == ["accepted", "preview", "preview", "preview_chunk", "preview_chunk"]
    assert [message.preview.omitted for message in seen if message.HasField("preview")] == [True, False]


async def test_a_preview_whose_picture_is_there_is_left_out(world):
    """Nobody who is late needs a preview of a finished picture; the picture is never left out."""
    world.preview(0)
    world.image()
    world.log.hold()
    world.end()
    world.wait(1.5)
    messages = await world.all()

    assert kinds(messages) == ["accepted", "preview", "image", "image_chunk", "image_chunk", "completed"]
    assert messages[1].preview.omitted


async def test_a_burst_costs_a_fast_reader_nothing(world):
    """Previews that came at once are all sent to a reader who is there."""
    world.preview(0)
    world.preview(1)
    world.image()
    world.log.hold()
    world.end()
    messages = await world.all()

    assert [message.preview.omitted for message in messages if message.HasField("preview")] == [False, False]


async def test_another_outputs_preview_replaces_nothing(world):
    """Slow readers lose a preview only to a newer one of the same output."""
    world.preview(0, output=0)
    world.preview(0, output=1)
    world.log.hold()
    world.wait(1.5)
    async with aclosing(world.follow()) as messages:
        seen = [await anext(messages) for _ in range(7)]

    assert [message.preview.omitted for message in seen if message.HasField("preview")] == [False, False]


async def test_a_new_attempt_voids_the_old_previews(world):
    """After a fallback a late reader is not sent the abandoned attempt's previews."""
    world.preview(0)
    world.start(attempt=1)
    world.log.hold()
    world.wait(1.5)
    async with aclosing(world.follow()) as messages:
        seen = [await anext(messages) for _ in range(3)]

    assert kinds(seen) == ["accepted", "preview", "attempt_started"]
    assert seen[1].preview.omitted


async def test_a_preview_that_was_begun_is_sent_whole(world):
    """Whatever happens meanwhile, half a preview is never left with a reader."""
    world.preview(0)
    world.log.hold()
    async with aclosing(world.follow()) as messages:
        seen = [await anext(messages) for _ in range(3)]
        world.preview(1)
        world.image()
        world.wait(60)
        seen.append(await anext(messages))

    assert kinds(seen) == ["accepted", "preview", "preview_chunk", "preview_chunk"]
    assert joined(seen, "preview_chunk") == PREVIEW


async def test_pictures_over_the_bound_are_only_described(world):
    """`max_inline_bytes` bounds the bytes over all pictures; those that do not fit say so."""
    world.image(output=0)
    world.image(output=1)
    world.image(data=b"small", output=2)
    world.log.hold()
    world.end()
    messages = await world.all(bound=len(PICTURE) + 5)

    assert [message.image.chunks_follow for message in messages if message.HasField("image")] == [True, False, True]
    assert joined(messages, "image_chunk") == PICTURE + b"small"


async def test_no_bytes_at_all_can_be_asked_for(world):
    """A bound of 0 sends no picture."""
    world.image()
    world.log.hold()
    world.end()

    assert kinds(await world.all(bound=0)) == ["accepted", "image", "completed"]


async def test_silence_brings_heartbeats_until_something_happens(world):
    """A quiet stream shows signs of life that repeat the last sequence, and loses no event over them."""
    async with aclosing(world.follow(heartbeat_s=0.001)) as messages:
        seen = [await anext(messages) for _ in range(3)]
        world.start()
        while not seen[-1].HasField("attempt_started"):
            seen.append(await anext(messages))

    assert set(kinds(seen[1:-1])) == {"heartbeat"}
    assert {message.sequence for message in seen[:-1]} == {1}
    assert seen[-1].sequence == 2


async def test_a_failed_generation_ends_with_its_error(world):
    """A failure is an error after the events that led to it, and never `completed`."""
    world.end(state=State.FAILED, reason=Reason.NO_IMAGE, text="no engine drew")
    messages = world.follow()
    first = await anext(messages)
    with pytest.raises(GatewayError) as caught:
        await anext(messages)

    assert kinds([first]) == ["accepted"]
    assert (caught.value.reason, caught.value.generation_id) == (Reason.NO_IMAGE, "gen_1")


async def test_a_replay_is_marked_as_one(world):
    """The final record of a replay is the one that says so."""
    world.end()
    messages = await world.all(replayed=generation(state=State.SUCCEEDED, replayed=True))

    assert messages[-1].completed.generation.replayed


async def test_events_are_passed_on_while_they_happen(world):
    """A reader waits for the log, not for its end."""
    async with aclosing(world.follow()) as messages:
        first = await anext(messages)
        following = asyncio.ensure_future(anext(messages))
        world.start()
        second = await following

    assert kinds([first, second]) == ["accepted", "attempt_started"]


async def test_a_reader_that_leaves_lets_go_of_the_bytes(world):
    """Closing a stream in the middle of a picture releases the log's copy once the job has ended."""
    world.image()
    stream = world.follow()
    while not (await anext(stream)).HasField("image_chunk"):
        pass
    world.end()
    held = world.log.payload(2) is not None
    await stream.aclose()

    assert held
    assert world.log.payload(2) is None


async def test_a_reader_that_is_cancelled_while_it_waits_lets_go(world):
    """A reader that is cut off during silence leaves no task and no hold behind."""
    messages = world.follow()
    await anext(messages)
    waiting = asyncio.ensure_future(anext(messages))
    await asyncio.sleep(0)  # it is waiting for the log now
    waiting.cancel()
    await asyncio.wait({waiting})

    assert waiting.cancelled()
    assert world.log._readers == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


def weight(log) -> int:
    """How many objects of a log a full garbage collection walks."""
    seen, waiting = {}, [log]
    while waiting:
        each = waiting.pop()
        if id(each) not in seen and gc.is_tracked(each) and not isinstance(each, type | FunctionType | EnumType | Enum):
            seen[id(each)] = each
            waiting += gc.get_referents(each)
    return len(seen)


async def test_an_ended_log_weighs_little_and_loses_nothing(world):
    """It is kept for five minutes, and all that is kept is walked again and again."""
    world.start()
    world.preview(0)
    world.image()
    wanted = [entry.event async for entry in _already_there(world.log, 0)]
    before = weight(world.log)
    world.end(request=request(labels={"campaign": "autumn"}))
    after = weight(world.log)
    first, again = [[entry.event async for entry in world.log.read()] for _ in range(2)]
    await world.log.completed()

    assert before > 4 * after
    assert after == weight(world.log) <= 6
    assert first[:-1] == wanted
    assert first == again
    assert first[-1].generation.request.labels == {"campaign": "autumn"}
    assert world.log.last_sequence == len(first)


async def test_a_late_reader_gets_the_end_alone():
    """When the log is gone, `completed` says everything, as event 1."""
    message = completed_alone(
        generation(state=State.SUCCEEDED), WatchGenerationResponse(), StreamSettings(sandbox=True)
    ).event

    assert (message.WhichOneof("event"), message.sequence) == ("completed", 1)
    assert message.completed.generation.sandbox


async def test_whoever_waits_for_the_end_alone_sees_signs_of_life(world):
    """They repeat the last sequence that the reader has; a reader that leaves ends the wait."""
    has_ended, waits = asyncio.Event(), []

    async def end():
        waits.append(asyncio.current_task())
        await has_ended.wait()
        return generation(state=State.SUCCEEDED)

    def reading():
        settings = StreamSettings(heartbeat_s=0.001)
        writer = EventWriter(settings, InlineBudget(None), world.read_image, lambda: NOON)
        return aclosing(ended(end, writer, settings, WatchGenerationResponse, after=3))

    async with reading() as responses:
        beat = (await anext(responses)).event
        has_ended.set()
        rest = [each.event async for each in responses]
    has_ended.clear()
    async with reading() as responses:
        await anext(responses)

    assert (beat.WhichOneof("event"), beat.sequence) == ("heartbeat", 3)
    assert rest[-1].WhichOneof("event") == "completed"
    assert waits[-1].done()


async def test_a_late_reader_of_a_failure_gets_the_error():
    """A failure stays an error however late one asks."""
    with pytest.raises(GatewayError, match="NO_IMAGE"):
        completed_alone(
            generation(state=State.FAILED, reason=Reason.NO_IMAGE),
            WatchGenerationResponse(),
            StreamSettings(sandbox=True),
        )


async def test_a_silent_set_shows_signs_of_life_too():
    """While no item of a set moves, its stream beats under no item's name."""

    class SilentRun:
        async def steps(self):
            await asyncio.Event().wait()
            yield

    class Nowhere:
        chunks = None

    answering = Answering(Nowhere(), lambda: NOON, StreamSettings(heartbeat_s=0.001))
    steps = ImageRpcs(None, answering, str)._set_steps(SilentRun(), None)
    async with aclosing(steps) as responses:
        beat = await anext(responses)

    assert beat.event.WhichOneof("event") == "heartbeat"
    assert (beat.item_key, beat.generation_id) == ("", "")
