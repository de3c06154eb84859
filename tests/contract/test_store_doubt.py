"""What the SQL store does when a transaction fails in the middle, or when nobody knows whether it was committed."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import psycopg
import pytest
from sqlalchemy import event

import samples
from pictord.domain.generation import Output, State, Timings
from pictord.domain.money import Cost
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.store import retention
from pictord.store.base import Ending, Opened, Opening, SpendLimit
from pictord.store.database import Address, Database, InDoubt, Work
from pictord.store.sql import SqlStore
from pictord.store.upkeep import check, open_database

CAP = SpendLimit("day:2026-11-22", 100_000_000, Reason.DAILY_CAP)
SUCCESS = Ending(State.SUCCEEDED, None, "", Timings(), samples.NOON)


class Folder:
    """The asset store as retention sees it."""

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None: ...


@dataclass
class Doubtful:
    """A database whose answers get lost: so many writes are committed, and nobody hears of it."""

    database: Database
    losing: int = 0

    async def write(self, work: Work) -> object:
        answer = await self.database.write(work)
        if self.losing:
            self.losing -= 1
            raise InDoubt(Reason.STORE_UNAVAILABLE, "the connection died")
        return answer

    async def read(self, work: Work) -> object:
        return await self.database.read(work)

    async def close(self) -> None:
        await self.database.close()


@dataclass
class Place:
    """A database, and stores on it."""

    address: Address
    opened: list[SqlStore] = field(default_factory=list)

    def store(self, database: Database | None = None) -> SqlStore:
        async def at_once(_: float) -> None: ...

        made = SqlStore(database or open_database(self.address), Folder(), now=lambda: samples.NOON, sleep=at_once)
        self.opened.append(made)
        return made

    def doubtful(self) -> tuple[SqlStore, Doubtful]:
        database = Doubtful(open_database(self.address))
        return self.store(database), database


@pytest.fixture(params=["sqlite", "postgresql"])
async def place(request, databases, tmp_path) -> AsyncIterator[Place]:
    if request.param == "sqlite":
        address = databases.sqlite(tmp_path / "pictor.db")
    else:
        address = databases.postgresql(request.getfixturevalue("postgresql"))
    made = Place(address)
    yield made
    for store in made.opened:
        await store.close()
    assert check(address).problems == (), "held and open holds disagree"


def opening(generation_id: str = "gen_00001", *limits: SpendLimit, **request) -> Opening:
    generation = samples.generation(generation_id, request=samples.request(**request))
    return Opening(generation, "same", (samples.attempt(f"att_{generation_id}"),), limits)


# Retention


async def test_what_retention_cannot_do_now_is_nobodys_failure(place, monkeypatch):
    """A record that was written is no failure because something old could not be dropped meanwhile."""
    store = place.store()
    await store.open(opening("gen_00001"))

    def locked(*_, **__) -> None:
        raise GatewayError(Reason.STORE_UNAVAILABLE, "a lock timed out")

    monkeypatch.setattr(retention, "retire", locked)
    store._retire_at = None  # something is due

    assert (await store.finish("gen_00001", SUCCESS, keep=True)).state is State.SUCCEEDED
    assert (await place.store().get("gen_00001")).state is State.SUCCEEDED


# Nobody knows whether it was committed


async def test_a_settlement_whose_answer_was_lost_counts_once_and_is_known_here(place):
    """The picture is in the record that its caller gets, though only the second try was heard of."""
    store, database = place.doubtful()
    await store.open(opening("gen_00001", CAP))
    await store.mark_sent("gen_00001", "att_gen_00001", samples.NOON)
    image = samples.image()
    database.losing = 1

    await store.finish_attempt(
        "gen_00001", samples.finished(samples.attempt("att_gen_00001")), image, Output(0, State.SUCCEEDED, image)
    )
    ended = await store.finish("gen_00001", SUCCESS, keep=True)

    assert ended.images == (image,)
    assert ended.cost == Cost(53_000_000)
    assert await place.store().get("gen_00001") == ended
    assert await store.spent(CAP.scope) == 53_000_000


async def test_an_opening_whose_answer_was_lost_is_opened(place):
    """Else its hold, and its request id, would belong to a generation that nobody runs."""
    store, database = place.doubtful()
    await store.get("nothing")  # retention has its turn
    database.losing = 1
    wanted = opening("gen_00001", CAP, request_id="r1")

    answer = await store.open(wanted)

    assert isinstance(answer, Opened)
    assert answer.generation.attempts == wanted.attempts
    assert (await store.get("gen_00001")).attempts == wanted.attempts
    assert await store.spent(CAP.scope) == 60_000_000


async def test_a_further_attempt_whose_answer_was_lost_is_held_once(place):
    """And the generation knows of it."""
    store, database = place.doubtful()
    await store.open(opening("gen_00001"))
    second = samples.attempt("att_second", index=1)
    database.losing = 1

    assert await store.open_attempt("gen_00001", second) is None

    assert [each.id for each in (await store.get("gen_00001")).attempts] == ["att_gen_00001", "att_second"]


async def test_a_connection_that_dies_at_its_commit_is_no_end(databases, postgresql):
    """Nothing was written, so it is written on another connection; the caller hears nothing of it."""
    place = Place(databases.postgresql(postgresql))
    database = open_database(place.address)
    store, killed = place.store(database), []
    await store.get("nothing")  # retention has its turn

    def die(connection) -> None:
        if not killed:
            killed.append(connection.connection.driver_connection.info.backend_pid)
            with psycopg.connect(postgresql.url(), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 1000)", killed)

    event.listen(database._engine.sync_engine, "commit", die)

    assert isinstance(await store.open(opening("gen_00001", CAP)), Opened)
    assert killed
    assert await store.spent(CAP.scope) == 60_000_000
    await store.close()
