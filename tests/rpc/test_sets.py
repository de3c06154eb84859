"""Sets through the door: variants and slides as they land, one spending limit, repeats, and clients that leave."""

import asyncio
import hashlib
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from gateway import GPT, NANO, NO_LIMIT, Gateway, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.catalog_service_pb2 import ListFormatsRequest
from pictor.v1.generation_pb2 import Generation
from pictord.app import Outside
from pictord.domain.money import parse_usd
from pictord.settings import MEMORY
from pictord.store.memory import Retention

Step = service.GenerateSetResponse

SMALL = {"canvas": image.Canvas(resolution=image.RESOLUTION_512), "model": NANO}
"""The quickest picture to draw."""
SLIDES = [f"slide {number}: {words}" for number, words in enumerate(("a", "b", "c", "d", "e", "f"), 1)]


@pytest.fixture
async def pictor() -> AsyncIterator[Gateway]:
    async with gateway() as running:
        yield running


def a_set(items, models=(), **brief) -> service.GenerateSetRequest:
    """Items are keys, or (key, fields); previews are off unless the brief says otherwise."""
    fields = {"prompt": "a fox", "preview_count": 0} | brief
    pairs = [(each, {}) if isinstance(each, str) else each for each in items]
    return service.GenerateSetRequest(
        brief=service.GenerateRequest(**fields),
        items=[service.SetItem(key=key, **own) for key, own in pairs],
        models=models,
    )


async def drawn(pictor: Gateway, request: service.GenerateSetRequest, metadata=None) -> list[Step]:
    return [step async for step in pictor.images.GenerateSet(request, metadata=metadata)]


def finished(steps: list[Step]) -> dict[tuple[str, str], Generation]:
    """The generation of each member that came to its end with a picture."""
    ends = [step for step in steps if step.event.HasField("completed")]
    return {(step.item_key, step.model): step.event.completed.generation for step in ends}


def failed(steps: list[Step]) -> dict[str, tuple[int, str]]:
    return {
        step.item_key: (step.item_failed.code, step.item_failed.reason)
        for step in steps
        if step.HasField("item_failed")
    }


def pictures(steps: list[Step]) -> dict[str, bytes]:
    """Every picture of the stream by its id, put together from chunks that come in order."""
    found: dict[str, bytes] = defaultdict(bytes)
    for step in steps:
        if step.event.HasField("image_chunk"):
            chunk = step.event.image_chunk
            assert chunk.offset_bytes == len(found[chunk.image_id])
            found[chunk.image_id] += chunk.data
    return found


async def members(pictor: Gateway, set_id: str) -> list[Generation]:
    answer = await pictor.history.ListGenerations(history.ListGenerationsRequest(set_id=set_id, page_size=200))
    return list(answer.generations)


async def ended(pictor: Gateway, generations: list[Generation]) -> list[Generation]:
    """The same generations once they have ended, however."""

    async def end(generation: Generation) -> Generation:
        call = pictor.history.WatchGeneration(history.WatchGenerationRequest(generation_id=generation.id))
        with suppress(grpc.aio.AioRpcError):  # a failure ends a watch with its status; the record tells which
            _ = [each async for each in call]
        return await pictor.get(generation.id)

    return await asyncio.gather(*(end(each) for each in generations))


# What a set brings


async def test_ten_platform_variants_have_their_platforms_shapes(pictor):
    """One brief in ten named formats gives ten pictures, each of its format's shape, at the log's price."""
    listed = await pictor.catalog.ListFormats(ListFormatsRequest())
    formats = [each for each in listed.formats if each.ratio in {"1:1", "4:5", "9:16", "16:9", "2:3", "3:2", "4:3"}][
        :10
    ]
    items = [
        (each.id, {"canvas": {"format": each.id}, "workflow": image.WORKFLOW_PLATFORM_VARIANT}) for each in formats
    ]
    steps = await drawn(pictor, a_set(items))

    ends, shapes = finished(steps), {each.id: each for each in formats}
    assert len(formats) == len(ends) == steps[-1].summary.succeeded_count == 10
    for (key, _), generation in ends.items():
        picture, width, height = generation.outputs[0].image, *map(int, shapes[key].ratio.split(":"))
        assert picture.width_px / picture.height_px == pytest.approx(width / height, rel=0.02)
        assert hashlib.sha256(pictures(steps)[picture.id]).hexdigest() == picture.sha256
    assert steps[-1].summary.cost.amount.nanos == pictor.charged_nanos() > 0


async def test_six_slides_on_both_engines_are_twelve_pictures_from_their_own_prompts(pictor):
    """Every slide's prompt reaches both engines unchanged and once, and every picture is whole."""
    items = [(f"s{number}", {"prompt": prompt}) for number, prompt in enumerate(SLIDES)]
    steps = await drawn(pictor, a_set(items, models=[GPT, NANO], workflow=image.WORKFLOW_CAROUSEL))

    asked = Counter((request.provider, request.prompt) for request in pictor.sandbox.requests)
    assert asked == Counter((provider, prompt) for provider in ("openai", "gemini") for prompt in SLIDES)
    assert set(finished(steps)) == {(f"s{number}", model) for number in range(6) for model in (GPT, NANO)}
    hashes = sorted(hashlib.sha256(data).hexdigest() for data in pictures(steps).values())
    assert hashes == sorted(end.outputs[0].image.sha256 for end in finished(steps).values())
    assert (steps[0].set_accepted.output_count, steps[-1].summary.succeeded_count) == (12, 12)
    assert steps[-1].summary.cost.amount.nanos == pictor.charged_nanos()
    assert steps[0].set_accepted.estimated_cost.nanos >= pictor.charged_nanos()


async def test_every_member_has_a_gapless_log_of_its_own(pictor):
    """Members' events are mixed as they land; each one's sequence counts 1, 2, 3 … without a gap."""
    steps = await drawn(pictor, a_set(["a", "b", "c"], models=[GPT, NANO]))

    logs = defaultdict(list)
    for step in steps:
        if step.HasField("event") and not step.event.HasField("image_chunk"):
            logs[step.generation_id].append(step.event.sequence)
    assert len(logs) == 6
    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in logs.values())


async def test_a_member_that_fails_fails_alone_and_the_sum_is_right(pictor):
    """One slide is refused by its engine: the others come, the summary counts it, and the invoice agrees."""
    refuse = {"reason": "IMAGE_SAFETY"}
    pictor.sandbox.faults.add("finish_reason", provider="gemini", args=refuse, match={"prompt_contains": "slide 3"})
    items = [(f"s{number}", {"prompt": prompt}) for number, prompt in enumerate(SLIDES, 1)]
    steps = await drawn(pictor, a_set(items, **SMALL))

    assert failed(steps) == {"s3": (grpc.StatusCode.FAILED_PRECONDITION.value[0], "CONTENT_POLICY")}
    assert set(finished(steps)) == {(f"s{number}", "") for number in (1, 2, 4, 5, 6)}
    summary = steps[-1].summary
    assert (summary.succeeded_count, summary.failed_count, len(summary.generation_ids)) == (5, 1, 6)
    assert summary.cost.amount.nanos == pictor.charged_nanos()
    states = Counter(each.state for each in await members(pictor, summary.set_id))
    assert states == {Generation.STATE_SUCCEEDED: 5, Generation.STATE_FAILED: 1}


async def test_forty_outputs_are_a_set_and_forty_one_are_none(pictor):
    """Items by models by count: 40 is the most, and what is over is refused before any of it is drawn."""
    keys = [str(number) for number in range(41)]
    whole = await drawn(pictor, a_set(keys[:20], count=2, max_inline_bytes=0, **SMALL))
    requests = len(pictor.sandbox.requests)
    for over in (a_set(keys, **SMALL), a_set(keys[:7], models=[GPT, NANO], count=3)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await drawn(pictor, over)
        assert refusal(caught.value).reason == "COUNT_OUT_OF_RANGE"

    assert (whole[-1].summary.succeeded_count, requests) == (40, 40)
    assert len(pictor.sandbox.requests) == requests


async def test_a_member_that_breaks_inside_says_so_without_the_reason(pictor, caplog, monkeypatch):
    """Whatever breaks while a member is accepted, its reader hears INTERNAL, not silence and not the fault's text."""
    opened = pictor.app.store.open

    async def broken(opening):
        if opening.generation.request.prompt == "slide 2: b":
            raise RuntimeError("secret-7f3a")
        return await opened(opening)

    monkeypatch.setattr(pictor.app.store, "open", broken)
    items = [(f"s{number}", {"prompt": prompt}) for number, prompt in enumerate(SLIDES, 1)]
    steps = await drawn(pictor, a_set(items, **SMALL))

    assert failed(steps) == {"s2": (grpc.StatusCode.INTERNAL.value[0], "INTERNAL")}
    assert "secret-7f3a" not in str([step.item_failed for step in steps])
    assert "secret-7f3a" in caplog.text
    assert (steps[-1].summary.succeeded_count, steps[-1].summary.failed_count) == (5, 1)


# One limit for all


async def test_one_limit_lets_as_many_through_as_it_pays_for(pictor):
    """Ten items under a limit for four: four are drawn, six are MAX_COST, and never more than the limit is charged."""
    plan = await pictor.images.Plan(service.PlanRequest(generate=a_set(["a"], **SMALL).brief))
    limit = plan.worst_case_cost.nanos * 4 + plan.worst_case_cost.nanos // 2
    steps = await drawn(pictor, a_set([str(n) for n in range(10)], max_cost=image.Money(nanos=limit), **SMALL))

    assert len(finished(steps)) == steps[-1].summary.succeeded_count == 4
    assert set(failed(steps).values()) == {(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "MAX_COST")}
    assert len(pictor.sandbox.requests) == 4
    assert 0 < pictor.charged_nanos() == steps[-1].summary.cost.amount.nanos <= limit
    assert await pictor.app.store.spent(f"set:{steps[-1].summary.set_id}") == pictor.charged_nanos()


@pytest.mark.parametrize("keys", ["a", "abc"])
async def test_a_limit_that_is_too_low_says_which_one_would_do(pictor, keys):
    """Whoever gives the limit of the text gets the whole set; one item too many is told, and the others are drawn."""
    plan = await pictor.images.Plan(service.PlanRequest(generate=a_set(["a"], **SMALL).brief))
    worst = plan.worst_case_cost.nanos
    too_low = image.Money(nanos=worst * len(keys) - worst // 2)
    steps = await drawn(pictor, a_set(keys, max_cost=too_low, **SMALL))

    (text,) = [step.item_failed.text for step in steps if step.HasField("item_failed")]
    told = re.fullmatch(r"max_cost: needs .* is left\. What would help: a max_cost of \$([0-9.]+)(.*)", text)
    assert told
    assert told[2] == {"a": "", "abc": " for all 3 pictures of the set, or fewer items"}[keys]
    enough = await drawn(pictor, a_set(keys, max_cost=image.Money(nanos=parse_usd(told[1])), **SMALL))

    assert (failed(enough), len(finished(enough))) == ({}, len(keys))


async def test_room_that_a_lost_answer_took_is_no_matter_of_the_sets_price(pictor):
    """The limit is enough for what all items cost at first; what would do now nobody can say, so nothing is said."""
    plan = await pictor.images.Plan(service.PlanRequest(generate=a_set(["a"]).brief))
    brief = {"max_cost": image.Money(nanos=plan.worst_case_cost.nanos * 2), "request_id": "mine"}
    await drawn(pictor, a_set(["a"], **brief), metadata=[("x-sandbox-fault", "gemini:reset_before_response")])

    steps = await drawn(pictor, a_set(["a", "b"], **brief))

    (text,) = [step.item_failed.text for step in steps if step.HasField("item_failed")]
    assert re.fullmatch(r"max_cost: needs \S+ at worst, \S+ of \S+ is left", text)


async def test_the_limit_counts_what_may_have_been_paid_for_lost_answers(pictor):
    """An answer that was lost stays held under the set's limit, so its fallback may find no room."""
    limit = image.Money(nanos=80_000_000)
    lost = [("x-sandbox-fault", "gemini:reset_before_response")]
    steps = await drawn(pictor, a_set(["a"], max_cost=limit), metadata=lost)

    assert failed(steps) == {"a": (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "MAX_COST")}
    assert len(pictor.sandbox.requests) == 1
    assert 0 < pictor.charged_nanos() <= steps[-1].summary.cost.amount.nanos <= limit.nanos


async def test_a_limit_that_pays_for_nothing_sends_nothing(pictor):
    """All items fail as MAX_COST, the stream itself ends well, and no engine hears of it."""
    steps = await drawn(pictor, a_set(["a", "b"], max_cost=image.Money(nanos=1)))

    assert {reason for _, reason in failed(steps).values()} <= {"MAX_COST", "PRICE_CEILING"}
    assert (steps[-1].summary.failed_count, steps[-1].summary.cost.amount.nanos) == (2, 0)
    assert len(pictor.sandbox.requests) == 0


async def test_a_limit_is_remembered_as_long_as_the_set():
    """After a month nothing of a set is left, and no sum for its limit either."""
    later = timedelta()
    async with gateway(outside=Outside(now=lambda: datetime.now(UTC) + later)) as pictor:
        steps = await drawn(pictor, a_set(["a"], max_cost=image.Money(units=1), **SMALL))
        scope = f"set:{steps[-1].summary.set_id}"
        assert await pictor.app.store.spent(scope) == pictor.charged_nanos()

        later = timedelta(days=30, seconds=1)

        assert await members(pictor, steps[-1].summary.set_id) == []
        assert await pictor.app.store.spent(scope) == 0


# Again


async def test_a_set_sent_again_replays_every_member_without_paying(pictor):
    """The same request id gives the same set, generations and bytes; the charge log does not grow."""
    request = a_set([("a", {"prompt": "one"}), ("b", {"prompt": "two"})], models=[GPT, NANO], request_id="the-set")
    first = await drawn(pictor, request)
    again = await drawn(pictor, request)

    assert len(pictor.sandbox.charges) == 4
    assert again[-1].summary == first[-1].summary
    assert pictures(again) == pictures(first)
    assert all(end.replayed for end in finished(again).values())
    assert not any(end.replayed for end in finished(first).values())


async def test_a_set_sent_again_when_its_logs_are_gone_brings_every_end():
    """Minutes later the members' logs are forgotten; each still says how it ended, and is not paid again."""
    later = 0.0
    async with gateway(outside=Outside(clock=lambda: time.monotonic() + later)) as pictor:
        request = a_set(["a", "b"], request_id="the-set", **SMALL)
        first = await drawn(pictor, request)
        later = 301.0
        again = await drawn(pictor, request)

        assert {key: end.id for key, end in finished(again).items()} == {
            key: end.id for key, end in finished(first).items()
        }
        assert all(end.replayed for end in finished(again).values())
        assert (again[-1].summary, len(pictor.sandbox.charges)) == (first[-1].summary, 2)


async def test_a_set_sent_again_while_it_runs_is_joined(pictor):
    """Two clients with one request id share every send."""
    request = a_set([str(n) for n in range(6)], request_id="twins", **SMALL)
    one, other = await asyncio.gather(drawn(pictor, request), drawn(pictor, request))

    assert len(pictor.sandbox.charges) == 6
    assert one[-1].summary == other[-1].summary
    assert pictures(one) == pictures(other)


async def test_a_set_sent_again_draws_only_what_failed_for_free(pictor):
    """A member that found no engine cost nothing and is tried again; the others are replayed."""
    pictor.sandbox.faults.add("unavailable", provider="gemini", times=1, match={"prompt_contains": "two"})
    items = [("a", {"prompt": "one"}), ("b", {"prompt": "two"})]
    request = a_set(items, request_id="again", **SMALL)
    first = await drawn(pictor, request)
    again = await drawn(pictor, request)

    assert set(failed(first)) == {"b"}
    assert {key: end.replayed for (key, _), end in finished(again).items()} == {"a": True, "b": False}
    assert Counter(request.prompt for request in pictor.sandbox.requests) == {"one": 1, "two": 2}
    assert sum(charge.billed for charge in pictor.sandbox.charges) == 2


async def test_another_brief_under_a_sets_request_id_is_refused_member_by_member(pictor):
    """A request id means one payload, for sets too: nothing is drawn, and every member says why."""
    await drawn(pictor, a_set(["a", "b"], request_id="mine", **SMALL))
    steps = await drawn(pictor, a_set(["a", "b"], request_id="mine", prompt="a badger", **SMALL))

    assert set(failed(steps).values()) == {(grpc.StatusCode.INVALID_ARGUMENT.value[0], "IDEMPOTENCY_MISMATCH")}
    assert len(pictor.sandbox.charges) == 2


async def test_the_longest_request_id_and_keys_still_make_a_set(pictor):
    """A request id of 128 bytes and keys of 64 characters are valid alone, so they are valid together."""
    request = a_set(["k" * 64, "ü" * 64], models=[GPT], request_id="r" * 128)
    first = await drawn(pictor, request)
    again = await drawn(pictor, request)

    assert failed(first) == {}
    assert (again[-1].summary, len(pictor.sandbox.charges)) == (first[-1].summary, 2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drawn(pictor, a_set(["a"], request_id="r" * 129))
    assert refusal(caught.value).fields == ("brief.request_id",)


async def test_request_ids_and_keys_do_not_run_into_each_other(pictor):
    """Set "a/b" with item "c" and set "a" with item "b/c" are two sets."""
    one = await drawn(pictor, a_set(["c"], request_id="a/b", **SMALL))
    other = await drawn(pictor, a_set(["b/c"], request_id="a", prompt="a badger", **SMALL))

    assert (failed(one), failed(other)) == ({}, {})


# Clients that leave, or do not read


async def test_a_client_that_leaves_mid_set_loses_nothing_it_paid_for(pictor):
    """Every member that was sent is finished, stored and listed under the set's id."""
    pictor.sandbox.faults.add("stall", times=5)
    call = pictor.images.GenerateSet(a_set([str(n) for n in range(5)], **SMALL))
    set_id = dict(await call.initial_metadata())["pictor-set-id"]
    await pictor.sandbox.wait_for_stalls(5)

    call.cancel()
    pictor.sandbox.release_stalls()

    records = await ended(pictor, await members(pictor, set_id))
    assert [each.state for each in records] == [Generation.STATE_SUCCEEDED] * 5
    assert sum(each.cost.amount.nanos for each in records) == pictor.charged_nanos() > 0


async def frozen(pictor: Gateway) -> None:
    """Gemini asks for a pause, so the next calls wait."""
    pictor.sandbox.faults.add("rate_limit", provider="gemini", times=1, args={"retry_delay": "20s"})
    with pytest.raises(grpc.aio.AioRpcError):
        await pictor.images.Generate(service.GenerateRequest(prompt="the first", **SMALL))


async def test_a_client_that_leaves_takes_what_was_not_sent_with_it(pictor):
    """Members that still wait for the engine are cancelled for nothing."""
    await frozen(pictor)
    call = pictor.images.GenerateSet(a_set(["a", "b", "c"], **SMALL))
    waiting = set()
    while len(waiting) < 3:
        step = await call.read()
        waiting |= {step.item_key} if step.event.HasField("queued") else set()
    set_id = dict(await call.initial_metadata())["pictor-set-id"]

    call.cancel()

    records = await ended(pictor, await members(pictor, set_id))
    assert [(each.state, each.cost.amount.nanos) for each in records] == [(Generation.STATE_CANCELLED, 0)] * 3
    assert {request.prompt for request in pictor.sandbox.requests} == {"the first"}


async def test_a_reader_that_comes_late_gets_every_picture_whole(pictor):
    """A client that reads nothing until all is drawn slows no member down, and then gets every byte."""
    call = pictor.images.GenerateSet(a_set([str(n) for n in range(6)], models=[GPT, NANO]))
    set_id = dict(await call.initial_metadata())["pictor-set-id"]
    await pictor.sandbox.wait_for_charges(12)
    await ended(pictor, await members(pictor, set_id))

    steps = [step async for step in call]

    got = pictures(steps)
    assert len(got) == len(finished(steps)) == 12
    for end in finished(steps).values():
        picture = end.outputs[0].image
        assert hashlib.sha256(got[picture.id]).hexdigest() == picture.sha256


SMALL_WINDOW = [
    *NO_LIMIT,
    ("grpc.use_local_subchannel_pool", 1),
    # The server stalls in the first picture; with a large window the client would hold them all.
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
]


async def eight_drawn(pictor: Gateway) -> grpc.aio.UnaryStreamCall:
    charges = len(pictor.sandbox.charges)
    call = pictor.images.GenerateSet(a_set([(str(n), {"prompt": f"fox {n}"}) for n in range(8)], **SMALL))
    await call.initial_metadata()
    await pictor.sandbox.wait_for_charges(charges + 8)
    await pictor.app.jobs.running_ended()
    return call


async def let_go(pictor: Gateway) -> None:
    """Until no log holds a picture any more."""
    while any(log.size_bytes for log in pictor.app.jobs._logs.values()):  # noqa: ASYNC110 - turns of the loop
        await asyncio.sleep(0)


@asynccontextmanager
async def a_late_reader() -> AsyncIterator[tuple[Gateway, grpc.aio.UnaryStreamCall]]:
    """A set of eight whose reader comes when all of it is drawn, and retention has room for four pictures."""
    async with gateway(options=SMALL_WINDOW, database=MEMORY) as pictor:
        one = await pictor.images.Generate(service.GenerateRequest(prompt="a fox", **SMALL))
        size = one.generation.outputs[0].image.size_bytes
        pictor.app.store._retention = Retention(keep_bytes=4 * size, record_bytes=0)
        yield pictor, await eight_drawn(pictor)


def assert_whole(steps: list[Step]) -> None:
    for end in finished(steps).values():
        picture = end.outputs[0].image
        assert hashlib.sha256(pictures(steps)[picture.id]).hexdigest() == picture.sha256


async def test_a_slow_reader_gets_what_the_store_has_dropped():
    """Whatever happens to the store while a set waits for its reader, every picture is still there."""
    async with a_late_reader() as (pictor, call):
        steps = [step async for step in call]

        assert steps[-1].summary.succeeded_count == len(finished(steps)) == 8
        assert_whole(steps)
        await let_go(pictor)


async def test_a_client_that_left_takes_no_room_from_the_next(monkeypatch):
    """What waited for it in memory is let go at once."""
    async with a_late_reader() as (pictor, call):
        held = sum(log.size_bytes for log in pictor.app.jobs._logs.values())
        monkeypatch.setattr("pictord.jobs.sets.HELD_BYTES", held)
        call.cancel()
        await let_go(pictor)
        steps = [step async for step in await eight_drawn(pictor)]

        assert steps[-1].summary.succeeded_count == 8
        assert_whole(steps)


async def test_a_picture_that_is_gone_fails_its_item_alone(monkeypatch):
    """More pictures wait than memory may hold: of those that the store has dropped each says so, and the rest come."""
    monkeypatch.setattr("pictord.jobs.sets.HELD_BYTES", 0)
    async with a_late_reader() as (pictor, call):
        await let_go(pictor)
        steps = [step async for step in call]

        lost = failed(steps)
        assert set(lost.values()) == {(grpc.StatusCode.NOT_FOUND.value[0], "EXPIRED")}
        assert {key for key, _ in finished(steps)} == {str(n) for n in range(8)} - lost.keys() != set()
        assert_whole(steps)
        summary = steps[-1].summary
        assert (summary.succeeded_count, summary.failed_count) == (8 - len(lost), len(lost))
        assert len(summary.generation_ids) == 8


async def test_when_a_set_is_read_its_bytes_are_let_go(pictor):
    """Five minutes of logs hold no pictures: those lie on disk."""
    steps = await drawn(pictor, a_set(["a", "b"], models=[GPT, NANO], preview_count=2))

    logs = [pictor.app.jobs.log(generation_id) for generation_id in steps[-1].summary.generation_ids]
    kept = {log.last_sequence: [log.payload(number) for number in range(1, log.last_sequence + 1)] for log in logs}
    assert len(pictures(steps)) == len(logs) == 4
    assert not any(payload for payloads in kept.values() for payload in payloads)
