"""What every ledger promises about budgets, usage and alerts, held against memory, SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

import samples
from pictord.domain.alert import Alert, Delivery
from pictord.domain.budget import DAILY_CAP, EACH, Budget, Counted, Unit, Window, scope
from pictord.domain.generation import Generation
from pictord.domain.money import Cost, CostBasis
from pictord.domain.outcome import Outcome
from pictord.domain.reason import Reason
from pictord.domain.request import Tier, Workflow
from pictord.domain.usage import Group, Sums, UsageQuery, UsageRow, total
from pictord.errors import GatewayError
from pictord.jobs.budgets import Budgets, daily_cap
from pictord.store import books as books_seam
from pictord.store.base import HoldRefused, Opened, Opening, SpendLimit, Store
from pictord.store.books import Books
from pictord.store.database import Database
from pictord.store.memory import MemoryStore
from pictord.store.postgresql import PostgresqlDatabase
from pictord.store.sql import SqlStore
from pictord.store.upkeep import check, open_database

PICTURES = SpendLimit("pictures/2026-11/global", 40, Reason.BUDGET_EXHAUSTED, unit=Unit.PICTURES, budget="forty")
GEMINI = SpendLimit("usd/2026-11-22/provider/gemini", 50_000_000, Reason.BUDGET_EXHAUSTED, provider="gemini")
SOFT = SpendLimit("usd/2026-11-22/global", None, Reason.BUDGET_EXHAUSTED)
FIVE_FREE = Budget("five", Counted.END_USER, EACH, Unit.PICTURES, Window.MONTH, 5, tier=Tier.FREE)
TODAY = UsageQuery(samples.NOON - timedelta(hours=12), samples.NOON + timedelta(hours=12))


class Folder:
    """The asset store, of which nothing is asked here."""

    async def delete(self, sha256: str) -> None:
        raise AssertionError(sha256)


@dataclass
class Ledger:
    """A store and the books over it."""

    store: Store
    books: Books

    async def open(self, number: int, *limits: SpendLimit, **changes) -> Generation | HoldRefused:
        """Open a generation of one picture; `end_user` and `attempt` apart, the changes are the request's."""
        end_user, attempt = changes.pop("end_user", None), changes.pop("attempt", {})
        made = generation(number, **changes)
        first = samples.attempt(f"att_{made.id}", **attempt)
        answer = await self.store.open(Opening(made, "", (first,), limits, end_user=end_user))
        return answer.generation if isinstance(answer, Opened) else answer

    async def draw(self, number: int, *limits: SpendLimit, **changes) -> None:
        """Open, send and finish with a picture for $0.053."""
        opened = await self.open(number, *limits, **changes)
        (attempt,) = opened.attempts
        await self.store.mark_sent(opened.id, attempt.id, samples.NOON)
        await self.store.finish_attempt(opened.id, samples.finished(attempt), samples.image(f"img_{opened.id}"))

    async def sum(self, budget: Budget, **key: str) -> int:
        return await self.store.spent(scope(budget, key.get("key", budget.key), samples.NOON))


def generation(number: int, *, caller: str = "studio", create_time=samples.NOON, **request) -> Generation:
    asked = samples.request(**request)
    return samples.generation(f"gen_{number:05}", caller=caller, create_time=create_time, request=asked)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def ledger(request, databases, tmp_path) -> AsyncIterator[Ledger]:
    if request.param == "memory":
        store = MemoryStore(Folder(), now=lambda: samples.NOON)
        yield Ledger(store, store.books)
        return
    if request.param == "sqlite":
        address = databases.sqlite(tmp_path / "pictor.db")
        database: Database = open_database(address)
    else:
        address = databases.postgresql(request.getfixturevalue("postgresql"))
        # Hundreds that wait for one row may take their time here.
        database = PostgresqlDatabase(address, timeout_s=40)
    store = SqlStore(database, Folder(), now=lambda: samples.NOON)
    yield Ledger(store, store.books)
    await store.close()
    assert check(address, samples.NOON).problems == (), "scopes and attempts disagree"


# Limits in pictures, of one provider, and soft ones


async def test_a_limit_in_pictures_counts_one_while_held_and_then_what_came(ledger):
    """An attempt without a picture gives its one back."""
    first = await ledger.open(1, PICTURES)
    second = await ledger.open(2, PICTURES)
    assert await ledger.store.spent(PICTURES.scope) == 2

    await ledger.store.finish_attempt(first.id, samples.finished(first.attempts[0]), samples.image("img_1"))
    failed = samples.finished(second.attempts[0], 0, outcome=Outcome.NO_IMAGE)
    await ledger.store.finish_attempt(second.id, failed, None)

    assert await ledger.store.spent(PICTURES.scope) == 1


async def test_a_limit_in_pictures_says_what_is_needed_and_left_in_pictures(ledger):
    """Four pictures do not fit where two are left."""
    two = replace(PICTURES, cap=2)
    made = generation(1, count=4)
    attempts = tuple(samples.attempt(f"att_{index}", output_index=index) for index in range(4))

    assert await ledger.store.open(Opening(made, "", attempts, (two,))) == HoldRefused(two, 4, 2)
    assert await ledger.store.spent(two.scope) == 0


async def test_a_limit_of_one_provider_leaves_attempts_elsewhere_alone(ledger):
    """Drawn at OpenAI nothing is charged to Gemini, and a fallback to Gemini needs room there."""
    opened = await ledger.open(1, GEMINI)
    assert await ledger.store.spent(GEMINI.scope) == 0

    fallback = samples.attempt("att_2", index=1, provider="gemini")
    assert await ledger.store.open_attempt(opened.id, fallback, [GEMINI]) == HoldRefused(GEMINI, 60_000_000, 50_000_000)
    cheap = replace(fallback, estimated_nanos=45_000_000)
    assert await ledger.store.open_attempt(opened.id, cheap, [GEMINI]) is None
    assert await ledger.store.spent(GEMINI.scope) == 45_000_000

    await ledger.store.finish_attempt(opened.id, samples.finished(opened.attempts[0]), None)
    await ledger.store.finish_attempt(opened.id, samples.finished(cheap, 40_000_000), None)
    assert await ledger.store.spent(GEMINI.scope) == 40_000_000


async def test_of_attempts_opened_together_only_those_of_the_provider_are_charged(ledger):
    """Each has a hold of its own, or none."""
    made = generation(1, count=2)
    here, there = samples.attempt("att_0"), samples.attempt("att_1", output_index=1, provider="gemini")
    roomy = replace(GEMINI, cap=60_000_000)

    assert isinstance(await ledger.store.open(Opening(made, "", (here, there), (roomy,))), Opened)
    await ledger.store.finish_attempt(made.id, samples.finished(here, 1), None)

    assert await ledger.store.spent(roomy.scope) == 60_000_000


async def test_a_soft_limit_counts_and_never_refuses(ledger):
    """Only alerts follow from it."""
    for number in range(3):
        await ledger.draw(number, SOFT)

    assert await ledger.store.spent(SOFT.scope) == 3 * 53_000_000


async def test_a_refusal_holds_nothing_under_the_limits_that_had_room(ledger):
    """All scopes change, or none."""
    tight = replace(GEMINI, provider=None)

    assert isinstance(await ledger.open(1, PICTURES, SOFT, tight), HoldRefused)

    assert [await ledger.store.spent(each.scope) for each in (PICTURES, SOFT, tight)] == [0, 0, 0]


@pytest.mark.parametrize("unit", Unit)
async def test_of_500_racing_requests_a_budget_for_40_lets_40_through(ledger, unit):
    """In dollars and in pictures, never 41."""
    forty = replace(PICTURES, unit=unit, cap=40 if unit is Unit.PICTURES else 40 * 60_000_000)

    answers = await asyncio.gather(*(ledger.open(number, forty) for number in range(500)))

    assert sum(isinstance(answer, Generation) for answer in answers) == 40
    assert await ledger.store.spent(forty.scope) == forty.cap


# Budgets


async def test_budgets_are_listed_replaced_and_deleted(ledger):
    """By id, with everything that was said of them."""
    second = Budget("b", Counted.CALLER, "studio", Unit.USD, Window.DAY, 7, is_hard=False, thresholds=(10, 90))
    await ledger.books.set_budget(FIVE_FREE)
    await ledger.books.set_budget(second)
    assert await ledger.books.budgets() == [second, FIVE_FREE]

    await ledger.books.set_budget(replace(FIVE_FREE, amount=6))
    assert (await ledger.books.budgets())[1].amount == 6

    assert await ledger.books.delete_budget("b")
    assert not await ledger.books.delete_budget("b")
    assert [budget.id for budget in await ledger.books.budgets()] == ["five"]


async def test_what_was_spent_before_a_budget_was_set_counts(ledger):
    """Ended attempts at what they came to, running ones at what they may; other windows, callers and tiers do not."""
    budget = Budget("b", Counted.CALLER, "studio", Unit.USD, Window.DAY, 10**9, tier=Tier.FREE)
    await ledger.draw(1, tier=Tier.FREE)
    await ledger.open(2, tier=Tier.FREE)
    await ledger.draw(3, tier=Tier.PRO)
    await ledger.draw(4, tier=Tier.FREE, caller="other")
    yesterday = samples.NOON - timedelta(days=1)
    await ledger.draw(5, tier=Tier.FREE, create_time=yesterday, attempt={"create_time": yesterday})

    await ledger.books.recount(budget, samples.NOON)
    await ledger.books.recount(budget, samples.NOON)

    assert await ledger.sum(budget) == 53_000_000 + 60_000_000


async def test_counting_anew_changes_nothing_where_a_budget_was_in_force(ledger):
    """What is held there stays held, and is settled as if nobody had counted."""
    budget = daily_cap(10**9)
    budgets = Budgets(ledger.books, lambda: samples.NOON, budget)
    limits = budgets.limits(generation(0), None, samples.NOON)
    await ledger.draw(1, *limits)
    opened = await ledger.open(2, *limits)

    await ledger.books.recount(budget, samples.NOON)
    assert await ledger.sum(budget) == 113_000_000
    counted = books_seam.Counted("", 113_000_000, 60_000_000)
    assert await ledger.books.counted(budget, samples.NOON, 20) == [counted]

    await ledger.store.finish_attempt(opened.id, samples.finished(opened.attempts[0], 1), None)
    assert await ledger.sum(budget) == 53_000_001
    assert await ledger.books.counted(budget, samples.NOON, 20) == [books_seam.Counted("", 53_000_001, 0)]


@pytest.mark.parametrize("unit", Unit)
async def test_what_runs_is_held_under_a_budget_set_meanwhile(ledger, unit):
    """And settled there at what it came to, as any other: a picture, nothing, or so much."""
    budget = Budget("b", Counted.CALLER, EACH, unit, Window.DAY, 10**9)
    drawn, failed = [await ledger.open(number, attempt={"estimated_nanos": 60_000_000}) for number in range(2)]
    each_held, came_to = {Unit.USD: (60_000_000, 53_000_000), Unit.PICTURES: (1, 1)}[unit]

    for _ in range(2):
        await ledger.books.recount(budget, samples.NOON)
        held = books_seam.Counted("studio", 2 * each_held, 2 * each_held)
        assert await ledger.books.counted(budget, samples.NOON, 20) == [held]

    await ledger.store.finish_attempt(failed.id, samples.finished(failed.attempts[0], 0), None)
    await ledger.store.finish_attempt(drawn.id, samples.finished(drawn.attempts[0]), samples.image())
    assert await ledger.books.counted(budget, samples.NOON, 20) == [books_seam.Counted("studio", came_to, 0)]
    await ledger.books.recount(budget, samples.NOON)
    assert await ledger.books.counted(budget, samples.NOON, 20) == [books_seam.Counted("studio", came_to, 0)]


async def test_a_further_attempt_is_held_under_its_generations_own_limits_and_the_budgets_of_its_time(ledger):
    """Not under those of the opening: they may be gone, higher, or of another day."""
    own = SpendLimit("generation:gen_00001", 10**9, Reason.MAX_COST, ends_with_generation=True)
    opened = await ledger.open(1, own, SOFT)
    fallback = samples.attempt("att_2", index=1, provider="gemini")

    full = replace(PICTURES, cap=0)
    assert await ledger.store.open_attempt(opened.id, fallback, [full]) == HoldRefused(full, 1, 0)
    assert await ledger.store.open_attempt(opened.id, fallback, [PICTURES]) is None

    sums = [await ledger.store.spent(limit.scope) for limit in (own, SOFT, PICTURES)]
    assert sums == [120_000_000, 60_000_000, 1]


async def test_what_ends_while_a_budget_is_counted_is_counted_once(ledger):
    """Whichever comes first, the sum is what all of them came to."""
    budget = daily_cap(10**12)
    await ledger.books.set_budget(budget)
    opened = [await ledger.open(number) for number in range(60)]

    async def end(made: Generation) -> None:
        image = samples.image(f"img_{made.id}")
        await ledger.store.finish_attempt(made.id, samples.finished(made.attempts[0]), image)

    async def count() -> None:
        await ledger.books.recount(budget, samples.NOON)

    works = [
        work for number, made in enumerate(opened) for work in ((end(made),) if number % 6 else (count(), end(made)))
    ]
    await asyncio.gather(*works)

    assert await ledger.books.counted(budget, samples.NOON, 20) == [books_seam.Counted("", 60 * 53_000_000, 0)]


async def test_a_budget_that_is_set_again_as_it_was_is_counted_anew(ledger):
    """So that an operator can mend a figure that is wrong for whatever reason."""
    budgets = Budgets(ledger.books, lambda: samples.NOON)
    await budgets.set(FIVE_FREE)
    await ledger.draw(1, tier=Tier.FREE, end_user="ann")
    assert await ledger.sum(FIVE_FREE, key="ann") == 0

    await budgets.set(FIVE_FREE)

    assert await ledger.sum(FIVE_FREE, key="ann") == 1


async def test_what_is_written_while_a_budget_is_set_is_counted_some_seconds_later(ledger):
    """It was asked for before, under the budgets of then, and its hold came to the books after the count."""
    clock = [samples.NOON]
    budgets = Budgets(ledger.books, lambda: clock[0])
    await budgets.set(daily_cap(10**9))
    opened = await ledger.open(1)
    await budgets.refresh()
    assert await ledger.sum(daily_cap(10**9)) == 0, "it may still be on its way"

    clock[0] += timedelta(seconds=5)
    await budgets.refresh()

    assert await ledger.sum(daily_cap(10**9)) == 60_000_000
    await ledger.store.finish_attempt(opened.id, samples.finished(opened.attempts[0]), None)
    assert await ledger.sum(daily_cap(10**9)) == 53_000_000


async def test_a_budget_that_is_deleted_and_set_again_while_calls_run_counts_all_of_them(ledger):
    """Those that were held under it before, and those that began meanwhile."""
    budgets, cap = Budgets(ledger.books, lambda: samples.NOON), daily_cap(10**9)
    await budgets.set(cap)
    before = await ledger.open(1, *budgets.limits(generation(1), None, samples.NOON))
    await budgets.delete(cap.id)
    between = await ledger.open(2, *budgets.limits(generation(2), None, samples.NOON))
    await budgets.set(cap)
    after = await ledger.open(3, *budgets.limits(generation(3), None, samples.NOON))
    assert await ledger.sum(cap) == 180_000_000

    for cents, made in enumerate((before, between, after), start=1):
        await ledger.store.finish_attempt(made.id, samples.finished(made.attempts[0], cents * 10**7), None)

    assert await ledger.books.counted(cap, samples.NOON, 20) == [books_seam.Counted("", 60_000_000, 0)]


async def test_a_budget_for_each_counts_everybody_apart(ledger):
    """The free tier's five pictures: for each end user, most first, and nobody else's."""
    for number, user in enumerate(["ann", "bob", "bob", None]):
        await ledger.draw(number, tier=Tier.FREE, end_user=user)
    await ledger.draw(9, tier=Tier.PRO, end_user="ann")

    await ledger.books.recount(FIVE_FREE, samples.NOON)

    counted = await ledger.books.counted(FIVE_FREE, samples.NOON, 20)
    assert counted == [books_seam.Counted("bob", 2, 0), books_seam.Counted("ann", 1, 0)]
    assert await ledger.books.counted(FIVE_FREE, samples.NOON, 1) == counted[:1]


async def test_a_budget_of_one_key_is_counted_even_if_nothing_was_spent(ledger):
    """Its sum is nothing."""
    assert await ledger.books.counted(daily_cap(5), samples.NOON, 20) == [books_seam.Counted("", 0, 0)]


async def test_a_budget_bounds_from_the_moment_it_is_set(ledger):
    """With three pictures drawn, of five for each end user two are left, and other tiers go on."""
    budgets = Budgets(ledger.books, lambda: samples.NOON)
    for number in range(3):
        await ledger.draw(
            number, *budgets.limits(generation(0, tier=Tier.FREE), "ann", samples.NOON), tier=Tier.FREE, end_user="ann"
        )
    await budgets.set(FIVE_FREE)

    answers = []
    for number in range(10, 14):
        made = generation(0, tier=Tier.FREE)
        answers.append(
            await ledger.open(number, *budgets.limits(made, "ann", samples.NOON), tier=Tier.FREE, end_user="ann")
        )

    assert [isinstance(answer, HoldRefused) for answer in answers] == [False, False, True, True]
    limit = answers[-1].limit
    assert (limit.budget, limit.reason, answers[-1].needed, answers[-1].available) == (
        "five",
        Reason.BUDGET_EXHAUSTED,
        1,
        0,
    )
    assert list(budgets.limits(generation(0, tier=Tier.PRO), "ann", samples.NOON)) == []


async def test_the_daily_cap_is_in_force_until_a_budget_stands_in_for_it(ledger):
    """And again when that one is deleted, with what was spent meanwhile."""
    budgets = Budgets(ledger.books, lambda: samples.NOON, daily_cap(10**9))
    await budgets.load()
    assert [limit.reason for limit in budgets.limits(generation(0), None, samples.NOON)] == [Reason.DAILY_CAP]

    monthly = Budget(DAILY_CAP, Counted.GLOBAL, "", Unit.USD, Window.MONTH, 10**9)
    await budgets.set(monthly)
    await ledger.draw(1, *budgets.limits(generation(0), None, samples.NOON))
    assert await budgets.delete(DAILY_CAP)
    assert not await budgets.delete(DAILY_CAP)

    (limit,) = budgets.limits(generation(0), None, samples.NOON)
    assert (limit.scope, limit.cap) == ("usd/2026-11-22/global", 10**9)
    assert await ledger.store.spent(limit.scope) == 53_000_000


async def test_a_change_elsewhere_is_taken_up_with_what_was_spent(ledger):
    """Another replica set the budget; here it bounds after the next look."""
    here, there = (Budgets(ledger.books, lambda: samples.NOON) for _ in range(2))
    await there.set(replace(FIVE_FREE, amount=1))
    await ledger.draw(
        1, *here.limits(generation(0, tier=Tier.FREE), "ann", samples.NOON), tier=Tier.FREE, end_user="ann"
    )

    await here.refresh()

    limits = here.limits(generation(0, tier=Tier.FREE), "ann", samples.NOON)
    assert isinstance(await ledger.open(2, *limits, tier=Tier.FREE, end_user="ann"), HoldRefused)


async def test_each_budget_that_comes_into_force_is_told_once_its_past_is_counted(ledger):
    """Also one that was set elsewhere, one that could not be counted at first, and the daily cap that is back."""
    told = []
    here = Budgets(ledger.books, lambda: samples.NOON, daily_cap(10**9), on_counted=told.append)
    there = Budgets(ledger.books, lambda: samples.NOON)
    await here.load()
    await ledger.draw(1, tier=Tier.FREE, end_user="ann")
    recount, cap = ledger.books.recount, daily_cap(10**8)

    async def unavailable(*_) -> None:
        ledger.books.recount = recount
        raise GatewayError(Reason.STORE_UNAVAILABLE, "not now")

    ledger.books.recount = unavailable
    with pytest.raises(GatewayError):
        await here.set(cap)
    assert told == []

    await there.set(FIVE_FREE)
    for _ in range(2):
        await here.refresh()
    assert told == [cap, FIVE_FREE]
    assert [each.amount for each in await ledger.books.counted(told[1], samples.NOON, 1)] == [1]

    await here.delete(DAILY_CAP)
    assert told[2:] == [daily_cap(10**9)]


async def test_changes_elsewhere_are_looked_for_every_few_seconds(ledger):
    """A database that does not answer leaves in force what was known."""
    here, there = (Budgets(ledger.books, lambda: samples.NOON) for _ in range(2))
    waits, answers = [], ledger.books.budgets

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            await there.set(FIVE_FREE)
        if len(waits) == 2:
            assert here.in_force == (FIVE_FREE,)
            ledger.books.budgets = unavailable
        if len(waits) == 3:
            ledger.books.budgets = answers
            raise asyncio.CancelledError

    async def unavailable() -> list[Budget]:
        raise GatewayError(Reason.STORE_UNAVAILABLE, "not now")

    with pytest.raises(asyncio.CancelledError):
        await here.keep_fresh(sleep)

    assert here.in_force == (FIVE_FREE,)
    assert waits == [5.0] * 3


# Usage


async def test_usage_is_grouped_by_whatever_is_asked(ledger):
    """Keys in the order of the question, the most expensive group first, empty where there is nothing."""
    await ledger.draw(1, workflow=Workflow.AD, end_user="ann")
    await ledger.draw(2, caller="ads", attempt={"provider": "gemini", "model": "gemini-3.1-flash-image"})
    await ledger.draw(3, workflow=Workflow.AD, tier=Tier.PRO)
    one, two = Sums(53_000_000, attempts=1, pictures=1), Sums(106_000_000, attempts=2, pictures=2)

    async def usage(*group_by: Group) -> list[UsageRow]:
        return list(await ledger.books.usage(replace(TODAY, group_by=group_by)))

    assert await usage() == [UsageRow((), one.plus(two))]
    assert await usage(Group.PROVIDER) == [UsageRow(("openai",), two), UsageRow(("gemini",), one)]
    assert await usage(Group.WORKFLOW, Group.CALLER) == [UsageRow(("ad", "studio"), two), UsageRow(("", "ads"), one)]
    assert await usage(Group.TIER) == [UsageRow(("standard",), two), UsageRow(("pro",), one)]
    assert await usage(Group.DAY, Group.ROW) == [UsageRow(("2026-11-22", "standard"), one.plus(two))]
    for group in Group:
        assert total(await usage(group)) == one.plus(two)
    dearest = await ledger.books.usage(replace(TODAY, group_by=(Group.PROVIDER,), most=1))
    assert dearest == [UsageRow(("openai",), two)]


async def test_usage_tells_reported_estimated_and_unknown_apart(ledger):
    """What runs is estimated; what was lost is unknown, and can be listed alone; what was never sent is no attempt."""
    await ledger.draw(1)
    await ledger.open(2)
    lost = await ledger.open(3)
    await ledger.store.mark_sent(lost.id, lost.attempts[0].id, samples.NOON)
    unknown = Cost(60_000_000, CostBasis.UNKNOWN)
    await ledger.store.finish_attempt(
        lost.id, samples.finished(lost.attempts[0], outcome=Outcome.SERVER_ERROR, cost=unknown), None
    )

    (row,) = await ledger.books.usage(TODAY)
    assert row.sums == Sums(53_000_000, 60_000_000, 60_000_000, attempts=2, pictures=1)
    (row,) = await ledger.books.usage(replace(TODAY, unknown_only=True, group_by=(Group.GENERATION,)))
    assert (row.keys, row.sums.nanos) == ((lost.id,), 60_000_000)


async def test_usage_is_of_one_caller_and_between_two_times(ledger):
    """The start belongs to it, the end does not; nothing at all is no row."""
    later = samples.NOON + timedelta(seconds=1)
    await ledger.draw(1)
    await ledger.draw(2, caller="ads", create_time=later, attempt={"create_time": later})

    async def pictures(**query) -> int:
        return total(await ledger.books.usage(replace(TODAY, **query))).pictures

    assert await pictures(caller="ads") == 1
    assert await pictures(caller="nobody") == 0
    assert await pictures(since=samples.NOON, until=later) == 1
    assert await pictures(since=later) == 1
    assert await ledger.books.usage(replace(TODAY, until=samples.NOON)) == []


# Alerts


def alert(number: int, **changes) -> Alert:
    time = samples.NOON + timedelta(minutes=number)
    return replace(Alert(f"alt_{number}", f"occasion {number}", "budget", "five", "five is reached", time), **changes)


async def test_an_alert_is_raised_once_on_its_occasion(ledger):
    """Whoever comes second is told so, and nothing changes."""
    assert await ledger.books.add_alert(alert(1))
    assert not await ledger.books.add_alert(alert(2, occasion="occasion 1"))

    assert await ledger.books.alerts(since=None, before=None, limit=9) == [alert(1)]


async def test_alerts_are_listed_newest_first_from_a_time_and_in_pages(ledger):
    """With what became of their messages."""
    for number in range(4):
        await ledger.books.add_alert(alert(number))
    await ledger.books.delivered("alt_2")

    async def found(**query) -> list[str]:
        asked = {"since": None, "before": None, "limit": 9} | query
        return [each.id for each in await ledger.books.alerts(**asked)]

    assert await found() == ["alt_3", "alt_2", "alt_1", "alt_0"]
    assert await found(limit=2) == ["alt_3", "alt_2"]
    assert await found(before="alt_2") == ["alt_1", "alt_0"]
    assert await found(since=alert(2).create_time) == ["alt_3", "alt_2"]
    (newest, done) = await ledger.books.alerts(since=None, before=None, limit=2)
    assert (newest.delivery, done.delivery) == (Delivery.NONE, Delivery.DONE)


async def test_an_alert_is_given_up_by_one_alone_and_may_be_delivered_after_all(ledger):
    """Who hears that it was the first has it; what was delivered is nobody's to give up."""
    await ledger.books.add_alert(alert(1, delivery=Delivery.PENDING))
    await ledger.books.add_alert(alert(2, delivery=Delivery.PENDING))

    first = sorted(await asyncio.gather(*(ledger.books.give_up("alt_1") for _ in range(4))))
    await ledger.books.delivered("alt_2")
    late = await ledger.books.give_up("alt_2")
    before = [each.delivery for each in await ledger.books.alerts(since=None, before=None, limit=9)]
    await ledger.books.delivered("alt_1")

    assert (first, late, before) == ([False, False, False, True], False, [Delivery.DONE, Delivery.FAILED])
    (_, again) = await ledger.books.alerts(since=None, before=None, limit=9)
    assert again.delivery is Delivery.DONE
