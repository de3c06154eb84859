"""History while life goes on: lists under inserts, watching what still runs, and what time takes away."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from gateway import GPT, NANO, Gateway, Refusal, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation, GenerationEvent
from pictord.app import Outside
from pictord.auth.callers import hash_key
from pictord.settings import CallerTable

SMALL = {"canvas": {"resolution": image.RESOLUTION_512}, "model": NANO}
TRANSPORT = {"preview_chunk", "image_chunk", "heartbeat"}


@pytest.fixture
async def pictor() -> AsyncIterator[Gateway]:
    async with gateway() as running:
        yield running


@dataclass
class Time:
    """Both of the app's clocks, which run on and can be put forward."""

    ahead: timedelta = field(default_factory=timedelta)

    @property
    def outside(self) -> Outside:
        return Outside(
            clock=lambda: time.monotonic() + self.ahead.total_seconds(), now=lambda: datetime.now(UTC) + self.ahead
        )


async def draw(pictor: Gateway, prompt="a fox", metadata=None, **fields) -> Generation:
    request = service.GenerateRequest(**({"prompt": prompt} | SMALL | fields))
    return (await pictor.images.Generate(request, metadata=metadata)).generation


async def refused(call) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [each async for each in call] if hasattr(call, "__aiter__") else await call
    return refusal(caught.value)


# Lists


async def page(pictor: Gateway, token="", size=2, **fields) -> tuple[list[str], str]:
    request = history.ListGenerationsRequest(page_token=token, page_size=size, **fields)
    answer = await pictor.history.ListGenerations(request)
    return [each.id for each in answer.generations], answer.next_page_token


async def test_pages_stay_where_they_were_while_new_work_comes_in(pictor):
    """Whoever turns pages sees every generation that was there at the start once, however many are added meanwhile."""
    old = [(await draw(pictor, f"old {number}")).id for number in range(6)]
    seen, token = await page(pictor)
    while token:
        await draw(pictor, "new")
        ids, token = await page(pictor, token)
        seen += ids

    assert seen == old[::-1]


async def test_filters_hold_together(pictor):
    """State, set, labels and time narrow a list together, and each alone."""
    plain = await draw(pictor, labels={"team": "a", "kind": "x"})
    other = await draw(pictor, labels={"team": "a", "kind": "y"})
    failing = (("x-sandbox-fault", "gemini:finish_reason;reason=IMAGE_SAFETY"),)
    failed = (await refused(draw(pictor, metadata=failing, labels={"team": "a"}))).metadata["generation_id"]
    request = service.GenerateSetRequest(
        brief=service.GenerateRequest(prompt="a set", labels={"team": "b"}, **SMALL), items=[{"key": "k"}]
    )
    steps = [step async for step in pictor.images.GenerateSet(request)]
    set_id, member = steps[0].set_accepted.set_id, steps[-1].summary.generation_ids[0]
    found = {
        "team a": {"labels": {"team": "a"}},
        "kind x of team a": {"labels": {"team": "a", "kind": "x"}},
        "failed": {"state": Generation.STATE_FAILED},
        "failed of team b": {"state": Generation.STATE_FAILED, "labels": {"team": "b"}},
        "the set": {"set_id": set_id},
        "another set": {"set_id": "set_none"},
        "from the second on": {"start_time": other.create_time},
        "before the second": {"end_time": other.create_time},
    }

    assert {name: (await page(pictor, size=50, **query))[0] for name, query in found.items()} == {
        "team a": [failed, other.id, plain.id],
        "kind x of team a": [plain.id],
        "failed": [failed],
        "failed of team b": [],
        "the set": [member],
        "another set": [],
        "from the second on": [member, failed, other.id],
        "before the second": [plain.id],
    }


async def test_a_record_says_what_was_asked_done_and_paid(pictor):
    """Everything that explains a picture is in its record, and nothing that is the picture itself."""
    made = await draw(pictor, labels={"post": "17"}, tier=image.TIER_PRO, request_id="mine")
    record = await pictor.get(made.id)

    attempt = record.attempts[0]
    assert (record.request.prompt, record.request.tier, record.request.request_id) == ("a fox", image.TIER_PRO, "mine")
    assert (record.decision.row, record.decision.policy_version != "", record.sandbox) == ("explicit", True, True)
    assert (attempt.served_model, attempt.model_version, attempt.outcome) == (NANO, NANO, "image")
    assert attempt.provider_request_id == pictor.sandbox.charges[0].request_id
    assert attempt.usage.image_out_tokens == pictor.sandbox.charges[0].usage.image_out
    assert record.create_time.ToNanoseconds() <= attempt.sent_time.ToNanoseconds()
    assert attempt.sent_time.ToNanoseconds() <= attempt.finish_time.ToNanoseconds()
    assert attempt.finish_time.ToNanoseconds() <= record.finish_time.ToNanoseconds()
    assert record.timings.provider.ToNanoseconds() > 0
    assert dict(record.labels) == {"post": "17"}
    assert record.outputs[0].image.data == b""


# Watching


def watch(pictor: Gateway, generation_id: str, **fields) -> grpc.aio.UnaryStreamCall:
    return pictor.history.WatchGeneration(history.WatchGenerationRequest(generation_id=generation_id, **fields))


async def read(call, until: str | None = None) -> list[GenerationEvent]:
    """The events up to and with the first one of a kind, or to the end."""
    events: list[GenerationEvent] = []
    while (message := await call.read()) != grpc.aio.EOF:
        events.append(message.event)
        if message.event.WhichOneof("event") == until:
            break
    return events


def log(events: list[GenerationEvent]) -> list[GenerationEvent]:
    """Without what belongs to the transport."""
    return [event for event in events if event.WhichOneof("event") not in TRANSPORT]


def bytes_of(events: list[GenerationEvent], kind: str) -> bytes:
    return b"".join(getattr(event, kind).data for event in events if event.WhichOneof("event") == kind)


async def test_watchers_of_a_running_generation_go_on_where_each_left_it(pictor):
    """While the engine draws, whoever saw k events gets k+1 and the rest as they happen, like the submitter."""
    pictor.sandbox.faults.add("stall", times=1)
    request = service.GenerateRequest(prompt="a slow fox", model=GPT, quality=image.QUALITY_LOW, preview_count=2)
    submitter = pictor.images.GenerateStream(service.GenerateStreamRequest(request=request))
    begun = await read(submitter, until="attempt_started")
    await pictor.sandbox.wait_for_stalls(1)
    generation_id = begun[0].accepted.generation_id
    watchers = [watch(pictor, generation_id, after_sequence=seen) for seen in range(len(begun) + 1)]
    reading = [asyncio.ensure_future(read(each)) for each in (submitter, *watchers)]
    pictor.sandbox.release_stalls()
    rest, *watched = await asyncio.gather(*reading)

    whole = begun + rest
    kinds = [event.WhichOneof("event") for event in log(whole)]
    assert kinds == ["accepted", "attempt_started", "preview", "preview", "image", "completed"]
    assert [event.sequence for event in log(whole)] == list(range(1, 7))
    for seen, events in enumerate(watched):
        assert log(events) == log(whole)[seen:]
        assert bytes_of(events, "image_chunk") == bytes_of(whole, "image_chunk")
        assert bytes_of(events, "preview_chunk") == bytes_of(whole, "preview_chunk")


async def test_a_reader_that_was_cut_off_mid_picture_gets_it_whole(pictor):
    """Chunks repeat the picture's sequence, so whoever lost the connection among them asks again from before it."""
    request = service.GenerateRequest(prompt="a fox", model=GPT, quality=image.QUALITY_LOW, preview_count=0)
    call = pictor.images.GenerateStream(service.GenerateStreamRequest(request=request))
    lost = await read(call, until="image_chunk")
    call.cancel()
    generation_id, image_event = lost[0].accepted.generation_id, log(lost)[-1]
    events = await read(watch(pictor, generation_id, after_sequence=image_event.sequence - 1))

    assert log(events)[0] == image_event
    assert hashlib.sha256(bytes_of(events, "image_chunk")).hexdigest() == image_event.image.image.sha256
    assert events[-1].WhichOneof("event") == "completed"


async def test_the_log_is_gone_after_five_minutes_and_the_end_stays():
    """A late watcher gets `completed` alone, from wherever it asks; the picture is still there to be fetched."""
    clock = Time()
    async with gateway(outside=clock.outside) as pictor:
        made = await draw(pictor)
        whole = await read(watch(pictor, made.id))
        clock.ahead = timedelta(seconds=301)
        for seen in (0, 1, len(whole), 99):
            (only,) = await read(watch(pictor, made.id, after_sequence=seen))

            assert only.completed.generation == log(whole)[-1].completed.generation
        await draw(pictor, "another")
        assert pictor.app.jobs.log(made.id) is None


# What time takes away


async def test_after_thirty_days_everything_is_gone_and_is_said_to_be():
    """Record, picture and request id are released together: EXPIRED, not a half of it."""
    clock = Time()
    async with gateway(outside=clock.outside) as pictor:
        made = await draw(pictor, request_id="mine")
        image_id = made.outputs[0].image.id
        clock.ahead = timedelta(days=30, minutes=1)
        named = {"generation_id": made.id}
        reference = service.GenerateRequest(prompt="a fox", references=[{"image_id": image_id}])
        gone = [
            await refused(pictor.history.GetGeneration(history.GetGenerationRequest(**named))),
            await refused(watch(pictor, made.id)),
            await refused(pictor.history.CancelGeneration(history.CancelGenerationRequest(**named))),
            await refused(pictor.history.DownloadImage(history.DownloadImageRequest(image_id=image_id))),
            await refused(pictor.images.Reroll(service.RerollRequest(**named))),
            await refused(pictor.images.Generate(reference)),
        ]
        again = await draw(pictor, request_id="mine")

        assert {(each.code, each.reason) for each in gone} == {("NOT_FOUND", "EXPIRED")}
        assert (await page(pictor))[0] == [again.id]
        assert not again.replayed
        assert again.id != made.id
        assert len(pictor.sandbox.charges) == 2


async def test_what_was_anothers_has_not_expired_but_never_was():
    """EXPIRED says that something existed, so only those hear it who could have seen it."""
    clock, keys = Time(), {name: [("x-api-key", f"key-of-{name}")] for name in ("studio", "shop", "reader")}
    known = [
        CallerTable(name, (hash_key(key),), may_read_others=name == "reader") for name, ((_, key),) in keys.items()
    ]
    async with gateway(outside=clock.outside, callers=tuple(known)) as pictor:
        made = await draw(pictor, metadata=keys["studio"])
        picture = history.DownloadImageRequest(image_id=made.outputs[0].image.id)
        record = history.GetGenerationRequest(generation_id=made.id)

        async def reasons(name: str) -> set[str]:
            # One after the other: a call starts when it is made, and none waits for another's retention.
            of_record = await refused(pictor.history.GetGeneration(record, metadata=keys[name]))
            of_picture = await refused(pictor.history.DownloadImage(picture, metadata=keys[name]))
            return {of_record.reason, of_picture.reason}

        assert await reasons("shop") == {"NOT_FOUND"}
        clock.ahead = timedelta(days=30, minutes=1)

        assert {name: await reasons(name) for name in keys} == {
            "studio": {"EXPIRED"},
            "shop": {"NOT_FOUND"},
            "reader": {"EXPIRED"},
        }


async def test_what_still_runs_does_not_expire():
    """Retention is for finished work: a picture that takes longer than an hour is still delivered."""
    clock = Time()
    async with gateway(outside=clock.outside) as pictor:
        pictor.sandbox.faults.add("stall", times=1)
        call = asyncio.ensure_future(draw(pictor, "a slow fox", request_id="slow"))
        await pictor.sandbox.wait_for_stalls(1)
        clock.ahead = timedelta(minutes=61)
        running = await pictor.history.GetGeneration(history.GetGenerationRequest(request_id="slow"))
        pictor.sandbox.release_stalls()
        made = await call

        assert running.generation.state == Generation.STATE_RUNNING
        assert (made.id, made.state) == (running.generation.id, Generation.STATE_SUCCEEDED)
        assert (await pictor.get(made.id)).outputs[0].image.id == made.outputs[0].image.id
