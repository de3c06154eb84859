"""ImageService through the door: what comes back beside the picture, how much of it, sets, re-rolls, plans."""

import hashlib

import grpc
import pytest
import pytest_asyncio

from gateway import GPT, NANO, Gateway, gateway, refusal
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation

pytestmark = pytest.mark.asyncio(loop_scope="module")

DONE = Generation.STATE_SUCCEEDED


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor():
    async with gateway(options=()) as running:  # a client as it comes, with its 4 MiB limit
        yield running


def generate(prompt="a fox", **fields) -> service.GenerateRequest:
    return service.GenerateRequest(prompt=prompt, **fields)


async def stream(call) -> list:
    return [message async for message in call]


def pictures(events) -> dict[str, bytes]:
    """The pictures of a stream, put together from their chunks."""
    found: dict[str, bytes] = {}
    for event in events:
        if event.HasField("image_chunk"):
            chunk = event.image_chunk
            assert chunk.offset_bytes == len(found.get(chunk.image_id, b""))
            assert len(chunk.data) <= 256 * 1024
            found[chunk.image_id] = found.get(chunk.image_id, b"") + chunk.data
    return found


async def test_the_generation_id_comes_before_the_picture(pictor: Gateway):
    """Initial metadata names the generation as soon as it is accepted, while the engine still draws.

    Called as a stream, which is the same on the wire: grpc.aio hands out a unary call's metadata only with its answer.
    """
    pictor.sandbox.faults.add("stall", times=1)
    as_stream = pictor.channel.unary_stream(
        "/pictor.v1.ImageService/Generate",
        request_serializer=service.GenerateRequest.SerializeToString,
        response_deserializer=service.GenerateResponse.FromString,
    )
    call = as_stream(generate("a stalled fox"))
    metadata = dict(await call.initial_metadata())
    await pictor.sandbox.wait_for_stalls(1)
    running = await pictor.get(metadata["pictor-generation-id"])
    pictor.sandbox.release_stalls()
    (response,) = await stream(call)

    assert running.state == Generation.STATE_RUNNING
    assert response.generation.id == metadata["pictor-generation-id"]


async def test_trailers_say_model_cost_and_time(pictor: Gateway):
    """Load tests and logs get the essentials without reading the message, unary and streamed."""
    unary = pictor.images.Generate(generate())
    generation = (await unary).generation
    streamed = pictor.images.GenerateStream(service.GenerateStreamRequest(request=generate()))
    await stream(streamed)

    for trailers in (dict(await unary.trailing_metadata()), dict(await streamed.trailing_metadata())):
        assert trailers["pictor-model"] == NANO
        assert int(trailers["pictor-cost-nanos"]) > 0
        spans = [part.split(";dur=") for part in trailers["server-timing"].split(", ")]
        assert [name for name, _ in spans] == ["queue", "provider", "store", "overhead"]
        assert all(float(value) >= 0 for _, value in spans)
    assert generation.cost.amount.nanos == int(dict(await unary.trailing_metadata())["pictor-cost-nanos"])


@pytest.mark.parametrize(
    ("bound", "inlined"), [(None, 1), (0, 0), (1, 0), (100_000_000, 1)], ids=["unset", "none", "too little", "plenty"]
)
async def test_bytes_come_as_far_as_they_were_asked_for(pictor: Gateway, bound, inlined):
    """Over `max_inline_bytes` a picture is described and not sent."""
    asked = generate(max_inline_bytes=bound) if bound is not None else generate()
    drawn = (await pictor.images.Generate(asked)).generation.outputs[0].image

    assert bool(drawn.data) == bool(inlined)
    assert not drawn.data or hashlib.sha256(drawn.data).hexdigest() == drawn.sha256
    assert drawn.size_bytes > 1000


async def test_many_pictures_stay_below_a_clients_limit(pictor: Gateway):
    """Ten pictures in one unary answer: those that fit into 3 MiB come along, the others are fetched."""
    answer = await pictor.images.Generate(generate(count=10))
    drawn = [output.image for output in answer.generation.outputs]
    inlined = [each for each in drawn if each.data]

    assert len(drawn) == 10
    assert 0 < len(inlined) < 10
    assert sum(len(each.data) for each in inlined) <= 3 * 1024 * 1024
    assert answer.ByteSize() < 4 * 1024 * 1024


async def test_a_4k_picture_reaches_a_default_client_in_chunks(pictor: Gateway):
    """A picture far over 4 MiB arrives whole on a stream, with nothing set on the client."""
    asked = generate(canvas={"resolution": image.RESOLUTION_4K, "ratio": "16:9"}, model=GPT)
    messages = await stream(pictor.images.GenerateStream(service.GenerateStreamRequest(request=asked)))
    events = [message.event for message in messages]
    drawn = events[-1].completed.generation.outputs[0].image
    data = pictures(events)[drawn.id]

    assert drawn.size_bytes == len(data) > 4 * 1024 * 1024
    assert hashlib.sha256(data).hexdigest() == drawn.sha256
    assert not drawn.data


async def test_a_stream_bounds_its_pictures_when_asked(pictor: Gateway):
    """With `max_inline_bytes` 0 a stream tells everything and sends no picture."""
    messages = await stream(
        pictor.images.GenerateStream(service.GenerateStreamRequest(request=generate(max_inline_bytes=0)))
    )
    events = [message.event for message in messages]

    assert pictures(events) == {}
    assert [event.image.chunks_follow for event in events if event.HasField("image")] == [False]
    assert events[-1].HasField("completed")


async def test_a_failure_ends_a_stream_with_a_status_not_an_event(pictor: Gateway):
    """What a stream ends with when no engine draws is an error, after the events that tell why."""
    call = pictor.images.GenerateStream(
        service.GenerateStreamRequest(request=generate("refused")),
        metadata=[("x-sandbox-fault", "gemini:finish_reason;reason=IMAGE_SAFETY")],
    )
    seen = [(await call.read()).event.WhichOneof("event") for _ in range(3)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    found = refusal(caught.value)

    assert seen == ["accepted", "attempt_started", "attempt_failed"]
    assert (found.code, found.reason) == ("FAILED_PRECONDITION", "CONTENT_POLICY")
    assert found.trailers["pictor-generation-id"] == dict(await call.initial_metadata())["pictor-generation-id"]


async def test_a_streamed_replay_says_so(pictor: Gateway):
    """The same request id on a stream gives the same log again, and the end is marked as replayed."""
    asked = service.GenerateStreamRequest(request=generate(request_id="streamed-twice"))
    first = [message.event for message in await stream(pictor.images.GenerateStream(asked))]
    again = [message.event for message in await stream(pictor.images.GenerateStream(asked))]

    assert [event.sequence for event in again] == [event.sequence for event in first]
    assert pictures(again) == pictures(first)
    assert [events[-1].completed.generation.replayed for events in (first, again)] == [False, True]


async def test_a_reroll_goes_to_the_other_engine_and_keeps_the_lineage(pictor: Gateway):
    """Reroll draws the same request on the other engine, as a generation of its own."""
    first = (await pictor.images.Generate(generate("a rerolled fox"))).generation
    messages = await stream(pictor.images.Reroll(service.RerollRequest(generation_id=first.id)))
    second = messages[-1].event.completed.generation

    assert second.request.prompt == "a rerolled fox"
    assert (second.lineage.reroll_of, second.decision.row) == (first.id, "explicit")
    assert [attempt.model for attempt in (*first.attempts, *second.attempts)] == [NANO, GPT]


async def test_a_set_brings_every_item_and_one_summary(pictor: Gateway):
    """A set's stream begins with its size and price and ends with what became of it; steps name their item."""
    call = pictor.images.GenerateSet(
        service.GenerateSetRequest(
            brief=generate("a fox in a set"),
            items=[{"key": "story", "canvas": {"format": "instagram/story"}}, {"key": "den", "prompt": "its den"}],
            models=[GPT, NANO],
        )
    )
    messages = await stream(call)
    accepted, summary = messages[0].set_accepted, messages[-1].summary
    ends = {
        (message.item_key, message.model): message.event.completed.generation
        for message in messages
        if message.event.HasField("completed")
    }

    assert dict(await call.initial_metadata())["pictor-set-id"] == accepted.set_id == summary.set_id
    assert (accepted.output_count, summary.succeeded_count, summary.failed_count) == (4, 4, 0)
    assert set(ends) == {("story", GPT), ("story", NANO), ("den", GPT), ("den", NANO)}
    assert all(end.lineage.set_id == summary.set_id for end in ends.values())
    assert sorted(summary.generation_ids) == sorted(end.id for end in ends.values())
    assert summary.cost.amount.nanos == sum(end.cost.amount.nanos for end in ends.values())
    got = pictures([message.event for message in messages])
    for end in ends.values():
        drawn = end.outputs[0].image
        assert hashlib.sha256(got[drawn.id]).hexdigest() == drawn.sha256


async def test_one_item_of_a_set_fails_alone(pictor: Gateway):
    """An item that cannot be drawn tells its status; the others and the summary come all the same."""
    messages = await stream(
        pictor.images.GenerateSet(
            service.GenerateSetRequest(
                brief=generate(), items=[{"key": "good"}, {"key": "odd", "canvas": {"format": "fax/page"}}]
            )
        )
    )
    failures = [(m.item_key, m.item_failed.code, m.item_failed.reason) for m in messages if m.HasField("item_failed")]

    assert failures == [("odd", grpc.StatusCode.INVALID_ARGUMENT.value[0], "FORMAT_UNKNOWN")]
    assert (messages[-1].summary.succeeded_count, messages[-1].summary.failed_count) == (1, 1)


async def test_a_plan_prices_all_outputs_and_sends_nothing(pictor: Gateway):
    """Plan names row, candidates and price, and nothing reaches an engine."""
    before = len(pictor.sandbox.requests)
    plan = await pictor.images.Plan(service.PlanRequest(generate=generate(count=3, tier=image.TIER_PRO)))
    first = plan.plan.candidates[0]

    assert (plan.plan.row, first.model, first.quality) == ("pro", GPT, "high")
    assert plan.worst_case_cost.nanos == 3 * first.worst_case_cost.nanos
    assert plan.expected_cost.nanos == 3 * first.expected_cost.nanos
    assert not plan.HasField("refusal")
    assert len(pictor.sandbox.requests) == before


async def test_a_plan_tells_what_would_be_refused(pictor: Gateway):
    """What Generate would refuse for a reason beyond its fields comes as `refusal`, not as an error."""
    plan = await pictor.images.Plan(service.PlanRequest(generate=generate(), timeout={"seconds": 1}))

    assert plan.refusal.reason == "DEADLINE_TOO_SHORT"
    assert not plan.plan.candidates


async def test_a_plan_foresees_the_daily_cap():
    """With less left of the day than the first candidate may cost, Plan refuses in the very words of Generate."""
    async with gateway(real=True, daily_cap_nanos=200_000_000) as pictor:
        fits = await pictor.images.Plan(service.PlanRequest(generate=generate(count=2)))
        await pictor.images.Generate(generate(count=2))
        over = await pictor.images.Plan(service.PlanRequest(generate=generate(count=2)))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pictor.images.Generate(generate(count=2))

    assert not fits.HasField("refusal")
    assert over.plan.candidates[0].model == NANO
    assert over.refusal.reason == refusal(refused.value).reason == "DAILY_CAP"
    assert over.refusal.text == refused.value.details()
