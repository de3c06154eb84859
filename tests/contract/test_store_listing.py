"""What every store promises of its lists: each filter alone, all together, page by page."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

import samples
from pictord.domain.generation import Generation, Output, State, Timings
from pictord.domain.request import Lineage, Tier, Workflow
from pictord.store import listing
from pictord.store.base import Ending, ListFilter, Opening, Store
from pictord.store.memory import MemoryStore
from pictord.store.sql import SqlStore
from pictord.store.upkeep import open_database

LATER = samples.NOON + timedelta(minutes=1)


class Kept:
    """An asset store that nothing is deleted from."""

    async def delete(self, sha256: str) -> None:
        raise AssertionError(sha256)


@pytest.fixture(params=["memory", "sqlite", "postgresql", "sqlite, many", "postgresql, many"])
async def store(request, databases, tmp_path, monkeypatch) -> AsyncIterator[Store]:
    """With "many", whatever matches a filter counts as many, as it would in a large history."""
    kind, _, many = request.param.partition(", ")
    if many:
        monkeypatch.setattr(listing, "_FEW", 0)
    if kind == "memory":
        made: Store = MemoryStore(Kept(), now=lambda: samples.NOON)
    elif kind == "sqlite":
        database = open_database(databases.sqlite(tmp_path / "pictor.db"))
        made = SqlStore(database, Kept(), now=lambda: samples.NOON)
    else:
        database = open_database(databases.postgresql(request.getfixturevalue("postgresql")))
        made = SqlStore(database, Kept(), now=lambda: samples.NOON)
    yield made
    await made.close()


async def begun(store: Store, generation: Generation, end_user: str | None = None) -> None:
    attempts = (samples.attempt(f"att_{generation.id}"),)
    await store.open(Opening(generation, "same", attempts, (), {}, end_user))


async def drawn(store: Store, generation: Generation, end_user: str | None = None, **image_changes) -> None:
    """Draw one picture to the end."""
    await begun(store, generation, end_user)
    attempt = samples.attempt(f"att_{generation.id}")
    image = samples.image(f"img_{generation.id}", **image_changes)
    done = samples.finished(attempt, provider_request_id=f"req_{generation.id}")
    await store.finish_attempt(generation.id, done, image, Output(0, State.SUCCEEDED, image))
    ending = Ending(State.SUCCEEDED, None, "", Timings(), samples.NOON)
    await store.finish(generation.id, ending, keep=True)


@pytest.fixture
async def four(store: Store) -> Store:
    """A plain one that still runs, and three that differ from it, each in other ways."""
    rerolled = samples.request(
        tier=Tier.PRO, workflow=Workflow.HERO, lineage=Lineage(reroll_of="gen_1"), labels={"team": "ads", "post": "7"}
    )
    member = samples.request(
        request_id="r3", lineage=Lineage(set_id="set_1", item_key="a"), labels={"team": "ads", "post": "8"}
    )
    pro = replace(samples.plan(), row="pro")
    nano = {"model": "nano", "served_model": "nano", "served_version": "v9"}
    await begun(store, samples.generation("gen_1"))
    await drawn(store, samples.generation("gen_2", request=rerolled, plan=pro), "hash-2")
    await drawn(store, samples.generation("gen_3", request=member, create_time=LATER), "hash-3", **nano)
    await drawn(store, samples.generation("gen_4", caller="shop", create_time=LATER), **nano)
    return store


FOUND = [
    pytest.param({}, [4, 3, 2, 1], id="everything"),
    pytest.param({"caller": "shop"}, [4], id="caller"),
    pytest.param({"state": State.PENDING}, [1], id="state"),
    pytest.param({"model": "nano"}, [4, 3], id="the model that drew"),
    pytest.param({"model": "gpt-image-2"}, [2, 1], id="the model that drew or is to draw"),
    pytest.param({"served_version": "v9"}, [4, 3], id="served version"),
    pytest.param({"tier": Tier.PRO}, [2], id="tier"),
    pytest.param({"workflow": Workflow.HERO}, [2], id="workflow"),
    pytest.param({"row": "pro"}, [2], id="row"),
    pytest.param({"end_user": "hash-3"}, [3], id="end user"),
    pytest.param({"set_id": "set_1"}, [3], id="set"),
    pytest.param({"reroll_of": "gen_1"}, [2], id="re-rolls"),
    pytest.param({"request_id": "r3"}, [3], id="request id"),
    pytest.param({"provider_request_id": "req_gen_4"}, [4], id="the provider's id"),
    pytest.param({"labels": {"team": "ads"}}, [3, 2], id="label"),
    pytest.param({"labels": {"team": "ads", "post": "7"}}, [2], id="labels together"),
    pytest.param({"since": LATER}, [4, 3], id="since"),
    pytest.param({"until": LATER}, [2, 1], id="until"),
    pytest.param({"model": "nano", "caller": "studio", "labels": {"team": "ads"}}, [3], id="filters together"),
    pytest.param({"caller": "studio", "tier": Tier.PRO, "row": "pro"}, [2], id="a caller's columns"),
    pytest.param({"caller": "studio", "labels": {"team": "ads", "post": "8"}}, [3], id="a caller's labels"),
    pytest.param({"caller": "shop", "labels": {"team": "ads"}}, [], id="another caller's label"),
    pytest.param({"tier": Tier.PRO, "provider_request_id": "req_gen_2"}, [2], id="the provider's id and a column"),
    pytest.param({"model": "nano", "since": LATER, "state": State.SUCCEEDED}, [4, 3], id="columns since"),
    pytest.param({"tier": Tier.PRO, "model": "nano"}, [], id="nothing together"),
    pytest.param({"row": "nobody's"}, [], id="nothing"),
]


@pytest.mark.parametrize(("query", "numbers"), FOUND)
async def test_a_filter_finds_what_it_says_and_nothing_else(four, query, numbers):
    """Newest first, whatever the filter."""
    found = await four.list(ListFilter(**query))

    assert [each.id for each in found] == [f"gen_{number}" for number in numbers]


@pytest.mark.parametrize("query", [{}, {"labels": {"team": "ads"}}, {"model": "nano"}, {"since": samples.NOON}])
async def test_pages_of_a_filter_join_to_the_whole(four, query):
    """Turning pages one by one gives what one large page gives, also while new work comes in."""
    whole = [each.id for each in await four.list(ListFilter(**query))]
    found, before = [], None
    for number in range(len(whole)):
        found += await four.list(ListFilter(**query, before=before, limit=1))
        before = found[-1].id
        await drawn(four, samples.generation(f"gen_9{number}", request=samples.request(labels={"team": "ads"})))

    assert [each.id for each in found] == whole


async def test_a_listed_record_is_the_whole_record(four):
    """What a list answers is what `get` answers."""
    listed = await four.list(ListFilter())

    assert listed == [await four.get(each.id) for each in listed]
    assert [len(each.images) for each in listed] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("since", "until", "numbers"),
    [
        pytest.param(0, None, [0, 1, 2, 3, 4, 5], id="from the first on"),
        pytest.param(2, None, [2, 3, 4, 5], id="since"),
        pytest.param(None, 2, [0, 1], id="until"),
        pytest.param(1, 4, [1, 2, 3], id="between"),
        pytest.param(3.5, 3.6, [], id="between two"),
        pytest.param(6, None, [], id="after the last"),
        pytest.param(None, 0, [], id="before the first"),
    ],
)
async def test_a_time_finds_what_was_made_in_it_page_by_page(store, since, until, numbers):
    """Work of hours apart, of one caller, with a label: the same alone, with filters, and in pages of one."""
    hour = timedelta(hours=1)
    for number in range(6):
        request = samples.request(labels={"team": "ads"})
        made = samples.generation(f"gen_{number}", request=request, create_time=samples.NOON + number * hour)
        await begun(store, made)
    time = {
        "since": None if since is None else samples.NOON + since * hour,
        "until": None if until is None else samples.NOON + until * hour,
    }
    whole = [each.id for each in await store.list(ListFilter(**time))]
    paged: list[str] = []
    while one := await store.list(ListFilter(**time, limit=1, before=paged[-1] if paged else None)):
        paged += [one[0].id]

    assert whole == [f"gen_{number}" for number in reversed(numbers)]
    assert paged == whole
    for more in ({"caller": "studio"}, {"labels": {"team": "ads"}}):
        assert [each.id for each in await store.list(ListFilter(**time, **more))] == whole


async def test_clocks_that_are_minutes_apart_hide_nothing(store):
    """Of two replicas the later id may carry the earlier time; either is found by its own time."""
    minute = timedelta(minutes=1)
    times = {"gen_1": -60 * minute, "gen_2": 5 * minute, "gen_3": 0 * minute, "gen_4": 60 * minute}
    for id_, span in times.items():
        await begun(store, samples.generation(id_, create_time=samples.NOON + span))

    async def found(**query: object) -> list[str]:
        return [each.id for each in await store.list(ListFilter(**query))]

    assert await found(since=samples.NOON + 2 * minute) == ["gen_4", "gen_2"]
    assert await found(until=samples.NOON + 2 * minute) == ["gen_3", "gen_1"]
    assert await found(since=samples.NOON, until=samples.NOON + minute) == ["gen_3"]
