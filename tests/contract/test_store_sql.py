"""What the SQL store promises beyond the common suite: races, crashes, a picture that comes back; on both databases."""

import asyncio
import itertools
import random
import string
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
from sqlalchemy import Connection, Engine, event

import samples
from pictord.domain.budget import EACH, Budget, Counted, Unit, Window, scope
from pictord.domain.generation import AttemptState, Generation, Output, State, Timings
from pictord.domain.money import Cost, CostBasis
from pictord.domain.outcome import Outcome
from pictord.domain.reason import Reason
from pictord.domain.reconciliation import Invoice
from pictord.domain.reconciliation import reconcile as reconciled
from pictord.errors import GatewayError
from pictord.store import history, ledger, reconcile, rows, schema
from pictord.store.base import Deletion, Ending, HoldRefused, Joined, ListFilter, Opened, Opening, Replayed, SpendLimit
from pictord.store.database import Address
from pictord.store.history import IntentMissing
from pictord.store.postgresql import PostgresqlDatabase
from pictord.store.retention import SqlRetention
from pictord.store.sql import SqlStore
from pictord.store.upkeep import check, connected, open_database, transaction

TODAY = Budget("today", Counted.GLOBAL, "", Unit.USD, Window.DAY, 10**12)
DAY = SpendLimit("day:2026-11-22", 40 * 60_000_000, Reason.DAILY_CAP)
SUCCESS = Ending(State.SUCCEEDED, None, "", Timings(), samples.NOON)
RESTARTED = samples.NOON + timedelta(minutes=3)


class Folder:
    """The asset store as retention sees it; `before_delete` runs while a file is about to go."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
        self.deleted.append(sha256)


@dataclass
class Place:
    """A database, and stores on it; every one is a new process to it."""

    address: Address
    opened: list[SqlStore]

    def store(self, folder: Folder | None = None, *, now=samples.NOON, batch: int = 100) -> SqlStore:
        # Hundreds that wait for one row may take their time here.
        database = (
            open_database(self.address) if self.address.is_sqlite else PostgresqlDatabase(self.address, timeout_s=40)
        )
        made = SqlStore(database, folder or Folder(), now=lambda: now, retention=SqlRetention(3600.0, batch))
        self.opened.append(made)
        return made


@pytest.fixture(params=["sqlite", "postgresql"])
async def place(request, databases, tmp_path) -> AsyncIterator[Place]:
    if request.param == "sqlite":
        address = databases.sqlite(tmp_path / "pictor.db")
    else:
        address = databases.postgresql(request.getfixturevalue("postgresql"))
    made = Place(address, [])
    yield made
    for store in made.opened:
        await store.close()
    assert check(address).problems == (), "held and open holds disagree"


def opening(generation: Generation, *limits: SpendLimit, mark: str = "same", **changes) -> Opening:
    attempts = tuple(
        samples.attempt(f"att_{generation.id}_{o.index}", output_index=o.index) for o in generation.outputs
    )
    return Opening(generation, mark, attempts, limits, **changes)


def asking(number: int, **changes) -> Generation:
    return samples.generation(f"gen_{number:05}", request=samples.request(**changes))


async def finished(store: SqlStore, generation: Generation, **image_changes) -> Generation:
    opened = opening(generation)
    await store.open(opened)
    await store.mark_sent(generation.id, opened.attempts[0].id, samples.NOON)
    image = samples.image(f"img_{generation.id}", **image_changes)
    output = Output(0, State.SUCCEEDED, image)
    await store.finish_attempt(generation.id, samples.finished(opened.attempts[0]), image, output)
    return await store.finish(generation.id, SUCCESS, keep=True)


# Races


async def test_of_500_racing_requests_a_cap_for_40_lets_40_through(place):
    """A budget is hard, whoever comes together, over two processes if the database is shared."""
    stores = [place.store()] if place.address.is_sqlite else [place.store(), place.store()]
    own = [SpendLimit(f"generation:{n}", 60_000_000, Reason.MAX_COST, ends_with_generation=True) for n in range(500)]

    answers = await asyncio.gather(*(stores[n % len(stores)].open(opening(asking(n), own[n], DAY)) for n in range(500)))

    assert sum(isinstance(answer, Opened) for answer in answers) == 40
    assert {a for a in answers if isinstance(a, HoldRefused)} == {HoldRefused(DAY, 60_000_000, 0)}
    assert await stores[0].spent(DAY.scope) == DAY.cap
    assert await stores[0].spent("generation:499") == 0


async def test_of_50_racing_requests_with_one_id_one_is_opened(place):
    """All others join it, and nothing is held for them."""
    stores = [place.store()] if place.address.is_sqlite else [place.store(), place.store()]

    answers = await asyncio.gather(
        *(stores[n % len(stores)].open(opening(asking(n, request_id="r1"), DAY)) for n in range(50))
    )

    winner = next(answer for answer in answers if isinstance(answer, Opened))
    assert [a for a in answers if a != winner] == [Joined(winner.generation.id)] * 49
    assert await stores[0].spent(DAY.scope) == 60_000_000


async def test_a_request_that_a_cap_refuses_leaves_its_id_free(place):
    """The same request may come again once there is room."""
    store = place.store()
    tight = SpendLimit("day:2026-11-22", 1, Reason.DAILY_CAP)
    assert isinstance(await store.open(opening(asking(1, request_id="r1"), tight)), HoldRefused)

    assert isinstance(await store.open(opening(asking(2, request_id="r1"), DAY)), Opened)


async def test_a_failing_operation_takes_no_neighbour_with_it(place):
    """Operations may share a commit, never a fate."""
    store = place.store()
    await store.open(opening(asking(1)))

    answers = await asyncio.gather(
        store.mark_sent("gen_00001", "att_gen_00001_0", samples.NOON),
        store.mark_sent("gen_00001", "att_never_opened", samples.NOON),
        store.open(opening(asking(2))),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers] == [type(None), IntentMissing, Opened]
    assert (await place.store().get("gen_00001")).attempts[0].state is AttemptState.SENT


async def test_what_runs_here_is_known_though_the_database_is_away(place, monkeypatch):
    """Whoever waits is told what may be paid, at the very moment at which nothing can be asked."""
    store = place.store()
    await store.open(opening(asking(1), DAY))
    await store.mark_sent("gen_00001", "att_gen_00001_0", samples.NOON)

    async def away(_):
        raise GatewayError(Reason.STORE_UNAVAILABLE, "the database does not answer")

    monkeypatch.setattr(store._database, "read", away)
    monkeypatch.setattr(store._database, "write", away)
    store._retire_at = None  # something is due

    (attempt,) = (await store.get("gen_00001")).attempts
    assert attempt.state is AttemptState.SENT


async def test_an_overrun_is_posted(place):
    """What was really charged counts, be it more than was held."""
    store = place.store()
    await store.open(opening(asking(1), DAY))

    await store.finish_attempt("gen_00001", samples.finished(samples.attempt("att_gen_00001_0"), 75_000_000), None)

    assert await store.spent(DAY.scope) == 75_000_000


async def test_a_scope_that_ends_with_its_generation_is_forgotten_with_its_record(place):
    """Else there would be a row for every request for ever."""
    store = place.store()
    own = SpendLimit("generation:gen_00001", 60_000_000, Reason.MAX_COST, ends_with_generation=True)
    await store.open(opening(asking(1), own))
    await store.finish_attempt("gen_00001", samples.finished(samples.attempt("att_gen_00001_0")), None)
    assert await store.spent(own.scope) == 53_000_000

    await store.finish("gen_00001", SUCCESS, keep=True)
    await place.store(now=samples.NOON + timedelta(hours=2)).get("gen_00001")

    assert await store.spent(own.scope) == 0


async def test_what_a_provider_says_cannot_keep_a_settlement_out(place):
    """NUL and half a surrogate pair are replaced, and the money is in the books."""
    store = place.store()
    await store.open(opening(asking(1), DAY))
    odd = samples.finished(samples.attempt("att_gen_00001_0"), detail="a\0b\ud800", provider_request_id="r\0")

    await store.finish_attempt("gen_00001", odd, None, Output(0, State.FAILED, text="\0"))

    assert (await place.store().get("gen_00001")).attempts[0].detail == "a\ufffdb?"
    assert await store.spent(DAY.scope) == 53_000_000


# After the process


async def test_a_finished_generation_survives_the_process(place):
    """The next process answers with the same record."""
    record = await finished(place.store(), asking(1, request_id="r1", labels={"team": "ads"}))

    later = place.store()

    assert await later.get("gen_00001") == record
    assert await later.claimed("studio", "r1", "same") == Replayed(record)


async def test_what_a_killed_process_left_open_is_resolved_by_its_state(place):
    """Intent: released. Sent: charged as unknown, at its estimate. Finished: as it is."""
    killed = place.store()
    await killed.open(opening(asking(1, count=3, request_id="r1"), DAY))
    await killed.mark_sent("gen_00001", "att_gen_00001_0", samples.NOON)
    image = samples.image()
    done = samples.finished(samples.attempt("att_gen_00001_2", output_index=2))
    await killed.finish_attempt("gen_00001", done, image, Output(2, State.SUCCEEDED, image))
    store = place.store(now=RESTARTED)

    recovered = await store.recover()

    record = await store.get("gen_00001")
    assert (recovered.released, recovered.unknown, recovered.generations) == (1, 1, 1)
    assert [(a.outcome, a.cost) for a in record.attempts] == [
        (Outcome.SHUTDOWN, Cost(60_000_000, CostBasis.UNKNOWN)),
        (Outcome.CANCELLED, Cost()),
        (Outcome.IMAGE, Cost(53_000_000)),
    ]
    assert [(o.state, o.reason) for o in record.outputs] == [
        (State.FAILED, Reason.SHUTTING_DOWN),
        (State.CANCELLED, Reason.CANCELLED),
        (State.SUCCEEDED, None),
    ]
    assert (record.state, record.finish_time) == (State.SUCCEEDED, RESTARTED)
    assert await store.spent(DAY.scope) == 113_000_000


async def test_an_unknown_result_is_replayed_and_never_sent_again(place):
    """Its request id answers with the failure that may have cost money."""
    killed = place.store()
    await killed.open(opening(asking(1, request_id="r1"), DAY))
    await killed.mark_sent("gen_00001", "att_gen_00001_0", samples.NOON)
    store = place.store()
    await store.recover()

    answer = await store.open(opening(asking(2, request_id="r1"), DAY))

    assert isinstance(answer, Replayed)
    assert (answer.generation.state, answer.generation.reason) == (State.FAILED, Reason.SHUTTING_DOWN)
    assert answer.generation.cost == Cost(60_000_000, CostBasis.UNKNOWN)


async def test_a_request_that_was_never_sent_may_come_again(place):
    """Nothing was spent, so its request id is free."""
    await place.store().open(opening(asking(1, request_id="r1"), DAY))
    store = place.store()
    await store.recover()

    assert isinstance(await store.open(opening(asking(2, request_id="r1"), DAY)), Opened)


async def test_recovering_twice_changes_nothing_more(place):
    """A process that is killed while it recovers leaves nothing odd."""
    await place.store().open(opening(asking(1), DAY))
    await place.store().recover()

    recovered = await place.store().recover()

    assert (recovered.released, recovered.unknown, recovered.generations) == (0, 0, 0)


async def test_recovery_takes_as_many_statements_however_much_was_open(place):
    """So a start after a crash under full load is not noticed; `make bench` says how long it takes."""
    few, many = await recovered(place, range(10)), await recovered(place, range(10, 1_010))

    assert len(many) == len(few), "a statement for each of them"


async def recovered(place, numbers: range) -> list[str]:
    """The statements that recovery ran, of generations with an attempt that was sent and one that was not."""
    limit, database = replace(DAY, cap=None), open_database(place.address)

    def fill(connection) -> None:
        opened = [opening(asking(number, count=2), limit) for number in numbers]
        connection.execute(schema.generation.insert(), [rows.generation_row(each) for each in opened])
        attempts = [(each, attempt) for each in opened for attempt in each.attempts]
        connection.execute(schema.attempt.insert(), [rows.first_attempt_row(*each) for each in attempts])
        ledger.reserve(connection, [attempt for _, attempt in attempts], (limit,))
        sent = (schema.attempt.c.output_index == 0) & (schema.attempt.c.state == "intent")
        connection.execute(schema.attempt.update().where(sent).values(state="sent"))

    await database.write(fill)
    await database.close()
    store, statements = place.store(), []
    before = await store.spent(limit.scope)

    def note(_connection, _cursor, statement, *_) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    found = await store.recover()
    event.remove(Engine, "before_cursor_execute", note)

    assert (found.released, found.unknown, found.generations) == (len(numbers),) * 3
    assert await store.spent(limit.scope) == before - len(numbers) * 60_000_000
    return statements


# Retention


async def test_money_outlives_prompt_and_picture(place):
    """After retention the attempt is still counted, by everything usage is grouped by."""
    store = place.store()
    await finished(store, asking(1))
    later = place.store(now=samples.NOON + timedelta(hours=2))
    assert await later.get("gen_00001") is None

    def money(connection) -> list[tuple[object, ...]]:
        columns = "generation_id, caller, tier, row_name, day, provider, model, outcome, cost_nanos, pictures, detail"
        return [tuple(row) for row in connection.exec_driver_sql(f"SELECT {columns} FROM attempt")]  # noqa: S608 - ours

    database = open_database(place.address)
    found = await database.read(money)
    await database.close()
    assert found == [
        (
            "gen_00001",
            "studio",
            "standard",
            "standard",
            "2026-11-22",
            "openai",
            "gpt-image-2",
            "image",
            53_000_000,
            1,
            "",
        )
    ]


async def test_holds_go_with_their_generation_unless_its_cost_may_be_corrected(place):
    """An invoice that comes later than retention still finds the scopes that an unknown was charged under."""
    store = place.store()
    await finished(store, asking(1))
    unknown = opening(asking(2), DAY)
    await place.store().open(unknown)
    await store.mark_sent("gen_00002", unknown.attempts[0].id, samples.NOON)
    await store.recover()

    await store.delete(Deletion(ids=("gen_00001", "gen_00002")))
    held = await store._database.read(lambda c: c.execute(schema.hold.select()).all())
    assert [each.attempt_id for each in held] == [unknown.attempts[0].id]

    before = await store.spent(DAY.scope)
    settled = Invoice({(samples.NOON.date(), "gpt-image-2"): 53_000_000 + 41}, {samples.NOON.date()})
    trail = reconcile.Trail("rec_1", "openai", samples.NOON + timedelta(days=40), "ann", "costs.csv", "00")
    compare = partial(reconciled, settled, now=trail.time, tolerance_percent=Decimal(1))
    await store._database.write(lambda c: reconcile.apply(c, trail, [samples.NOON.date()], compare))
    assert await store.spent(DAY.scope) == before - unknown.attempts[0].estimated_nanos + 41


async def test_an_attempt_whose_end_is_being_written_while_a_budget_is_counted_is_counted_once(databases, postgresql):
    """The count waits for that end, and finds it in what has ended, not in what runs."""
    place = Place(databases.postgresql(postgresql), [])
    store, opened = place.store(), opening(asking(1))
    await store.open(opened)
    await store.books.set_budget(TODAY)
    ended = samples.finished(opened.attempts[0])
    with transaction(place.address) as connection:
        history.finish_attempt(connection, ("gen_00001", "studio"), ended, samples.image(), None)
        counting = asyncio.create_task(store.books.recount(TODAY, samples.NOON))
        while not counting.done() and not await asyncio.to_thread(_is_anybody_waiting, place.address):
            pass
    await counting

    assert await store.spent(scope(TODAY, "", samples.NOON)) == 53_000_000
    assert check(place.address, samples.NOON).problems == ()
    await store.close()


def _is_anybody_waiting(address: Address) -> bool:
    with connected(address) as connection:
        return bool(connection.exec_driver_sql("SELECT 1 FROM pg_locks WHERE NOT granted").all())


async def test_a_late_picture_corrects_a_budget_that_was_set_while_its_attempt_was_lost(place):
    """No hold was under it, so counting makes one: else what was assumed would stay there for good."""
    killed, store = place.store(), place.store()
    opened = opening(asking(1))
    await killed.open(opened)
    await killed.mark_sent("gen_00001", opened.attempts[0].id, samples.NOON)
    await store.recover()
    await store.books.set_budget(TODAY)
    await store.books.recount(TODAY, samples.NOON)
    assert await store.spent(scope(TODAY, "", samples.NOON)) == 60_000_000

    image = samples.image()
    await killed.finish_attempt(
        "gen_00001", samples.finished(opened.attempts[0]), image, Output(0, State.SUCCEEDED, image)
    )

    assert await store.spent(scope(TODAY, "", samples.NOON)) == 53_000_000
    assert check(place.address, samples.NOON).problems == ()


async def test_reconciling_changes_no_scope_that_an_attempt_was_never_charged_under(place):
    """On the 1st, an attempt of the month before was charged there alone, however the months' budgets look now."""
    store, month = place.store(), replace(TODAY, window=Window.MONTH)
    first = datetime(2026, 12, 1, 0, 1, tzinfo=UTC)
    names = november, december = [scope(month, "", each) for each in (samples.NOON, first)]
    await store.books.set_budget(month)
    for number, name in enumerate(names):
        limit = SpendLimit(name, None, Reason.BUDGET_EXHAUSTED)
        attempt = samples.attempt(f"att_{number}", create_time=first)
        await store.open(Opening(asking(number), "", (attempt,), (limit,)))
        cost = Cost(60_000_000, CostBasis.UNKNOWN if number == 0 else CostBasis.REPORTED)
        ended = samples.finished(attempt, cost=cost, outcome=Outcome.SERVER_ERROR, sent_time=first)
        await store.finish_attempt(f"gen_{number:05}", ended, None)
    await store._database.write(partial(_reconcile, day=first.date(), nanos=60_000_000 + 41))

    assert [await store.spent(name) for name in (november, december)] == [41, 60_000_000]


def _reconcile(connection: Connection, day: date, nanos: int) -> None:
    settled = Invoice({(day, "gpt-image-2"): nanos}, {day})
    trail = reconcile.Trail("rec_1", "openai", samples.NOON + timedelta(days=40), "ann", "costs.csv", "00")
    compare = partial(reconciled, settled, now=trail.time, tolerance_percent=Decimal(1))
    reconcile.apply(connection, trail, [day], compare)


@pytest.mark.parametrize("settled", [0, 53_000_001])
@pytest.mark.parametrize("window", Window)
async def test_check_says_where_settled_is_not_what_attempts_came_to(place, window, settled):
    """Scope, stored and computed; of each of a budget's keys, and of the daily cap that nobody set."""
    store, budget = place.store(), Budget("each", Counted.CALLER, EACH, Unit.USD, window, 10**9)
    await store.books.set_budget(budget)
    await finished(store, asking(1))
    await store.books.recount(budget, samples.NOON)
    name = scope(budget, "studio", samples.NOON)
    assert check(place.address, samples.NOON).problems == ()

    update = schema.scope.update().where(schema.scope.c.scope == name).values(settled=settled)
    await store._database.write(lambda connection: connection.execute(update))

    (problem,) = check(place.address, samples.NOON).problems
    assert problem.startswith(f"scope {name}: {settled} is settled, its attempts came to 53000000")
    assert check(place.address, samples.NOON + timedelta(days=31)).problems == (), "a window that is over is let be"
    await store.books.recount(budget, samples.NOON)
    assert check(place.address, samples.NOON).problems == ()


async def test_a_ledger_in_use_is_sound_whenever_it_is_checked(place):
    """Every sum is of the same moment, also while pictures are opened, drawn and counted."""
    store, limit = place.store(), SpendLimit(scope(TODAY, "", samples.NOON), None, Reason.BUDGET_EXHAUSTED)
    await store.books.set_budget(TODAY)
    numbers, drawn = itertools.count(), list[int]()

    async def draw() -> None:
        while len(drawn) < 150:
            opened = opening(asking(number := next(numbers)), limit)
            await store.open(opened)
            image = samples.image(f"img_{number}")
            await store.finish_attempt(f"gen_{number:05}", samples.finished(opened.attempts[0]), image)
            drawn.append(number)

    drawing, found = asyncio.gather(*(draw() for _ in range(4))), list[str]()
    while not drawing.done():
        found += (await asyncio.to_thread(check, place.address, samples.NOON)).problems
    await drawing

    assert found == []
    assert await store.spent(limit.scope) == len(drawn) * 53_000_000


async def test_check_finds_a_wrong_sum_under_the_daily_cap_that_nobody_set(place):
    """It bounds real money from the first start on; a sandbox has none."""
    store = place.store()
    await finished(store, asking(1))
    assert check(place.address, samples.NOON).problems == ()

    await store._database.write(lambda c: c.execute(schema.world.insert(), {"id": 1, "name": "real"}))

    (problem,) = check(place.address, samples.NOON).problems
    assert problem.startswith("scope usd/2026-11-22/global: 0 is settled, its attempts came to 53000000")


async def test_a_deletion_that_a_crash_interrupted_goes_on(place):
    """A file whose record is gone is deleted by the next process."""

    class Crashing(Folder):
        async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
            raise asyncio.CancelledError

    await finished(place.store(), asking(1), sha256="ab" * 32)
    late = samples.NOON + timedelta(hours=2)
    with pytest.raises(asyncio.CancelledError):
        await place.store(Crashing(), now=late).get("gen_00001")
    folder = Folder()

    await place.store(folder, now=late).get("gen_00001")

    assert folder.deleted == ["ab" * 32]


async def test_a_picture_that_comes_back_before_its_file_is_deleted_stays(place):
    """Its new record takes it off the list."""

    class Down(Folder):
        async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
            raise OSError(5, "down")

    await finished(place.store(), asking(1), sha256="ab" * 32)
    late = samples.NOON + timedelta(hours=2)
    await place.store(Down(), now=late).get("gen_00001")
    folder = Folder()
    store = place.store(folder, now=late + timedelta(minutes=1))
    await store._database.write(lambda c: history.open_generation(c, opening(asking(2), inputs={"ab" * 32: 10})))

    await store.get("gen_00002")

    assert folder.deleted == []


async def test_every_file_of_what_was_dropped_is_deleted_soon(place):
    """Though the last record that was due left more files behind than one pass deletes."""
    opened = opening(asking(1, count=4))
    store = place.store()
    await store.open(opened)
    for index, attempt in enumerate(opened.attempts):
        image = samples.image(f"img_{index}", sha256=f"{index}a" * 32, output_index=index)
        await store.finish_attempt("gen_00001", samples.finished(attempt), image, Output(index, State.SUCCEEDED, image))
    await store.finish("gen_00001", SUCCESS, keep=True)
    folder = Folder()
    later = place.store(folder, now=samples.NOON + timedelta(hours=2), batch=1)

    await later.get("gen_00001")
    await later.get("gen_00001")

    assert sorted(folder.deleted) == [f"{index}a" * 32 for index in range(4)]


async def test_all_that_is_due_goes_in_one_look_batch_by_batch(place):
    """However long the gateway was away."""
    folder, names = Folder(), [f"{number}a" * 32 for number in range(5)]
    for number, sha256 in enumerate(names):
        await finished(place.store(), asking(number), sha256=sha256)

    await place.store(folder, now=samples.NOON + timedelta(hours=2), batch=2).retire()

    assert sorted(folder.deleted) == names


async def test_what_was_deleted_is_scrubbed_while_others_write(place):
    """In its turn: however busy the writers are, and no write fails for it."""
    store, scrubbed = place.store(), []
    writing = asyncio.gather(*(store.open(opening(asking(number))) for number in range(300)))

    while not writing.done():
        scrubbed.append(await store._database.scrub())
        await asyncio.sleep(0)

    assert {type(answer) for answer in await writing} == {Opened}
    assert all(scrubbed)


async def test_a_deletion_is_one_though_a_full_disk_keeps_its_words_for_a_while(place, monkeypatch):
    """Each look tries to scrub them again, until it is done."""
    store, tries = place.store(), []
    await finished(store, asking(1))
    outcomes = iter([GatewayError(Reason.STORE_FULL, "full"), False, True])

    async def scrub() -> bool:
        tries.append(next(outcomes))
        if isinstance(tries[-1], GatewayError):
            raise tries[-1]
        return tries[-1]

    monkeypatch.setattr(store._database, "scrub", scrub)
    deleted = await store.delete(Deletion(ids=("gen_00001",)))
    for _ in range(4):
        await store.retire()

    assert deleted.generations == ("gen_00001",)
    assert len(tries) == 3


@pytest.mark.parametrize("finish", [samples.finish_one_by_one, samples.finish_at_once])
async def test_a_picture_that_comes_after_its_generation_was_deleted_goes_the_same_way(place, finish):
    """A process that stalled was taken for dead, its work deleted; its late result counts, and keeps nothing."""
    folder = Folder()
    store, slow = place.store(folder), place.store(folder)
    opened = opening(asking(1), DAY)
    await slow.open(opened)
    await slow.mark_sent("gen_00001", opened.attempts[0].id, samples.NOON)
    await store.recover()
    await store.delete(Deletion(ids=("gen_00001",)))

    image = samples.image()
    late = samples.finished(opened.attempts[0])
    await finish(slow, "gen_00001", late, image)
    await store.delete(Deletion(ids=("gen_00001",)))

    assert await store.spent(DAY.scope) == late.cost.nanos
    assert await store.image(image.id) is None
    assert await store.get("gen_00001") is None
    assert folder.deleted == [image.sha256]


async def test_a_result_without_a_picture_that_comes_after_the_deletion_counts_too(place):
    """There is nothing to drop then."""
    store, slow = place.store(), place.store()
    opened = opening(asking(1), DAY)
    await slow.open(opened)
    await slow.mark_sent("gen_00001", opened.attempts[0].id, samples.NOON)
    await store.recover()
    await store.delete(Deletion(ids=("gen_00001",)))

    await slow.finish_attempt("gen_00001", samples.finished(opened.attempts[0], 7, outcome=Outcome.REFUSED), None)
    words = Output(0, State.FAILED, reason=Reason.CONTENT_POLICY, text="refused: a red fox")
    await slow.finish_output("gen_00001", words)

    assert await store.spent(DAY.scope) == 7
    assert await store._database.read(lambda c: c.execute(schema.output.select()).all()) == [], "no word stays"


async def test_a_picture_whose_generation_is_deleted_while_it_is_adopted_goes_at_once(place):
    """Nothing of it is in memory here: its file goes without waiting for the next thing that is due."""
    folder = Folder()
    store = place.store(folder)
    opened = opening(asking(1), DAY)
    await place.store().open(opened)
    await store.mark_sent("gen_00001", opened.attempts[0].id, samples.NOON)
    await store.recover()
    await store.get("gen_00001")  # retention has looked, and rests
    await store.delete(Deletion(ids=("gen_00001",)))

    image = samples.image()
    late = samples.finished(opened.attempts[0])
    await store.finish_attempt("gen_00001", late, image, Output(0, State.SUCCEEDED, image))

    assert await store.spent(DAY.scope) == late.cost.nanos
    assert (await store.image(image.id), await store.expired(image.id)) == (None, "studio")
    assert folder.deleted == [image.sha256]


PICTURES = SpendLimit("pictures:2026-11-22", 10, Reason.BUDGET_EXHAUSTED, unit=Unit.PICTURES)


async def test_a_picture_that_turns_up_after_its_attempt_was_reconciled_is_kept_at_that_cost(place):
    """What the invoice settled stays settled; the picture is there, once, and counts as one."""
    killed = place.store()
    opened = opening(asking(1), DAY, PICTURES)
    await killed.open(opened)
    await killed.mark_sent("gen_00001", opened.attempts[0].id, samples.NOON)
    store = place.store()
    await store.recover()
    settled = Invoice({(samples.NOON.date(), "gpt-image-2"): 41}, {samples.NOON.date()})
    trail = reconcile.Trail("rec_1", "openai", samples.NOON + timedelta(days=3), "ann", "costs.csv", "00")
    compare = partial(reconciled, settled, now=trail.time, tolerance_percent=Decimal(1))
    await store._database.write(lambda c: reconcile.apply(c, trail, [samples.NOON.date()], compare))

    image = samples.image()
    late, output = samples.finished(opened.attempts[0]), Output(0, State.SUCCEEDED, image)
    for _ in range(2):
        await store.finish_attempt("gen_00001", late, image, output)

    record = await store.get("gen_00001")
    assert (record.state, record.reason, record.images) == (State.SUCCEEDED, None, (image,))
    assert (record.attempts[0].outcome, record.cost) == (Outcome.IMAGE, Cost(41, CostBasis.RECONCILED))
    assert (await store.spent(DAY.scope), await store.spent(PICTURES.scope)) == (41, 1)


async def test_a_late_failure_changes_nothing_that_was_reconciled(place):
    """There is no picture to gain, and the invoice knows the cost better."""
    killed = place.store()
    opened = opening(asking(1), DAY)
    await killed.open(opened)
    await killed.mark_sent("gen_00001", opened.attempts[0].id, samples.NOON)
    store = place.store()
    await store.recover()
    settled = Invoice({(samples.NOON.date(), "gpt-image-2"): 41}, {samples.NOON.date()})
    trail = reconcile.Trail("rec_1", "openai", samples.NOON + timedelta(days=3), "ann", "costs.csv", "00")
    compare = partial(reconciled, settled, now=trail.time, tolerance_percent=Decimal(1))
    await store._database.write(lambda c: reconcile.apply(c, trail, [samples.NOON.date()], compare))
    before = await store.get("gen_00001")

    await store.finish_attempt("gen_00001", samples.finished(opened.attempts[0], 7, outcome=Outcome.REFUSED), None)

    assert await store.get("gen_00001") == before
    assert await store.spent(DAY.scope) == 41


async def test_a_late_pictures_version_is_no_longer_than_an_index_takes(place):
    """Whatever a provider calls it, the picture is kept."""
    store = place.store()
    opened = opening(asking(1))
    await place.store().open(opened)
    await store.mark_sent("gen_00001", opened.attempts[0].id, samples.NOON)
    await store.recover()
    version = "".join(random.Random(1).choices(string.ascii_letters, k=20_000))  # does not compress
    image = samples.image(served_version=version)

    await store.finish_attempt(
        "gen_00001", samples.finished(opened.attempts[0]), image, Output(0, State.SUCCEEDED, image)
    )

    record = await store.get("gen_00001")
    assert record.images
    found = await store.list(ListFilter(served_version=record.images[0].served_version))
    assert [each.id for each in found] == ["gen_00001"]
