"""Alerts: raised once on each occasion, whatever happens how often."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

import samples
from pictord.domain.alert import Alert, Delivery
from pictord.domain.budget import EACH, Budget, Counted, Unit, Window
from pictord.domain.generation import Generation
from pictord.domain.money import Cost, CostBasis, Usage
from pictord.domain.outcome import Outcome
from pictord.domain.reason import Reason
from pictord.errors import GatewayError
from pictord.jobs.alerts import AlertPorts, Alerts
from pictord.jobs.budgets import Budgets
from pictord.store.base import HoldRefused, Opening
from pictord.store.memory import MemoryStore

TEN_CENTS = Budget("ten", Counted.GLOBAL, "", Unit.USD, Window.DAY, 100_000_000)
USAGE = Usage(image_out_tokens=1)


class Folder:
    """The asset store, of which nothing is asked here."""

    async def delete(self, sha256: str) -> None: ...


@dataclass
class World:
    """A ledger in memory, a clock, and what was said in log and metrics."""

    now: datetime = samples.NOON
    said: list[tuple[str, str, str | None]] = field(default_factory=list)
    is_priced: bool = True
    numbers: int = 0

    def __post_init__(self) -> None:
        self.store = MemoryStore(Folder(), now=lambda: self.now)
        self.budgets = Budgets(
            self.store.books,
            lambda: self.now,
            on_counted=lambda budget: self.alerts.budget_set(budget),  # noqa: PLW0108 - alerts are another process's later
        )
        self.alerts = self.process()

    def process(self, webhook=None, *, is_alone: bool = True) -> Alerts:
        """Alerts as a new process has them."""
        return Alerts(
            AlertPorts(
                store=self.store,
                budgets=self.budgets,
                announce=lambda kind, text, provider: self.said.append((kind, text, provider)),
                end_user=lambda caller, user: f"hash of {user}",
                is_priced=lambda model, day: self.is_priced,
                now=lambda: self.now,
                new_id=self.new_id,
                sleep=asyncio.sleep,
                webhook=webhook,
                is_alone=is_alone,
            )
        )

    def new_id(self, prefix: str) -> str:
        self.numbers += 1
        return f"{prefix}_{self.numbers:03}"

    async def draw(
        self, nanos: int = 40_000_000, *, caller: str = "studio", end_user: str | None = None, **attempt
    ) -> Generation:
        """Draw one picture at a cost, and tell the alerts."""
        request = samples.request(end_user=end_user)
        made = samples.generation(self.new_id("gen"), caller=caller, request=request, create_time=self.now)
        hashed = f"hash of {end_user}" if end_user else None
        limits = tuple(self.budgets.limits(made, hashed, self.now))
        opened = samples.attempt(self.new_id("att"), create_time=self.now)
        await self.store.open(Opening(made, "", (opened,), limits, end_user=hashed))
        values = {"usage": USAGE, "served_version": "v1"} | attempt
        ended = samples.finished(opened, nanos, **values)
        image = samples.image(self.new_id("img")) if ended.outcome is Outcome.IMAGE else None
        await self.store.finish_attempt(made.id, ended, image)
        generation = replace(made, attempts=(ended,))
        self.alerts.finished(generation)
        return generation

    async def kept(self) -> list[Alert]:
        """What is listed, oldest first."""
        await self.alerts.look()
        return list(reversed(await self.store.books.alerts(since=None, before=None, limit=99)))

    def texts(self) -> list[str]:
        return [text for _, text, _ in self.said]


@pytest.fixture
def world() -> World:
    return World()


# Budgets


async def test_each_threshold_is_raised_once_in_a_window(world):
    """50, 80 and 100 % of ten cents, by three pictures for four cents each; said, and kept; and anew the next day."""
    await world.budgets.set(replace(TEN_CENTS, is_hard=False))
    counts = []
    for _ in range(4):
        await world.draw()
        counts.append(len(await world.kept()))
    assert counts == [0, 2, 3, 3]
    assert world.texts() == [
        "budget 'ten' has reached 50 % in 2026-11-22: $0.0800 of $0.1000",
        "budget 'ten' has reached 80 % in 2026-11-22: $0.0800 of $0.1000",
        "budget 'ten' has reached 100 % in 2026-11-22: $0.1200 of $0.1000",
    ]

    world.now += timedelta(days=1)
    await world.draw(50_000_000)

    assert (await world.kept())[-1].text == "budget 'ten' has reached 50 % in 2026-11-23: $0.0500 of $0.1000"


async def test_a_budget_that_was_raised_alerts_anew(world):
    """Who answers an alert with a larger amount wants to hear when that is spent, not wait for the next window."""
    await world.budgets.set(replace(TEN_CENTS, is_hard=False))
    await world.draw(100_000_000)
    assert len(await world.kept()) == 3

    await world.budgets.set(replace(TEN_CENTS, is_hard=False, amount=200_000_000))
    await world.draw(10_000_000)

    assert (await world.kept())[-1].text == "budget 'ten' has reached 50 % in 2026-11-22: $0.1100 of $0.2000"


async def test_a_budget_that_is_set_past_its_threshold_alerts_at_once(world):
    """Nobody has to draw once more to hear it; saying the same again says nothing new, another amount does."""
    await world.draw(90_000_000)
    assert await world.kept() == []

    for _ in range(2):
        await world.budgets.set(TEN_CENTS)
        assert [each.text for each in await world.kept()] == [
            "budget 'ten' has reached 50 % in 2026-11-22: $0.0900 of $0.1000",
            "budget 'ten' has reached 80 % in 2026-11-22: $0.0900 of $0.1000",
        ]
    assert world.alerts.used() == {"ten": 0.9}

    await world.budgets.set(replace(TEN_CENTS, amount=160_000_000))

    assert (await world.kept())[2].text == "budget 'ten' has reached 50 % in 2026-11-22: $0.0900 of $0.1600"
    assert len(world.said) == 3


async def test_a_budget_for_each_is_set_past_what_one_has_spent(world):
    """Who has spent the most is named, though others have spent less."""
    five = Budget("five", Counted.END_USER, EACH, Unit.PICTURES, Window.MONTH, 2, thresholds=(100,))
    for user in ("ann", "bob", "bob", "cid"):
        await world.draw(end_user=user)

    await world.budgets.set(five)

    (alert,) = await world.kept()
    assert alert.text == "budget 'five' has reached 100 % in 2026-11 by hash of bob: 2 pictures of 2 pictures"


async def test_a_budget_that_could_not_be_looked_at_is_looked_at_again(world, monkeypatch):
    """The store was away when it was set."""
    await world.draw(50_000_000)
    await world.budgets.set(TEN_CENTS)
    counted = world.store.books.counted

    async def is_away(*_) -> None:
        monkeypatch.setattr(world.store.books, "counted", counted)
        raise GatewayError(Reason.STORE_UNAVAILABLE, "away")

    monkeypatch.setattr(world.store.books, "counted", is_away)
    with pytest.raises(GatewayError):
        await world.alerts.look()

    assert [each.subject for each in await world.kept()] == ["ten"]


async def test_a_new_process_raises_no_alert_again(world):
    """The books remember, and so does nobody's log repeat it."""
    await world.budgets.set(replace(TEN_CENTS, is_hard=False))
    await world.draw(60_000_000)
    await world.kept()

    world.alerts = world.process()
    await world.draw(1)

    assert len(await world.kept()) == len(world.said) == 1


async def test_a_refusal_is_an_exhausted_budget(world):
    """The sum of a hard budget may stay below its amount for good."""
    await world.budgets.set(TEN_CENTS)
    await world.draw(70_000_000)
    (limit,) = world.budgets.limits(samples.generation(), None, world.now)
    for _ in range(3):
        world.alerts.refused(HoldRefused(limit, 60_000_000, 30_000_000))

    found = await world.kept()

    assert [each.text for each in found] == [
        "budget 'ten' is exhausted: a request found no room, $0.0300 of $0.1000 is left",
        "budget 'ten' has reached 50 % in 2026-11-22: $0.0700 of $0.1000",
    ]
    assert {each.kind for each in found} == {"budget"}
    assert {provider for _, _, provider in world.said} == {None}


EACH_CALLER = Budget("each", Counted.CALLER, EACH, Unit.USD, Window.DAY, 100_000_000, thresholds=(50, 100))


async def test_each_caller_of_a_budget_for_each_alerts_by_itself(world):
    """A budget of each one is each one's business: the second to reach it is no less news."""
    await world.budgets.set(replace(EACH_CALLER, is_hard=False))
    await world.kept()
    for caller in ("studio", "ads", "ads"):
        await world.draw(60_000_000, caller=caller)

    assert [each.text for each in await world.kept()] == [
        "budget 'each' has reached 50 % in 2026-11-22 by studio: $0.0600 of $0.1000",
        "budget 'each' has reached 50 % in 2026-11-22 by ads: $0.1200 of $0.1000",
        "budget 'each' has reached 100 % in 2026-11-22 by ads: $0.1200 of $0.1000",
    ]


async def test_a_budget_for_each_that_is_set_late_names_all_that_are_past_it(world):
    """Not only who has spent the most."""
    for caller, nanos in (("studio", 10_000_000), ("ads", 120_000_000), ("shop", 60_000_000)):
        await world.draw(nanos, caller=caller)

    await world.budgets.set(EACH_CALLER)

    assert [each.text.partition(" in 2026-11-22 by ") for each in await world.kept()] == [
        ("budget 'each' has reached 50 %", " in 2026-11-22 by ", "ads: $0.1200 of $0.1000"),
        ("budget 'each' has reached 100 %", " in 2026-11-22 by ", "ads: $0.1200 of $0.1000"),
        ("budget 'each' has reached 50 %", " in 2026-11-22 by ", "shop: $0.0600 of $0.1000"),
    ]


async def test_each_caller_that_finds_no_room_is_told(world):
    """By its name; the same one again says nothing new."""
    await world.budgets.set(EACH_CALLER)
    for caller in ("studio", "shop/2", "studio"):
        (limit,) = world.budgets.limits(samples.generation(caller=caller), None, world.now)
        world.alerts.refused(HoldRefused(limit, 110_000_000, 100_000_000))

    assert [each.text for each in await world.kept()] == [
        "budget 'each' is exhausted by studio: a request found no room, $0.1000 of $0.1000 is left",
        "budget 'each' is exhausted by shop/2: a request found no room, $0.1000 of $0.1000 is left",
    ]


async def test_a_budget_for_each_end_user_alerts_once_for_all_of_them(world):
    """A hundred free users at their limit are one alert, which names the first; and so if they find no room."""
    await world.budgets.set(Budget("five", Counted.END_USER, EACH, Unit.PICTURES, Window.MONTH, 1, thresholds=(100,)))
    for user in ("ann", "bob", "cid"):
        await world.draw(end_user=user)
        await world.alerts.look()
        (limit,) = world.budgets.limits(samples.generation(), f"hash of {user}", world.now)
        world.alerts.refused(HoldRefused(limit, 1, 0))

    (alert,) = await world.kept()

    assert alert.text == "budget 'five' has reached 100 % in 2026-11 by hash of ann: 1 pictures of 1 pictures"


# What else is alarming


async def test_an_alarm_that_was_said_is_kept_once_in_an_hour(world):
    """Not said again; the next hour it is kept again."""
    for minutes in (0, 10, 20, 60):
        world.now = samples.NOON + timedelta(minutes=minutes)
        world.alerts.alarmed("unfunded", "openai", f"out of credit at {minutes}")

    assert [(each.kind, each.subject, each.text) for each in await world.kept()] == [
        ("unfunded", "openai", "out of credit at 0"),
        ("unfunded", "openai", "out of credit at 60"),
    ]
    assert world.said == []


async def test_an_alarm_about_a_model_is_kept_for_each_of_them(world):
    """The second model that an account may not use, in the same hour, is news."""
    for model in ("one", "two", "one"):
        world.alerts.alarmed("model_tripped", "gemini", f"gemini does not offer {model} to our account", model)

    assert [each.text for each in await world.kept()] == [
        "gemini does not offer one to our account",
        "gemini does not offer two to our account",
    ]


async def test_another_version_than_the_last_one_is_told(world):
    """Also if the last one was served to the process before."""
    await world.draw()
    world.alerts = world.process()
    world.now += timedelta(hours=1)
    await world.alerts.start()
    for version in ("v1", "v2", "v2"):
        await world.draw(served_version=version)

    (alert,) = await world.kept()
    await world.alerts.close()

    assert (alert.kind, alert.subject) == ("version_changed", "openai")
    assert alert.text == "openai serves gpt-image-2 as v2, until now it was v1"


async def test_a_picture_without_price_or_usage_is_told(world):
    """What is counted instead is said."""
    world.is_priced = False
    await world.draw()
    assert (await world.kept())[-1].text == "gpt-image-2 has no price for today, its first one counts"

    world.is_priced, world.now = True, world.now + timedelta(days=1)
    await world.draw(usage=None)
    assert (await world.kept())[-1].text == "gpt-image-2 reported no usage, its estimate counts"


async def test_unknown_cost_is_told_above_one_percent_of_the_day(world):
    """Sixty cents of sixty dollars are not worth a word; twice as much are."""
    lost = {"outcome": Outcome.SERVER_ERROR, "usage": None, "cost": Cost(600_000_000, CostBasis.UNKNOWN)}
    await world.draw(59_400_000_000)
    await world.draw(**lost)
    assert await world.kept() == []

    await world.draw(**lost)

    (alert,) = await world.kept()
    assert (alert.kind, alert.subject) == ("unknown_cost", "openai")
    assert "$1.2000 of $60.6000 at openai" in alert.text


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_unknown_cost_of_another_day_is_told_too(world, is_restarted):
    """What was sent before midnight, or by a process that died and was not started again at once, names its day."""
    await world.draw(outcome=Outcome.SERVER_ERROR, usage=None, cost=Cost(600_000_000, CostBasis.UNKNOWN))
    world.now += timedelta(days=1)
    if is_restarted:
        world.alerts = world.process()
        await world.alerts.start()

    (alert,) = await world.kept()
    await world.alerts.close()

    assert (alert.kind, alert.subject) == ("unknown_cost", "openai")
    assert "$0.6000 of $0.6000 at openai came to on 2026-11-22 is unknown" in alert.text


# Telling


class Listener:
    """A webhook that takes what it is told to take."""

    longest_s = 422.0

    def __init__(self, *, takes: bool) -> None:
        self.takes, self.told, self.has_heard = takes, [], asyncio.Event()

    async def tell(self, alert: Alert) -> bool:
        self.told.append(alert.text)
        self.has_heard.set()
        return self.takes


@pytest.mark.parametrize(("takes", "delivery"), [(True, Delivery.DONE), (False, Delivery.FAILED)])
async def test_an_alert_is_told_and_what_became_of_it_is_kept(world, takes, delivery):
    """By the tasks that run beside the jobs."""
    listener = Listener(takes=takes)
    world.alerts = world.process(listener)
    await world.alerts.start()
    world.alerts.alarmed("overrun", "gemini", "more than was held")

    await asyncio.wait_for(listener.has_heard.wait(), 5)
    await asyncio.sleep(0)
    (alert,) = await world.kept()
    await world.alerts.close()

    assert (listener.told, alert.delivery) == (["more than was held"], delivery)


async def test_what_was_not_told_is_told_by_the_next_process(world):
    """An alert that nobody took before the end is still pending at the next start."""
    world.alerts = world.process(Listener(takes=True))
    world.alerts.alarmed("overrun", "gemini", "more than was held")
    assert [each.delivery for each in await world.kept()] == [Delivery.PENDING]
    listener = Listener(takes=True)

    after = world.process(listener)
    await after.start()
    await asyncio.wait_for(listener.has_heard.wait(), 5)
    await after.close()

    assert listener.told == ["more than was held"]


class Deaf(Listener):
    """One that never answers who tells it certain words."""

    def __init__(self, *, to: str = "") -> None:
        super().__init__(takes=True)
        self.to, self.is_tried = to, asyncio.Event()

    async def tell(self, alert: Alert) -> bool:
        if self.to in alert.text:
            self.is_tried.set()
            await asyncio.Future()
        return await super().tell(alert)


async def test_an_alert_that_nobody_takes_holds_up_no_other(world):
    """It may be tried for minutes."""
    listener = Deaf(to="the first")
    world.alerts = world.process(listener)
    await world.alerts.start()
    for text, provider in (("the first", "gemini"), ("the second", "openai")):
        world.alerts.alarmed("overrun", provider, text)

    await asyncio.wait_for(listener.has_heard.wait(), 5)
    await world.alerts.close()

    assert listener.told == ["the second"]


async def test_a_neighbour_tells_only_what_its_own_process_cannot_be_telling_any_more(world, monkeypatch):
    """Nor does that one begin anew; of two neighbours that find it left, one tells it."""
    first, neighbours = Deaf(), [Listener(takes=True), Listener(takes=True)]
    world.alerts = world.process(first, is_alone=False)
    await world.alerts.start()
    world.alerts.alarmed("overrun", "gemini", "more than was held")
    await asyncio.wait_for(first.is_tried.wait(), 5)
    others = [world.process(each, is_alone=False) for each in neighbours]
    for each in others:
        await each.start()

    world.now += timedelta(seconds=422)
    await asyncio.gather(*(each.sweep() for each in others))
    early = [each.delivery for each in await world.kept()]
    world.now += timedelta(minutes=2)
    listed, all_have_looked = world.store.books.alerts, asyncio.Barrier(3)

    async def looked(**query) -> list[Alert]:
        found = await listed(**query)
        await all_have_looked.wait()
        return found

    with monkeypatch.context() as together:
        together.setattr(world.store.books, "alerts", looked)
        await asyncio.gather(*(each.sweep() for each in (world.alerts, *others)))
    heard = [asyncio.ensure_future(each.has_heard.wait()) for each in neighbours]
    await asyncio.wait(heard, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    for each in (*others, world.alerts):
        await each.sweep()
        await each.close()
    for each in heard:
        each.cancel()

    assert early == [Delivery.PENDING]
    assert sorted(each.told for each in neighbours) == [[], ["more than was held"]]
    assert first.told == []
    assert [each.delivery for each in await world.kept()] == [Delivery.DONE]


async def test_what_the_end_of_the_process_interrupts_is_kept(world, monkeypatch):
    """The last look raises what the one before was about to raise."""
    add_alert, has_begun = world.store.books.add_alert, asyncio.Event()

    async def never_ends(_) -> bool:
        monkeypatch.setattr(world.store.books, "add_alert", add_alert)
        has_begun.set()
        return await asyncio.Future()

    monkeypatch.setattr(world.store.books, "add_alert", never_ends)
    await world.alerts.start()
    world.alerts.alarmed("overrun", "gemini", "more than was held")
    await asyncio.wait_for(has_begun.wait(), 5)

    await world.alerts.close()

    assert [each.text for each in await world.kept()] == ["more than was held"]


@pytest.mark.parametrize("broken", ["look", "tell"])
async def test_one_alert_that_cannot_be_raised_or_told_is_not_the_last(world, monkeypatch, broken):
    """Whatever goes wrong with it, the tasks go on."""
    listener = Listener(takes=True)
    world.alerts = world.process(listener)
    holder, name = (world.store.books, "add_alert") if broken == "look" else (listener, "tell")
    whole, has_failed = getattr(holder, name), asyncio.Event()

    async def fails_once(_) -> bool:
        monkeypatch.setattr(holder, name, whole)
        has_failed.set()
        raise UnicodeError("label empty or too long in https://hooks.example/secret")

    monkeypatch.setattr(holder, name, fails_once)
    await world.alerts.start()
    world.alerts.alarmed("overrun", "gemini", "the first")
    await asyncio.wait_for(has_failed.wait(), 5)
    await asyncio.sleep(0)

    world.alerts.alarmed("overrun", "openai", "the second")
    await asyncio.wait_for(listener.has_heard.wait(), 5)
    await world.alerts.close()

    assert listener.told == ["the second"]


async def test_what_could_not_be_raised_is_raised_once_it_can_be(world, monkeypatch):
    """Though nothing else happens: a gateway that has nothing to do must not keep an alarm to itself."""
    add_alert, waited, is_raised = world.store.books.add_alert, [], asyncio.Event()

    async def is_full_at_first(alert: Alert) -> bool:
        if not waited:
            raise GatewayError(Reason.STORE_FULL, "no room")
        is_raised.set()
        return await add_alert(alert)

    async def at_once(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(world.store.books, "add_alert", is_full_at_first)
    world.alerts._ports = replace(world.alerts._ports, sleep=at_once)
    await world.alerts.start()
    world.alerts.alarmed("not_stored", "gemini", "a picture is paid and cannot be stored")

    await asyncio.wait_for(is_raised.wait(), 5)
    await world.alerts.close()

    assert waited[0] == 10.0
    assert [each.kind for each in await world.kept()] == ["not_stored"]
