"""CompareGenerations through the door: lineages, sets and any others side by side, and re-rolls that made them."""

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from gateway import GPT, NANO, Gateway, Refusal, gateway, refusal
from pictor.v1 import history_service_pb2 as history
from pictor.v1 import image_service_pb2 as service
from pictor.v1.generation_pb2 import Generation
from pictord.auth.callers import hash_key
from pictord.domain.caller import Role
from pictord.settings import CallerTable

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = {name: f"pictor_{name}-key-91cd" for name in ("studio", "shop", "platform")}
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
    request = service.GenerateRequest(**({"prompt": "a fox", "preview_count": 0, "max_inline_bytes": 0} | fields))
    return (await pictor.images.Generate(request, metadata=who)).generation


async def reroll(pictor: Gateway, of: Generation, who=STUDIO, **fields) -> Generation:
    request = service.RerollRequest(generation_id=of.id, preview_count=0, **fields)
    events = [message.event async for message in pictor.images.Reroll(request, metadata=who)]
    return events[-1].completed.generation


async def compare(pictor: Gateway, who=STUDIO, **fields) -> history.CompareGenerationsResponse:
    return await pictor.history.CompareGenerations(history.CompareGenerationsRequest(**fields), metadata=who)


async def refused(pictor: Gateway, who=STUDIO, **fields) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await compare(pictor, who, **fields)
    return refusal(caught.value)


def ids(generations) -> list[str]:
    return [each.id for each in generations]


async def test_a_reroll_stands_beside_what_it_was_rerolled_from(pictor):
    """Both generations whole, and line by line what differs: engine, row, request, cost, time."""
    first = await draw(pictor)
    slower = (*STUDIO, ("x-sandbox-latency-ms", "300"))  # times are told in milliseconds, and could be the same
    second = await reroll(pictor, first, who=slower)

    answer = await compare(pictor, lineage_of=second.id)

    fields = {each.path: each for each in answer.fields}
    assert list(answer.generations) == [first, second]
    assert list(fields["images.model"].values) == [NANO, GPT]
    assert list(fields["decision.row"].values) == ["standard", "explicit"]
    assert list(fields["request.model"].values) == ["", GPT]
    assert {"cost.amount_usd", "timings.total_s", "lineage.reroll_of"} <= {p for p, f in fields.items() if f.differs}
    assert not fields["request.prompt"].differs
    assert list(fields["decision.policy_version"].values) == [first.decision.policy_version] * 2


async def test_a_reroll_of_a_reroll_comes_back_and_belongs_to_the_same_lineage(pictor):
    """Each re-roll goes to the other engine than the one before it; the family is found from any member."""
    first = await draw(pictor)
    second = await reroll(pictor, first)
    third = await reroll(pictor, second)
    aside = await reroll(pictor, first, model=NANO)
    family = [first.id, second.id, third.id, aside.id]

    assert [each.outputs[0].image.model for each in (first, second, third, aside)] == [NANO, GPT, NANO, NANO]
    assert third.lineage.reroll_of == second.id
    assert aside.lineage.reroll_of == first.id
    for member in family:
        assert ids((await compare(pictor, lineage_of=member)).generations) == family


async def test_a_set_is_compared_item_by_item(pictor):
    """The generations of a set, with the items that they are of."""
    request = service.GenerateSetRequest(
        brief=service.GenerateRequest(prompt="a fox", preview_count=0), items=[{"key": "a"}], models=[NANO, GPT]
    )
    steps = [step async for step in pictor.images.GenerateSet(request, metadata=STUDIO)]

    answer = await compare(pictor, set_id=steps[0].set_accepted.set_id)

    fields = {each.path: each for each in answer.fields}
    assert set(ids(answer.generations)) == set(steps[-1].summary.generation_ids)
    assert sorted(fields["images.model"].values) == [NANO, GPT]
    assert list(fields["lineage.item_key"].values) == ["a", "a"]
    assert not answer.truncated


async def test_named_generations_stand_in_the_order_in_which_they_were_named(pictor):
    """Any two to eight can be compared, related or not."""
    made = [await draw(pictor, prompt=f"fox {number}", labels={"number": str(number)}) for number in range(3)]
    order = [made[2].id, made[0].id, made[1].id]

    answer = await compare(pictor, generation_ids=order)

    fields = {each.path: each for each in answer.fields}
    assert ids(answer.generations) == order
    assert list(fields["request.prompt"].values) == ["fox 2", "fox 0", "fox 1"]
    assert list(fields["labels.number"].values) == ["2", "0", "1"]
    assert answer.generations[0].outputs[0].image.data == b""


async def test_what_is_to_be_compared_is_said_in_one_way(pictor):
    """Nothing, two ways at once, one id, nine ids and an id twice are told apart from what exists."""
    one = (await draw(pictor)).id
    wrong = [
        ({}, "lineage_of"),
        ({"lineage_of": one, "set_id": "set_1"}, "lineage_of"),
        ({"generation_ids": [one]}, "generation_ids"),
        ({"generation_ids": [one, one]}, "generation_ids"),
        ({"generation_ids": [f"gen_{number}" for number in range(9)]}, "generation_ids"),
    ]

    found = [await refused(pictor, **fields) for fields, _ in wrong]

    assert [(each.code, each.reason) for each in found] == [("INVALID_ARGUMENT", "INVALID_FIELD")] * len(wrong)
    assert [each.fields for each in found] == [(field,) for _, field in wrong]


async def test_anothers_generation_cannot_be_compared(pictor):
    """Another's id is NOT_FOUND in every way of naming it; an operator sees both."""
    mine, theirs = await draw(pictor), await draw(pictor, SHOP)
    named = [{"generation_ids": [mine.id, theirs.id]}, {"lineage_of": theirs.id}, {"set_id": "set_none"}]

    found = [await refused(pictor, **fields) for fields in named]

    assert {(each.code, each.reason) for each in found} == {("NOT_FOUND", "NOT_FOUND")}
    assert ids((await compare(pictor, OPERATOR, **named[0])).generations) == [mine.id, theirs.id]


async def test_a_lineage_shows_each_caller_what_it_may_see(pictor):
    """An operator's re-roll of a caller's picture is the operator's; the caller's own lineage stays as it was."""
    mine = await draw(pictor)
    operators = await reroll(pictor, mine, OPERATOR)

    assert ids((await compare(pictor, lineage_of=mine.id)).generations) == [mine.id]
    assert ids((await compare(pictor, OPERATOR, lineage_of=mine.id)).generations) == [mine.id, operators.id]


async def test_a_large_family_is_cut_and_says_so(pictor):
    """Forty generations are shown, the asked one among them."""
    first = await draw(pictor)
    rerolls = [await reroll(pictor, first, model=NANO) for _ in range(41)]

    answer = await compare(pictor, lineage_of=rerolls[-1].id)

    assert answer.truncated
    assert len(answer.generations) == 40
    assert {first.id, rerolls[-1].id} <= set(ids(answer.generations))


async def test_a_lineage_begins_where_its_reader_may_look(tmp_path):
    """Who re-rolled another's picture, and may no longer read others' work, sees the own re-roll alone."""
    shop, reader = CallerTable("shop", keys=(hash_key(KEYS["shop"]),)), ("studio", (hash_key(KEYS["studio"]),))
    async with gateway(callers=(shop, CallerTable(*reader, may_read_others=True)), data_dir=tmp_path) as pictor:
        theirs = await draw(pictor, SHOP)
        mine = await reroll(pictor, theirs)
        before = await compare(pictor, lineage_of=mine.id)
    async with gateway(callers=(shop, CallerTable(*reader)), data_dir=tmp_path) as pictor:
        after = await compare(pictor, lineage_of=mine.id)

    assert ids(before.generations) == [theirs.id, mine.id]
    assert ids(after.generations) == [mine.id]
