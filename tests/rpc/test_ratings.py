"""RateGeneration and GetScorecard through the door: who may say what of which picture, and the sum of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import pytest_asyncio

from gateway import GPT, NANO, Gateway, Refusal, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1 import usage_service_pb2 as usage
from pictor.v1.generation_pb2 import Generation
from pictor.v1.usage_service_pb2_grpc import UsageServiceStub
from pictord.auth.callers import hash_key
from pictord.domain.caller import Role
from pictord.settings import CallerTable

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = {name: f"pictor_{name}-key-44fe" for name in ("studio", "shop", "voter", "platform")}
STUDIO, SHOP, VOTER, OPERATOR = ([("x-api-key", key)] for key in KEYS.values())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor() -> AsyncIterator[Gateway]:
    roles = {"platform": Role.OPERATOR}
    callers = tuple(
        CallerTable(name, keys=(hash_key(key),), role=roles.get(name, Role.CALLER)) for name, key in KEYS.items()
    )
    async with gateway(callers=callers) as running:
        yield running


async def draw(pictor: Gateway, who=STUDIO, metadata=(), **fields) -> Generation:
    request = service.GenerateRequest(**({"prompt": "a fox", "model": NANO, "preview_count": 0} | fields))
    return (await pictor.images.Generate(request, metadata=[*who, *metadata])).generation


async def rate(pictor: Gateway, of: str, who=STUDIO, **fields) -> history.Rating:
    request = history.RateGenerationRequest(generation_id=of, **fields)
    return (await pictor.history.RateGeneration(request, metadata=who)).rating


async def scores(pictor: Gateway, who=STUDIO, **fields) -> dict[tuple[int, str], usage.Score]:
    answer = await UsageServiceStub(pictor.channel).GetScorecard(usage.GetScorecardRequest(**fields), metadata=who)
    return {(each.workflow, each.model): each for each in answer.scores}


async def refused(call) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def said(pictor: Gateway, ids: list[str], who=STUDIO) -> list[history.Rating]:
    """The ratings that a comparison tells."""
    request = history.CompareGenerationsRequest(generation_ids=ids)
    return list((await pictor.history.CompareGenerations(request, metadata=who)).ratings)


async def test_a_rating_is_read_with_the_comparison_and_the_last_one_counts(pictor):
    """Thumb, winner and words come back as they were said; saying something else replaces them."""
    first, second = (await draw(pictor)).id, (await draw(pictor)).id
    await rate(pictor, first, thumb=history.THUMB_UP, won_over_ids=[second], text="the better fox")
    (earlier,) = await said(pictor, [first, second])
    last = await rate(pictor, first, thumb=history.THUMB_DOWN, text="on second thought")

    assert (earlier.generation_id, earlier.caller, earlier.thumb) == (first, "studio", history.THUMB_UP)
    assert (list(earlier.won_over_ids), earlier.text) == ([second], "the better fox")
    assert await said(pictor, [first, second]) == [last]
    assert (last.thumb, list(last.won_over_ids)) == (history.THUMB_DOWN, [])


async def test_everybody_reads_their_own_ratings_and_operators_all(pictor):
    """What an operator said of a caller's picture is not the caller's to read."""
    made, other = (await draw(pictor)).id, (await draw(pictor)).id
    mine = await rate(pictor, made, thumb=history.THUMB_UP)
    theirs = await rate(pictor, made, OPERATOR, thumb=history.THUMB_DOWN, text="too bright")

    assert await said(pictor, [made, other]) == [mine]
    assert await said(pictor, [made, other], OPERATOR) == [mine, theirs]


async def test_what_still_runs_cannot_be_rated(pictor):
    """Neither as the one that is rated nor as one that it won over."""
    done = (await draw(pictor)).id
    pictor.sandbox.faults.add("stall", times=1)
    call = asyncio.ensure_future(draw(pictor, request_id="slow"))
    await pictor.sandbox.wait_for_stalls(1)
    running = await pictor.history.GetGeneration(history.GetGenerationRequest(request_id="slow"), metadata=STUDIO)
    running_id = running.generation.id

    rated = await refused(rate(pictor, running_id, thumb=history.THUMB_UP))
    beaten = await refused(rate(pictor, done, won_over_ids=[running_id]))
    pictor.sandbox.release_stalls()
    await call

    assert {(each.code, each.reason) for each in (rated, beaten)} == {("FAILED_PRECONDITION", "NOT_RATABLE")}
    assert rated.metadata["generation_id"] == beaten.metadata["generation_id"] == running_id
    assert "rate it when it has ended" in rated.text
    assert (await rate(pictor, running_id, thumb=history.THUMB_UP)).generation_id == running_id


async def test_what_brought_no_picture_cannot_be_rated(pictor):
    """A refusal is nobody's winner."""
    fault = [("x-sandbox-fault", "gemini:finish_reason;reason=IMAGE_SAFETY")]
    failed = (await refused(draw(pictor, metadata=fault))).trailers["pictor-generation-id"]

    found = await refused(rate(pictor, failed, thumb=history.THUMB_DOWN))

    assert (found.code, found.reason) == ("FAILED_PRECONDITION", "NOT_RATABLE")
    assert "has no picture" in found.text


async def test_anothers_pictures_cannot_be_rated(pictor):
    """Foreign and unknown ids are NOT_FOUND, wherever they stand."""
    mine, theirs = (await draw(pictor)).id, (await draw(pictor, SHOP)).id
    found = [
        await refused(rate(pictor, theirs, thumb=history.THUMB_DOWN)),
        await refused(rate(pictor, mine, won_over_ids=[theirs])),
        await refused(rate(pictor, "gen_none", thumb=history.THUMB_UP)),
    ]

    assert {(each.code, each.reason) for each in found} == {("NOT_FOUND", "NOT_FOUND")}


WRONG = [
    pytest.param({}, "thumb", id="nothing said"),
    pytest.param({"text": "hm"}, "thumb", id="words alone"),
    pytest.param({"thumb": 99}, "thumb", id="no such thumb"),
    pytest.param({"won_over_ids": ["gen_1", "gen_1"]}, "won_over_ids", id="one twice"),
    pytest.param({"won_over_ids": ["gen_self"]}, "won_over_ids", id="itself"),
    pytest.param({"won_over_ids": [f"gen_{n}" for n in range(40)]}, "won_over_ids", id="too many"),
    pytest.param({"thumb": history.THUMB_UP, "text": "x" * 1001}, "text", id="too many words"),
]


@pytest.mark.parametrize(("fields", "field"), WRONG)
async def test_a_rating_that_says_nothing_or_too_much_is_refused(pictor, fields, field):
    """Before any generation is looked up, with the field."""
    found = await refused(rate(pictor, "gen_self", **fields))

    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", (field,))


async def test_the_scorecard_says_what_routing_is_worth(pictor):
    """Wins, thumbs, calls, pictures, cost and latency by workflow and model, as the charge log has them."""
    hero = {"workflow": image.WORKFLOW_HERO}
    before = len(pictor.sandbox.charges)
    by_nano = [await draw(pictor, VOTER, **hero) for _ in range(3)]
    by_gpt = await draw(pictor, VOTER, model=GPT, **hero)
    await draw(pictor, VOTER, model=GPT)
    charges = pictor.sandbox.charges[before:]
    await rate(pictor, by_gpt.id, VOTER, thumb=history.THUMB_UP, won_over_ids=[each.id for each in by_nano[:2]])
    await rate(pictor, by_nano[2].id, VOTER, thumb=history.THUMB_DOWN, won_over_ids=[by_gpt.id])

    found = await scores(pictor, VOTER)

    nano, gpt = found[image.WORKFLOW_HERO, NANO], found[image.WORKFLOW_HERO, GPT]
    assert set(found) == {(image.WORKFLOW_HERO, NANO), (image.WORKFLOW_HERO, GPT), (0, GPT)}
    assert (nano.wins, nano.losses, nano.thumbs_up, nano.thumbs_down) == (1, 2, 0, 1)
    assert (gpt.wins, gpt.losses, gpt.thumbs_up, gpt.thumbs_down) == (2, 1, 1, 0)
    assert (nano.attempts, nano.pictures, gpt.attempts, gpt.pictures) == (3, 3, 1, 1)
    assert nano.cost.nanos == sum(charge.nanos for charge in charges[:3])
    assert nano.cost_per_picture.nanos == nano.cost.nanos // 3
    spans = sorted(
        attempt.finish_time.ToMicroseconds() - attempt.sent_time.ToMicroseconds()
        for made in by_nano
        for attempt in made.attempts
    )
    assert (nano.latency_p50.ToMicroseconds(), nano.latency_p90.ToMicroseconds()) == (spans[1], spans[2])


async def test_callers_see_their_own_scorecard_and_operators_everybodys(pictor):
    """Another's is PERMISSION_DENIED; an operator may ask for one caller or for all."""
    await draw(pictor, SHOP, workflow=image.WORKFLOW_AD, canvas={"resolution": image.RESOLUTION_512})
    ad = (image.WORKFLOW_AD, NANO)

    assert ad not in await scores(pictor, STUDIO)
    assert ad in await scores(pictor, SHOP)
    assert ad in await scores(pictor, OPERATOR)
    assert ad not in await scores(pictor, OPERATOR, caller="voter")
    found = await refused(scores(pictor, STUDIO, caller="shop"))
    assert (found.code, found.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")


async def test_the_scorecard_is_of_its_time(pictor):
    """What was made before or after does not count; an end that is not after the start is refused."""
    now = datetime.now(UTC)
    times = {"start_time": now + timedelta(minutes=1), "end_time": now + timedelta(minutes=2)}

    assert await scores(pictor, OPERATOR, **times) == {}
    found = await refused(scores(pictor, OPERATOR, start_time=now, end_time=now))
    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", ("end_time",))
