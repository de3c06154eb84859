"""ListGenerations through the door: every filter that can find a picture again, and what is no filter."""

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from gateway import GPT, NANO, Gateway, Refusal, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_pb2 as image
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation
from pictord.auth.callers import hash_key
from pictord.domain.caller import Role
from pictord.settings import CallerTable

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = {name: f"pictor_{name}-key-77aa" for name in ("studio", "shop", "platform")}
STUDIO, SHOP, OPERATOR = ([("x-api-key", key)] for key in KEYS.values())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pictor() -> AsyncIterator[Gateway]:
    roles = {"platform": Role.OPERATOR}
    callers = tuple(
        CallerTable(name, keys=(hash_key(key),), role=roles.get(name, Role.CALLER)) for name, key in KEYS.items()
    )
    async with gateway(callers=callers) as running:
        yield running


async def draw(pictor: Gateway, who=STUDIO, **fields) -> Generation:
    request = service.GenerateRequest(**({"prompt": "a fox", "model": NANO} | fields))
    return (await pictor.images.Generate(request, metadata=who)).generation


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def made(pictor: Gateway) -> dict[str, Generation]:
    """One generation of each kind."""
    plain = await draw(pictor)
    request = service.RerollRequest(generation_id=plain.id, model=GPT, preview_count=0)
    events = [message.event async for message in pictor.images.Reroll(request, metadata=STUDIO)]
    return {
        "plain": plain,
        "reroll": events[-1].completed.generation,
        "pro": await draw(pictor, tier=image.TIER_PRO, workflow=image.WORKFLOW_HERO, model=""),
        "ann": await draw(pictor, end_user="ann", request_id="r-ann"),
        "ben": await draw(pictor, end_user="ben"),
        "shop's ann": await draw(pictor, SHOP, end_user="ann"),
    }


async def listed(pictor: Gateway, made: dict[str, Generation], who=STUDIO, **fields) -> set[str]:
    """The names of what a list finds."""
    names = {generation.id: name for name, generation in made.items()}
    answer = await pictor.history.ListGenerations(history.ListGenerationsRequest(**fields), metadata=who)
    return {names[each.id] for each in answer.generations}


async def refused(pictor: Gateway, who=STUDIO, **fields) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pictor.history.ListGenerations(history.ListGenerationsRequest(**fields), metadata=who)
    return refusal(caught.value)


async def test_each_filter_finds_its_own(pictor, made):
    """Model, version, tier, workflow, row, end user, lineage and both request ids find what they name."""
    version = made["reroll"].outputs[0].image.model_version
    provider_id = made["ben"].attempts[0].provider_request_id
    found = {
        "model": await listed(pictor, made, model=GPT),
        "version": await listed(pictor, made, model_version=version),
        "tier": await listed(pictor, made, tier=image.TIER_PRO),
        "workflow": await listed(pictor, made, workflow=image.WORKFLOW_HERO),
        "row": await listed(pictor, made, row="pro"),
        "end user": await listed(pictor, made, end_user="ann"),
        "re-rolls": await listed(pictor, made, reroll_of=made["plain"].id),
        "request id": await listed(pictor, made, request_id="r-ann"),
        "provider's id": await listed(pictor, made, provider_request_id=provider_id),
        "together": await listed(pictor, made, model=GPT, row="explicit"),
    }

    assert version != NANO
    assert found == {
        "model": {"reroll", "pro"},
        "version": {"reroll", "pro"},
        "tier": {"pro"},
        "workflow": {"pro"},
        "row": {"pro"},
        "end user": {"ann"},
        "re-rolls": {"reroll"},
        "request id": {"ann"},
        "provider's id": {"ben"},
        "together": {"reroll"},
    }


async def test_an_end_user_belongs_to_one_caller(pictor, made):
    """The same name at two callers is two people; an operator says whose is meant."""
    assert await listed(pictor, made, OPERATOR, caller="shop", end_user="ann") == {"shop's ann"}
    assert await listed(pictor, made, OPERATOR, caller="studio", end_user="ann") == {"ann"}

    vague = await refused(pictor, OPERATOR, caller="*", end_user="ann")

    assert (vague.code, vague.reason, vague.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", ("end_user",))


async def test_no_filter_reaches_into_anothers_history(pictor, made):
    """Whatever a caller knows of another's generation, its own list does not show it."""
    theirs = made["shop's ann"]
    known = {"provider_request_id": theirs.attempts[0].provider_request_id, "end_user": "ann", "model": NANO}

    assert await listed(pictor, made, provider_request_id=known["provider_request_id"]) == set()
    assert await listed(pictor, made, SHOP, **known) == {"shop's ann"}
    assert (await refused(pictor, caller="shop", **known)).reason == "PERMISSION_DENIED"


OTHERS = [
    {"model": GPT},
    {"model_version": NANO},
    {"tier": image.TIER_STANDARD},
    {"workflow": image.WORKFLOW_AD},
    {"row": "explicit"},
    {"end_user": "ann"},
    {"reroll_of": "gen_1"},
    {"request_id": "r"},
    {"provider_request_id": "p"},
    {"state": Generation.STATE_SUCCEEDED},
    {"caller": "studio"},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
async def test_a_page_token_is_good_for_its_own_filters_alone(pictor, made, other):
    """A token of one query is refused in any other, with its reason."""
    first = await pictor.history.ListGenerations(history.ListGenerationsRequest(page_size=1), metadata=STUDIO)

    found = await refused(pictor, page_size=1, page_token=first.next_page_token, **other)

    assert (found.code, found.reason, found.fields) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", ("page_token",))


@pytest.mark.parametrize("field", ["tier", "workflow", "state"])
async def test_an_unknown_word_of_a_filter_is_told(pictor, field):
    """A number that the contract does not know is no filter that finds nothing."""
    found = await refused(pictor, **{field: 99})

    assert (found.reason, found.fields) == ("INVALID_FIELD", (field,))


async def test_an_end_user_is_found_after_a_restart(tmp_path):
    """The hash under which an end user is stored is the same in the next life of the gateway."""
    async with gateway(data_dir=tmp_path) as pictor:
        generation = await draw(pictor, who=[], end_user="ann")
    async with gateway(data_dir=tmp_path) as pictor:
        found = await listed(pictor, {"ann": generation}, who=[], end_user="ann")

    assert found == {"ann"}
