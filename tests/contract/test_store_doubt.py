"""What the SQL store does when a transaction fails in the middle, or when nobody knows whether it was committed."""

import asyncio
import random
import sqlite3
import string
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import psycopg
import pytest
from sqlalchemy import event

import samples
from pictord.domain.generation import State, Timings
from pictord.domain.money import Cost
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.store import retention
from pictord.store.base import Ending, Joined, Opened, Opening, SpendLimit
from pictord.store.database import Address, Database, InDoubt, Work, address
from pictord.store.sql import SqlStore
from pictord.store.sqlite import SqliteDatabase
from pictord.store.upkeep import check, open_database, upgrade

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
    is_readable: bool = True

    async def write(self, work: Work) -> object:
        answer = await self.database.write(work)
        if self.losing:
            self.losing -= 1
            raise InDoubt(Reason.STORE_UNAVAILABLE, "the connection died")
        return answer

    async def read(self, work: Work) -> object:
        if not self.is_readable:
            raise GatewayError(Reason.STORE_UNAVAILABLE, "away")
        return await self.database.read(work)

    async def close(self) -> None:
        await self.database.close()


@dataclass
class Place:
    """A database, and stores on it."""

    address: Address
    opened: list[SqlStore] = field(default_factory=list)

    def store(self, database: Database | None = None) -> SqlStore:
        made = SqlStore(database or open_database(self.address), Folder(), now=lambda: samples.NOON)
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


@pytest.mark.parametrize("finish", [samples.finish_one_by_one, samples.finish_at_once])
async def test_a_settlement_whose_answer_was_lost_counts_once_and_is_known_here(place, finish):
    """The picture is in the record that its caller gets, though only the second try was heard of."""
    store, database = place.doubtful()
    await store.open(opening("gen_00001", CAP))
    await store.mark_sent("gen_00001", "att_gen_00001", samples.NOON)
    image = samples.image()
    database.losing, database.is_readable = 1, False

    ended = await finish(store, "gen_00001", samples.finished(samples.attempt("att_gen_00001")), image)
    database.is_readable = True

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


# What else comes between


async def test_who_went_away_gets_nothing_written_though_its_group_failed(databases, tmp_path):
    """An opening that nobody waits for any more would hold money that nobody releases."""
    database = open_database(databases.sqlite(tmp_path / "pictor.db"))
    runs: list[str] = []

    def leave(_) -> None:
        runs.append("first")
        if runs.count("first") == 2:  # alone, after the group failed
            gone.cancel()

    def fail(_) -> None:
        raise RuntimeError

    first, failing, gone = (
        asyncio.create_task(database.write(work)) for work in (leave, fail, lambda _: runs.append("gone"))
    )
    await asyncio.wait([first, failing, gone])
    await database.close()

    assert runs == ["first", "first"]
    assert gone.cancelled()


async def test_a_database_that_another_process_holds_is_waited_for_once(databases, tmp_path):
    """Not once for each of those who wait together."""
    address = databases.sqlite(tmp_path / "pictor.db")
    database = SqliteDatabase(address, lock_timeout_s=0.5)
    holder = sqlite3.connect(address.file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    started = time.monotonic()

    answers = await asyncio.gather(*(database.write(lambda _: None) for _ in range(20)), return_exceptions=True)

    assert {(type(each), each.reason) for each in answers} == {(GatewayError, Reason.STORE_UNAVAILABLE)}
    assert len({id(each) for each in answers}) == 20, "each is told to another caller"
    assert time.monotonic() - started < 5.0, "20 waits would be 10 seconds"
    holder.close()
    await database.close()


async def test_a_request_id_that_is_let_go_in_the_very_moment_is_taken(databases, postgresql):
    """Not passed over: a request without its claim would be paid again when it comes again."""
    place = Place(databases.postgresql(postgresql))
    database = open_database(place.address)
    store = place.store(database)
    await store.open(opening("gen_00001", request_id="r1"))
    let_go = []

    def let_go_first(_, __, statement, *___) -> None:
        if statement.startswith("SELECT claim") and not let_go:
            let_go.append(statement)
            with psycopg.connect(_plain(place.address), autocommit=True) as other:
                other.execute("DELETE FROM claim")

    event.listen(database._engine.sync_engine, "before_cursor_execute", let_go_first)

    assert isinstance(await store.open(opening("gen_00002", request_id="r1")), Opened)
    assert let_go
    assert await store.claimed("studio", "r1", "same") == Joined("gen_00002")
    await store.close()


async def test_an_upload_that_retention_drops_in_the_very_moment_is_there_again(databases, postgresql):
    """Whoever brought it anew was told its id."""
    place = Place(databases.postgresql(postgresql))
    database = open_database(place.address)
    store, dropped = place.store(database), []
    await store.add_upload("studio", samples.image("img_1"))

    def drop_first(_, __, statement, *___) -> None:
        if statement.startswith("UPDATE image") and not dropped:
            dropped.append(statement)
            with psycopg.connect(_plain(place.address), autocommit=True) as other:
                other.execute("DELETE FROM image")

    event.listen(database._engine.sync_engine, "before_cursor_execute", drop_first)
    await store.add_upload("studio", samples.image("img_1"))

    assert dropped
    assert (await store.image("img_1")).caller == "studio"
    await store.close()


async def test_a_server_that_takes_no_writes_is_away(databases, postgresql):
    """As after a failover, while the connection still leads to the one that was the first."""
    place = Place(databases.postgresql(postgresql))
    with psycopg.connect(_plain(place.address), autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{place.address.url.database}" SET default_transaction_read_only = on')
    store = place.store()

    with pytest.raises(GatewayError) as told:
        await store.open(opening())

    assert told.value.reason is Reason.STORE_UNAVAILABLE
    await store.close()


async def test_scopes_are_settled_in_the_order_in_which_they_are_held(postgresql):
    """Whatever language the server sorts in, or two transactions would wait for each other."""
    name = f"spoken_{time.monotonic_ns()}"
    with psycopg.connect(postgresql.url(), autocommit=True) as other:
        other.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    where = address(postgresql.url(name))
    upgrade(where)
    database = open_database(where)
    store = Place(where).store(database)
    updated: list[str] = []

    def note(_, __, statement, parameters, *___) -> None:
        if statement.startswith("UPDATE scope"):
            updated.extend(each["name"] for each in ([parameters] if isinstance(parameters, dict) else parameters))

    event.listen(database._engine.sync_engine, "before_cursor_execute", note)
    limits = (SpendLimit("caller/alice", None, Reason.DAILY_CAP), SpendLimit("caller/Bob", None, Reason.DAILY_CAP))
    await store.open(opening("gen_00001", *limits))
    held = list(dict.fromkeys(updated))
    updated.clear()

    await store.finish_attempt("gen_00001", samples.finished(samples.attempt("att_gen_00001")), None)

    assert updated == held == ["caller/Bob", "caller/alice"]

    await store.open(opening("gen_00002", *limits))
    await store.mark_sent("gen_00002", "att_gen_00002", samples.NOON)
    updated.clear()
    await store.recover()
    assert updated == held, "nor by who resolves what was left"

    updated.clear()
    await store.finish_attempt("gen_00002", samples.finished(samples.attempt("att_gen_00002")), None)
    assert updated == held, "nor by a late result"
    await store.close()


async def test_a_providers_name_for_a_call_is_no_longer_than_an_index_takes(place):
    """Or a paid picture could not be settled."""
    store = place.store()
    await store.open(opening("gen_00001", CAP))
    name = "".join(random.Random(1).choices(string.printable[:90], k=9000))
    ended = samples.finished(samples.attempt("att_gen_00001"), provider_request_id=name, served_version=name)

    await store.finish_attempt("gen_00001", ended, samples.image(served_version=name))

    (kept,) = (await place.store().get("gen_00001")).attempts
    assert kept.provider_request_id == name[:512]
    assert await store.spent(CAP.scope) == 53_000_000


def _plain(where: Address) -> str:
    return where.url.set(drivername="postgresql").render_as_string(hide_password=False)
