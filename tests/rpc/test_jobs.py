"""One call through the door: the right engine, failover, money, and who may stop what."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import grpc
import pytest

import gateway as door
from gateway import GPT, NANO, Gateway, gateway, refusal
from pictor.v1 import image_pb2
from pictor.v1.generation_pb2 import Adaptation
from pictor.v1.generation_pb2 import Generation as GenerationMessage
from pictor.v1.history_service_pb2 import CancelGenerationRequest, GetGenerationRequest, WatchGenerationRequest
from pictor.v1.image_service_pb2 import GenerateRequest, GenerateStreamRequest

PRO, STANDARD = image_pb2.TIER_PRO, image_pb2.TIER_STANDARD
SMALL = {"canvas": image_pb2.Canvas(ratio="8:5")}
DONE, FAILED, CANCELLED = (
    GenerationMessage.STATE_SUCCEEDED,
    GenerationMessage.STATE_FAILED,
    GenerationMessage.STATE_CANCELLED,
)


@pytest.fixture
async def pictor() -> AsyncIterator[Gateway]:
    async with gateway() as running:
        yield running


def fault(text: str) -> tuple[tuple[str, str], ...]:
    return (("x-sandbox-fault", text),)


async def draw(pictor: Gateway, *, metadata=None, timeout=None, **fields) -> GenerationMessage:
    request = GenerateRequest(**({"prompt": "a red fox"} | fields))
    return (await pictor.images.Generate(request, metadata=metadata, timeout=timeout)).generation


async def refused(call) -> door.Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


def outcomes(generation: GenerationMessage) -> list[tuple[str, str]]:
    return [(attempt.model, attempt.outcome) for attempt in generation.attempts]


def kinds(generation: GenerationMessage) -> list[str]:
    return [Adaptation.Kind.Name(each.kind).removeprefix("KIND_") for each in generation.adaptations]


# One call, the right engine


async def test_a_prompt_alone_gives_a_picture_with_its_reason_and_its_price(pictor):
    """`{prompt}` is a valid request, answered by the standard row at the invoice's cost."""
    generation = await draw(pictor)

    image = generation.outputs[0].image
    assert generation.decision.row == "standard"
    assert outcomes(generation) == [(NANO, "image")]
    assert (image.width_px, image.height_px, image.mime_type) == (1024, 1024, "image/jpeg")
    assert hashlib.sha256(image.data).hexdigest() == image.sha256
    assert generation.cost.amount.nanos == pictor.charged_nanos() > 0
    assert generation.cost.basis == image_pb2.COST_BASIS_REPORTED
    assert generation.sandbox


async def test_pro_is_drawn_by_gpt_image_2_at_high(pictor):
    """The tier decides the engine and its quality."""
    generation = await draw(pictor, tier=PRO, **SMALL)

    assert outcomes(generation) == [(GPT, "image")]
    assert generation.attempts[0].quality == image_pb2.QUALITY_HIGH
    assert pictor.sandbox.requests[0].params["quality"] == "high"
    assert generation.cost.amount.nanos == pictor.charged_nanos()


async def test_the_prompt_reaches_the_engine_unchanged(pictor):
    """Not a byte is added or lost, whatever the script."""
    prompt = "  Ein Füchslein — „schläft“ 🦊\nzweite Zeile\t"

    await draw(pictor, prompt=prompt)

    assert pictor.sandbox.requests[0].prompt == prompt


# Failover


async def test_a_rate_limited_engine_is_replaced_and_both_attempts_are_told(pictor):
    """The caller gets its picture; the record says who failed and what was reduced."""
    generation = await draw(pictor, tier=PRO, metadata=fault("openai:rate_limit;retry_after=7"))

    assert outcomes(generation) == [(GPT, "rate_limited"), (NANO, "image")]
    assert kinds(generation) == ["QUALITY_REDUCED"]
    assert generation.attempts[0].cost.amount.nanos == 0
    assert generation.cost.amount.nanos == pictor.charged_nanos()


async def test_nothing_is_sent_into_a_freeze(pictor):
    """After Retry-After the limiter holds the engine back, and the next caller goes straight to the other."""
    await draw(pictor, tier=PRO, metadata=fault("openai:rate_limit;retry_after=600"))

    generation = await draw(pictor, tier=PRO, prompt="another fox")

    assert ("openai", "another fox") not in {(r.provider, r.prompt) for r in pictor.sandbox.requests}
    assert generation.attempts[-1].model == NANO


async def test_a_standard_request_falls_back_at_medium_never_high(pictor):
    """The cost floor holds in a failover too."""
    generation = await draw(pictor, metadata=fault("gemini:unavailable"))

    assert outcomes(generation) == [(NANO, "overloaded"), (GPT, "image")]
    assert generation.attempts[1].quality == image_pb2.QUALITY_MEDIUM
    assert kinds(generation) == []


async def test_a_refusal_is_not_taken_to_the_other_engine(pictor):
    """A moderation refusal ends the call with CONTENT_POLICY, and names the generation."""
    error = await refused(draw(pictor, metadata=fault("gemini:finish_reason;reason=IMAGE_SAFETY")))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "CONTENT_POLICY")
    assert {r.provider for r in pictor.sandbox.requests} == {"gemini"}
    record = await pictor.get(error.trailers["pictor-generation-id"])
    assert record.state == FAILED
    assert record.cost.amount.nanos == pictor.charged_nanos()


async def test_two_lost_answers_are_two_unknown_holds_and_an_error_that_forbids_retries(pictor):
    """Sent twice, answered never: the money stays held at the estimate, and clients must not retry."""
    faults = fault("gemini:reset_before_response,openai:reset_before_response")

    error = await refused(draw(pictor, metadata=faults))

    record = await pictor.get(error.trailers["pictor-generation-id"])
    assert (error.code, error.reason) == ("ABORTED", "PROVIDER_FAILED")
    assert error.trailers["grpc-retry-pushback-ms"] == "-1"
    assert outcomes(record) == [(NANO, "server_error"), (GPT, "server_error")]
    assert record.cost.basis == image_pb2.COST_BASIS_UNKNOWN
    assert record.cost.amount.nanos >= pictor.charged_nanos() > 0


async def test_at_most_two_sends_for_one_output(pictor):
    """However often engines fail, a third send never happens."""
    await refused(draw(pictor, metadata=fault("gemini:internal,openai:server_error")))

    assert len(pictor.sandbox.requests) == 2


async def test_no_fallback_means_one_send(pictor):
    """`allow_fallback = false` is obeyed."""
    error = await refused(draw(pictor, allow_fallback=False, metadata=fault("gemini:unavailable")))

    assert (error.code, error.reason) == ("UNAVAILABLE", "PROVIDERS_UNAVAILABLE")
    assert len(pictor.sandbox.requests) == 1


async def test_max_cost_bounds_the_fallback_too(pictor):
    """A lost first answer stays held, and what is left of max_cost does not pay for the second engine."""
    cost = image_pb2.Money(nanos=80_000_000)

    error = await refused(draw(pictor, max_cost=cost, metadata=fault("gemini:reset_before_response")))

    assert error.reason == "MAX_COST"
    assert len(pictor.sandbox.requests) == 1


async def test_three_outputs_are_three_sends_with_partial_success(pictor):
    """One output may fail alone; the others are delivered."""
    pictor.sandbox.faults.add(
        "finish_reason", provider="gemini", args={"reason": "IMAGE_SAFETY"}, times=1, match={"prompt_contains": "fox"}
    )

    generation = await draw(pictor, count=3)

    states = sorted(GenerationMessage.State.Name(output.state) for output in generation.outputs)
    assert generation.state == DONE
    assert states == ["STATE_FAILED", "STATE_SUCCEEDED", "STATE_SUCCEEDED"]
    assert [output.reason for output in generation.outputs if output.reason] == ["CONTENT_POLICY"]
    assert generation.cost.amount.nanos == pictor.charged_nanos()


# Idempotency


async def test_the_same_request_id_never_pays_twice(pictor):
    """A repeat answers the same picture, marked as replayed."""
    first = await draw(pictor, request_id="r-1")
    second = await draw(pictor, request_id="r-1")

    assert (second.id, second.replayed, first.replayed) == (first.id, True, False)
    assert second.outputs[0].image.data == first.outputs[0].image.data
    assert len(pictor.sandbox.charges) == 1


async def test_a_hundred_callers_with_one_request_id_share_one_send(pictor):
    """Whoever comes while it runs joins it."""
    answers = await asyncio.gather(*(draw(pictor, request_id="storm") for _ in range(100)))

    assert len({answer.id for answer in answers}) == 1
    assert len(pictor.sandbox.charges) == 1


async def test_another_payload_under_the_same_request_id_is_refused(pictor):
    """A request id means one request."""
    await draw(pictor, request_id="r-1")

    error = await refused(draw(pictor, request_id="r-1", prompt="a blue fox"))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "IDEMPOTENCY_MISMATCH")


async def test_a_refusal_by_the_engine_is_replayed_not_asked_again(pictor):
    """What the provider refused once is not sent again under the same id."""
    metadata = fault("gemini:finish_reason;reason=IMAGE_SAFETY")
    await refused(draw(pictor, request_id="r-1", metadata=metadata))

    error = await refused(draw(pictor, request_id="r-1"))

    assert error.reason == "CONTENT_POLICY"
    assert len(pictor.sandbox.requests) == 1


async def test_a_failure_that_cost_nothing_may_be_tried_again(pictor):
    """Rate limits are no result."""
    await refused(draw(pictor, request_id="r-1", allow_fallback=False, metadata=fault("gemini:unavailable")))

    generation = await draw(pictor, request_id="r-1", allow_fallback=False)

    assert generation.state == DONE
    assert not generation.replayed


# Who is gone


async def stalled(pictor: Gateway, **fields) -> tuple[grpc.aio.UnaryUnaryCall, str]:
    """A unary call whose engine is drawing and does not answer yet."""
    pictor.sandbox.faults.add("stall", times=1)
    call = pictor.images.Generate(GenerateRequest(prompt="a slow fox", request_id="slow", **fields))
    await pictor.sandbox.wait_for_stalls(1)
    # Python's unary calls show initial metadata only with the answer; the request id tells the same earlier.
    answer = await pictor.history.GetGeneration(GetGenerationRequest(request_id="slow"))
    return call, answer.generation.id


async def queued(pictor: Gateway, **fields) -> tuple[grpc.aio.UnaryStreamCall, str]:
    """A call that waits behind a rate limit, with no other engine to go to."""
    pictor.app.guards.disable("openai", "for this test")
    retry_delay = fields.pop("retry_delay", "20s")
    pictor.sandbox.faults.add("rate_limit", provider="gemini", times=1, args={"retry_delay": retry_delay})
    await refused(draw(pictor))
    request = GenerateRequest(prompt="a queued fox", **fields)
    call = pictor.images.GenerateStream(GenerateStreamRequest(request=request))
    return call, dict(await call.initial_metadata())["pictor-generation-id"]


async def watched(pictor: Gateway, generation_id: str) -> list[str]:
    """The kinds of the events until the end."""
    return await read(pictor.history.WatchGeneration(WatchGenerationRequest(generation_id=generation_id)))


async def test_a_client_that_goes_away_does_not_stop_a_sent_call(pictor):
    """The picture is paid for, so it is finished, stored and can be fetched."""
    call, generation_id = await stalled(pictor)
    call.cancel()
    pictor.sandbox.release_stalls()

    await watched(pictor, generation_id)

    record = await pictor.get(generation_id)
    assert record.state == DONE
    assert record.cost.amount.nanos == pictor.charged_nanos()


async def test_the_rpc_deadline_ends_the_wait_not_the_call():
    """After DEADLINE_EXCEEDED the call runs on, the same request_id brings the picture, and it is paid once."""
    # gRPC's deadlines are wall time; with engines that are usually done in milliseconds a short one is accepted.
    async with gateway(time_scale=0.001) as pictor:
        pictor.sandbox.faults.add("stall", times=1)

        error = await refused(draw(pictor, request_id="r-1", timeout=1.5))
        record = (await pictor.history.GetGeneration(GetGenerationRequest(request_id="r-1"))).generation
        pictor.sandbox.release_stalls()
        again = await draw(pictor, request_id="r-1")

        assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "")
        assert record.state == GenerationMessage.STATE_RUNNING
        assert (again.id, again.state) == (record.id, DONE)
        assert len(pictor.sandbox.charges) == 1


async def test_a_queued_call_is_released_when_its_client_goes_away(pictor):
    """What was not sent is not sent any more."""
    call, generation_id = await queued(pictor)

    call.cancel()
    await refused(watched(pictor, generation_id))

    record = await pictor.get(generation_id)
    assert record.state == CANCELLED
    assert record.cost.amount.nanos == 0
    assert "a queued fox" not in {request.prompt for request in pictor.sandbox.requests}


async def test_on_disconnect_finish_runs_queued_work_too(pictor):
    """Submit and leave: the work is done although nobody waits."""
    call, generation_id = await queued(pictor, on_disconnect=image_pb2.ON_DISCONNECT_FINISH, retry_delay="0.2s")
    call.cancel()

    await watched(pictor, generation_id)

    assert (await pictor.get(generation_id)).state == DONE


async def test_cancelling_a_sent_generation_lets_it_finish(pictor):
    """What was sent is paid for: CancelGeneration answers RUNNING, and the picture comes."""
    call, generation_id = await stalled(pictor)

    answer = await pictor.history.CancelGeneration(CancelGenerationRequest(generation_id=generation_id))
    pictor.sandbox.release_stalls()

    assert answer.generation.state == GenerationMessage.STATE_RUNNING
    assert (await call).generation.state == DONE


async def test_cancelling_a_queued_generation_ends_it_at_once_for_free(pictor):
    """Nothing was sent, so nothing is owed."""
    call, generation_id = await queued(pictor)

    answer = await pictor.history.CancelGeneration(CancelGenerationRequest(generation_id=generation_id))

    assert answer.generation.state == CANCELLED
    error = await refused(read(call))
    assert (error.code, error.reason) == ("CANCELLED", "CANCELLED")


async def read(call: grpc.aio.UnaryStreamCall) -> list[str]:
    return [response.event.WhichOneof("event") async for response in call]


# Deadlines


async def test_a_deadline_that_cannot_be_met_is_refused_at_once_for_free(pictor):
    """The text says how long it would take and how long there is."""
    error = await refused(draw(pictor, tier=PRO, allow_fallback=False, timeout=5))

    assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_TOO_SHORT")
    assert "needs" in error.text
    assert len(pictor.sandbox.requests) == 0


async def test_a_fallback_that_no_longer_fits_is_not_started():
    """Gemini failed, and gpt-image-2 would not be done in time."""
    async with gateway() as pictor:
        error = await refused(draw(pictor, metadata=fault("gemini:unavailable"), timeout=30))

        assert error.reason == "PROVIDERS_UNAVAILABLE"
        assert len(pictor.sandbox.requests) == 1


# Drain


async def test_draining_refuses_new_work_and_finishes_what_runs():
    """In-flight calls are not lost at shutdown."""
    async with gateway(drain_s=30.0) as pictor:
        call, _ = await stalled(pictor)
        draining = asyncio.ensure_future(pictor.app.drain())
        while not pictor.app.jobs.is_draining:  # noqa: ASYNC110 - turns of the loop, no wait
            await asyncio.sleep(0)
        error = await refused(draw(pictor, prompt="too late"))
        pictor.sandbox.release_stalls()
        await draining

        assert (error.code, error.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
        assert (await call).generation.state == DONE


async def test_what_outlives_the_drain_stays_held_as_unknown():
    """A sent call that is given up at shutdown is never booked as free."""
    async with gateway(drain_s=0.0) as pictor:
        call, generation_id = await stalled(pictor)

        await pictor.app.drain()

        record = await pictor.app.store.get(generation_id)
        assert record.attempts[0].outcome == "shutdown"
        assert record.cost.basis == "unknown"
        assert record.cost.nanos > 0
        error = await refused(call)
        assert error.reason == "SHUTTING_DOWN"
