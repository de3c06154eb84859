"""The client's streams on a real channel: whole pictures, lost connections, logs that are gone."""

import asyncio
import threading

import grpc
import pytest

import pictor
from both_clients import BOTH, connected
from canned_gateway import (
    accepted,
    answers,
    canned_gateway,
    completed,
    download,
    generation,
    image,
    lose,
    picture,
    preview,
    refuse,
    started,
)
from pictor.v1.generation_pb2 import GenerationEvent
from pictor.v1.history_service_pb2 import GetGenerationResponse, WatchGenerationResponse
from pictor.v1.image_service_pb2 import EditStreamResponse, GenerateSetResponse, GenerateStreamResponse, RerollResponse

PREVIEW = b"p" * 2500
PICTURE = bytes(range(256)) * 20
LOG = [accepted(1), started(2), *preview(3, PREVIEW), *picture(4, PICTURE), completed(5, generation(image(PICTURE)))]


@pytest.fixture
def gateway():
    with canned_gateway() as running:
        yield running


@pytest.fixture(params=BOTH)
def kind(request):
    return request.param


@pytest.fixture
async def client(gateway, kind):
    async with impatient(kind, gateway.address) as one:
        yield one


def impatient(kind, address, waits=None):
    """A client that notes how long it would wait instead of waiting."""
    return connected(kind, address, waits=waits, jitter=lambda: 1.0, new_id=lambda: "id-1")


async def collect(events):
    return [event async for event in events]


def kinds(events):
    return [type(event).__name__ for event in events]


async def test_a_stream_brings_whole_previews_and_pictures(gateway, client):
    """Chunks are put together; the reader sees each event once, in order, and the generation last."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, LOG))

    events = await collect(client.stream("a red fox", tier="pro"))

    assert kinds(events) == ["Accepted", "AttemptStarted", "Preview", "Image", "Completed"]
    assert [events[2].data, events[3].data] == [PREVIEW, PICTURE]
    assert events[-1].generation.row == "standard"
    assert gateway.requests("GenerateStream")[0].request.request_id == "id-1"


@pytest.mark.parametrize("cut", range(1, len(LOG)))
async def test_a_lost_connection_loses_nothing_wherever_it_breaks(gateway, client, cut):
    """Cut after any message, the stream goes on through WatchGeneration, and every event still comes exactly once."""

    def broken(_, context):
        yield from answers(GenerateStreamResponse, LOG[:cut])
        lose(context)

    def watched(request, _):
        yield from answers(WatchGenerationResponse, [e for e in LOG if e.sequence > request.after_sequence])

    gateway.handlers |= {"GenerateStream": broken, "WatchGeneration": watched}

    events = await collect(client.stream("a red fox"))

    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert [events[2].data, events[3].data] == [PREVIEW, PICTURE]
    assert len(gateway.requests("WatchGeneration")) == 1


async def test_a_restarted_gateway_is_found_again(gateway, client):
    """The connection really breaks; the client reconnects to the same address and goes on."""
    sent = threading.Event()

    def halfway(_, context):
        yield from answers(GenerateStreamResponse, LOG[:4])
        sent.set()
        over = threading.Event()
        context.add_callback(over.set)
        over.wait()

    gateway.handlers["GenerateStream"] = halfway
    gateway.handlers["WatchGeneration"] = lambda request, _: iter(
        answers(WatchGenerationResponse, [e for e in LOG if e.sequence > request.after_sequence])
    )
    stream = client.stream("a red fox")
    first = await anext(stream)
    await asyncio.to_thread(sent.wait)

    await asyncio.to_thread(gateway.stop)
    gateway.start(gateway.port)
    rest = await collect(stream)

    assert kinds([first, *rest]) == ["Accepted", "AttemptStarted", "Preview", "Image", "Completed"]


async def test_a_call_that_was_never_accepted_is_not_repeated(gateway, client):
    """Without a generation there is nothing to go on with: the error comes at once."""
    gateway.handlers["GenerateStream"] = lambda _, context: refuse(
        context, grpc.StatusCode.UNAVAILABLE, "going away", reason="SHUTTING_DOWN", trailers=(_NO_RETRY,)
    )

    with pytest.raises(pictor.PictorError, match="going away") as caught:
        await collect(client.stream("a red fox"))

    assert not caught.value.paid
    assert [name for name, _ in gateway.asked] == ["GenerateStream"]


async def test_the_metadata_of_a_lost_call_is_enough_to_go_on(gateway, client):
    """The id comes with the initial metadata, so a stream that broke before its first event is found as well."""

    def broken(_, context):
        context.send_initial_metadata((("pictor-generation-id", "gen_1"),))
        lose(context)

    gateway.handlers["GenerateStream"] = broken
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, LOG))

    events = await collect(client.stream("a red fox"))

    assert len(events) == 5


async def test_a_stream_lost_before_its_id_came_is_found_by_its_request_id(gateway, client):
    """The gateway is asked what it knows; the request is not sent again."""

    def broken(_, context):
        context.set_trailing_metadata((_NO_RETRY,))
        lose(context)

    gateway.handlers["Reroll"] = broken
    gateway.handlers["GetGeneration"] = lambda *_: GetGenerationResponse(generation=generation())
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, LOG))

    events = await collect(client.stream_reroll("gen_0"))

    assert len(events) == 5
    assert [request.request_id for request in gateway.requests("GetGeneration")] == ["id-1"]
    assert len(gateway.requests("Reroll")) == 1


async def test_a_stream_that_the_gateway_forgot_ends_with_the_lost_connection(gateway, client):
    """NOT_FOUND is not the news: the generation existed, and money may be spent."""

    def broken(_, context):
        yield from answers(GenerateStreamResponse, LOG[:2])
        lose(context)

    gateway.handlers["GenerateStream"] = broken
    gateway.handlers["WatchGeneration"] = lambda _, context: refuse(
        context, grpc.StatusCode.NOT_FOUND, "there is none", reason="NOT_FOUND"
    )

    with pytest.raises(pictor.PictorError, match="the connection was lost, and the gateway that answers now") as caught:
        await collect(client.stream("a red fox"))

    assert (caught.value.generation_id, caught.value.paid) == ("gen_1", True)


async def test_a_gateway_that_stays_away_is_given_up(gateway, kind):
    """The waits grow; after the last one the client says what was lost, and which generation it was."""
    waits = []

    def broken(_, context):
        yield from answers(GenerateStreamResponse, LOG[:2])
        lose(context)

    gateway.handlers["GenerateStream"] = broken
    gateway.handlers["WatchGeneration"] = lambda _, context: refuse(
        context, grpc.StatusCode.UNAVAILABLE, "going away", reason="SHUTTING_DOWN", trailers=(_NO_RETRY,)
    )
    async with impatient(kind, gateway.address, waits) as client:
        with pytest.raises(pictor.PictorError) as caught:
            await collect(client.stream("a red fox"))

    assert caught.value.generation_id == "gen_1"
    assert waits == [0.1, 0.3, 1.0, 3.0, 5.0, 5.0, 5.0]


async def test_a_connection_that_breaks_again_and_again_still_brings_everything(gateway, client):
    """Only tries that bring nothing are counted: one event for each connection is enough."""
    long_log = [accepted(1), *(started(sequence) for sequence in range(2, 20)), completed(20, generation())]

    def one(response, context, after):
        yield from answers(response, long_log[after : after + 1])
        if after + 1 < len(long_log):
            lose(context)

    gateway.handlers["GenerateStream"] = lambda _, context: one(GenerateStreamResponse, context, 0)
    gateway.handlers["WatchGeneration"] = lambda request, context: one(
        WatchGenerationResponse, context, request.after_sequence
    )

    events = await collect(client.stream("a red fox"))

    assert [event.sequence for event in events] == list(range(1, 21))


async def test_a_failed_generation_is_not_watched_again(gateway, client):
    """A refusal in the middle of a stream is the end: reason and generation id come with the error."""

    def refused(_, context):
        yield from answers(GenerateStreamResponse, LOG[:2])
        refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "not this", reason="CONTENT_POLICY")

    gateway.handlers["GenerateStream"] = refused

    with pytest.raises(pictor.PictorError) as caught:
        await collect(client.stream("a red fox"))

    assert (caught.value.reason, caught.value.generation_id) == ("CONTENT_POLICY", "gen_1")


async def test_a_stream_without_an_end_is_taken_up_again(gateway, client):
    """OK without `completed` is no end (a proxy hung up): the rest is asked for."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, LOG[:2]))
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, LOG))

    events = await collect(client.stream("a red fox"))

    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]


async def test_a_log_that_is_gone_still_brings_every_picture(gateway, client):
    """Long after the end the answer is `completed` alone; the client fetches the pictures itself."""
    alone = completed(1, generation(image(PICTURE)))
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, [alone]))
    gateway.handlers["DownloadImage"] = download(PICTURE)

    events = await collect(client.watch("gen_1"))

    assert kinds(events) == ["Image", "Completed"]
    assert events[0].data == PICTURE


async def test_a_picture_that_came_before_the_log_was_gone_does_not_come_twice(gateway, client):
    """The connection breaks after the picture, for longer than the log lives: only the end is missing."""

    def broken(_, context):
        yield from answers(GenerateStreamResponse, LOG[:-1])
        lose(context)

    alone = completed(1, generation(image(PICTURE)))
    gateway.handlers["GenerateStream"] = broken
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, [alone]))

    events = await collect(client.stream("a red fox"))

    assert kinds(events) == ["Accepted", "AttemptStarted", "Preview", "Image", "Completed"]


async def test_watching_begins_after_a_sequence(gateway, client):
    """A reader who saw the first events asks for the others only, and no picture it has comes again."""
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, LOG[-1:]))

    events = await collect(client.watch("gen_1", 4))

    assert kinds(events) == ["Completed"]
    assert gateway.requests("WatchGeneration")[0].after_sequence == 4


@pytest.mark.parametrize(("fetch", "expected"), [(True, PICTURE), (False, None)])
async def test_a_picture_over_the_bound_is_fetched_unless_told_otherwise(gateway, client, fetch, expected):
    """`chunks_follow = false`: the bytes come by DownloadImage, or not at all with `fetch=False`."""
    ready = GenerationEvent(sequence=2)
    ready.image.image.CopyFrom(image(PICTURE))
    log = [accepted(1), ready, completed(3, generation(image(PICTURE)))]
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log))
    gateway.handlers["DownloadImage"] = download(PICTURE)

    events = await collect(client.stream("a red fox", max_inline_bytes=0, fetch=fetch))

    assert events[1].data == expected


async def test_a_gateway_that_is_away_when_a_picture_is_to_be_fetched_is_waited_for(gateway, client):
    """It has just told of the picture, so it restarts: the download is tried until somebody is there again."""
    ready = GenerationEvent(sequence=2)
    ready.image.image.CopyFrom(image(PICTURE))
    log = [accepted(1), ready, completed(3, generation(image(PICTURE)))]

    def away_at_first(request, context):
        if len(gateway.requests("DownloadImage")) == 1:
            context.set_trailing_metadata((_NO_RETRY,))
            context.abort(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses: Connection refused")
        yield from download(PICTURE)(request, context)

    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log))
    gateway.handlers["DownloadImage"] = away_at_first

    events = await collect(client.stream("a red fox", max_inline_bytes=0))

    assert events[1].data == PICTURE


async def test_a_picture_that_cannot_be_fetched_is_not_passed_over(gateway, client):
    """The stream ends with the download's failure; it does not read on as if the picture had been there."""
    ready = GenerationEvent(sequence=2)
    ready.image.image.CopyFrom(image(PICTURE))
    log = [accepted(1), ready, completed(3, generation(image(PICTURE)))]
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log))
    gateway.handlers["WatchGeneration"] = lambda *_: iter(answers(WatchGenerationResponse, log))
    gateway.handlers["DownloadImage"] = lambda _, context: lose(context)

    with pytest.raises(pictor.Unavailable, match="the connection was lost"):
        await collect(client.stream("a red fox", max_inline_bytes=0))

    assert gateway.requests("WatchGeneration") == []


async def test_a_left_out_preview_is_an_event_without_bytes(gateway, client):
    """A slow reader is told of the preview it does not get."""
    omitted = GenerationEvent(sequence=2)
    omitted.preview.omitted = True
    log = [accepted(1), omitted, completed(3, generation())]
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log))

    events = await collect(client.stream("a red fox"))

    assert (kinds(events)[1], events[1].data) == ("Preview", None)


async def test_kinds_of_later_gateways_and_heartbeats_are_skipped(gateway, client):
    """An unset event is one that this client does not know; it does not count as a gap either."""
    heartbeat = GenerationEvent(sequence=2)
    heartbeat.heartbeat.SetInParent()
    log = [accepted(1), GenerationEvent(sequence=2), heartbeat, completed(3, generation())]
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log))

    assert kinds(await collect(client.stream("a red fox"))) == ["Accepted", "Completed"]


async def test_damaged_bytes_are_refused(gateway, client):
    """A picture whose bytes do not have the announced SHA-256 is DATA_LOSS, never a file."""
    log = [accepted(1), *picture(2, PICTURE)]
    log[-1].image_chunk.data = b"x" * len(log[-1].image_chunk.data)
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log))

    with pytest.raises(pictor.PictorError, match="damaged") as caught:
        await collect(client.stream("a red fox"))

    assert caught.value.code is grpc.StatusCode.DATA_LOSS


async def test_a_missing_chunk_is_noticed(gateway, client):
    """Chunks must follow each other without a gap."""
    log = [accepted(1), *picture(2, PICTURE)]
    del log[3]
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, log))

    with pytest.raises(pictor.PictorError, match="missing from the stream"):
        await collect(client.stream("a red fox"))


async def test_leaving_a_stream_early_cancels_the_call(gateway, client):
    """A reader that stops reading lets the gateway know."""
    gone = threading.Event()

    def endless(_, context):
        context.add_callback(gone.set)
        yield from answers(GenerateStreamResponse, LOG[:1])
        gone.wait()

    gateway.handlers["GenerateStream"] = endless
    stream = client.stream("a red fox")
    await anext(stream)

    await stream.aclose()

    assert await asyncio.to_thread(gone.wait, 10)


async def test_edits_and_rerolls_stream_alike(gateway, client):
    """EditStream and Reroll bring the same events."""
    gateway.handlers["EditStream"] = lambda *_: iter(answers(EditStreamResponse, LOG))
    gateway.handlers["Reroll"] = lambda *_: iter(answers(RerollResponse, LOG))

    edited = await collect(client.stream("a blue fox", image=b"png", mask=b"mask"))
    rerolled = await collect(client.stream_reroll("gen_0", max_cost="0.5"))

    assert kinds(edited) == kinds(rerolled) == ["Accepted", "AttemptStarted", "Preview", "Image", "Completed"]
    assert gateway.requests("EditStream")[0].request.mask.data == b"mask"
    assert gateway.requests("Reroll")[0].max_cost.nanos == 500_000_000


async def test_a_set_puts_the_pictures_of_several_generations_together(gateway, client):
    """Chunks of different generations may be interleaved; each step says which item it belongs to."""
    other = PICTURE[::-1]
    one = [("a", "gen_1", event) for event in [accepted(1), *picture(2, PICTURE)]]
    two = [("b", "gen_2", event) for event in [accepted(1, "gen_2"), *picture(2, other, "img_2")]]
    steps = [
        GenerateSetResponse(item_key=k, generation_id=g, event=e)
        for pair in zip(one, two, strict=True)
        for k, g, e in pair
    ]
    failed = GenerateSetResponse(item_key="c")
    failed.item_failed.reason = "MAX_COST"
    summary = GenerateSetResponse()
    summary.summary.succeeded_count = 2
    gateway.handlers["GenerateSet"] = lambda *_: iter([*steps, failed, summary])

    found = await collect(client.generate_set("brief", {"a": "one", "b": "two", "c": "three"}, max_cost="1"))

    pictures = {
        s.item_key: s.event.data for s in found if isinstance(s, pictor.SetStep) and s.event.raw.HasField("image")
    }
    assert pictures == {"a": PICTURE, "b": other}
    assert kinds(found)[-2:] == ["SetItemFailed", "SetSummary"]
    assert [item.prompt for item in gateway.requests("GenerateSet")[0].items] == ["one", "two", "three"]


_NO_RETRY = ("grpc-retry-pushback-ms", "-1")
