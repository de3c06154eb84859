"""What every store promises of ratings: the last word counts, and what the scorecard reads of them."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import pytest

import samples
from pictord.domain.generation import Output, State, Timings
from pictord.domain.outcome import Outcome
from pictord.domain.rating import Latency, Rated, Rating, Thumb, Votes
from pictord.domain.request import Workflow
from pictord.domain.usage import UsageQuery
from pictord.store.base import Ending, Opening, Store
from pictord.store.memory import MemoryStore, Retention
from pictord.store.retention import SqlRetention
from pictord.store.sql import SqlStore
from pictord.store.upkeep import open_database

HOUR = timedelta(hours=1)
ALL = UsageQuery(samples.NOON - HOUR, samples.NOON + HOUR)


class Forgotten:
    """An asset store that nothing is asked of but to delete."""

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
        """Nothing is kept here."""


class Calendar:
    """A clock that tests set."""

    now: datetime = samples.NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request, databases, tmp_path, calendar) -> AsyncIterator[Store]:
    if request.param == "memory":
        made: Store = MemoryStore(Forgotten(), now=calendar, retention=Retention(keep_s=60))
    else:
        address = (
            databases.sqlite(tmp_path / "pictor.db")
            if request.param == "sqlite"
            else databases.postgresql(request.getfixturevalue("postgresql"))
        )
        made = SqlStore(open_database(address), Forgotten(), now=calendar, retention=SqlRetention(60))
    yield made
    await made.close()


def rated(number: int, model: str = "gpt", **changes) -> Rated:
    values = {"owner": "studio", "workflow": "hero", "create_time": samples.NOON} | changes
    return Rated(f"gen_{number}", values["owner"], values["workflow"], model, values["create_time"])


def rating(subject: Rated, thumb=None, losers=(), caller="studio", text="") -> Rating:
    return Rating(caller, subject, thumb, tuple(losers), text, samples.NOON)


GPT, NANO, OTHER = rated(1), rated(2, "nano"), rated(3, "nano", workflow="")


async def test_a_winner_wins_once_over_each_and_they_lose_once(store):
    """Wins and losses are counted in pairs, so that both columns of a scorecard have the same sum."""
    await store.ratings.rate(rating(GPT, losers=[NANO, OTHER]))

    assert await store.ratings.votes(ALL) == {
        ("hero", "gpt"): Votes(wins=2),
        ("hero", "nano"): Votes(losses=1),
        ("", "nano"): Votes(losses=1),
    }


async def test_thumbs_are_counted_by_workflow_and_model(store):
    """Each caller's thumb counts."""
    await store.ratings.rate(rating(GPT, Thumb.UP))
    await store.ratings.rate(rating(GPT, Thumb.DOWN, caller="platform"))
    await store.ratings.rate(rating(NANO, Thumb.DOWN))

    assert await store.ratings.votes(ALL) == {
        ("hero", "gpt"): Votes(thumbs_up=1, thumbs_down=1),
        ("hero", "nano"): Votes(thumbs_down=1),
    }


async def test_the_last_rating_of_a_caller_counts(store):
    """A new rating replaces the thumb and the verdicts of the one before."""
    await store.ratings.rate(rating(GPT, Thumb.UP, [NANO]))
    await store.ratings.rate(rating(GPT, Thumb.DOWN, [OTHER], text="too dark"))

    assert await store.ratings.votes(ALL) == {
        ("hero", "gpt"): Votes(wins=1, thumbs_down=1),
        ("", "nano"): Votes(losses=1),
    }


async def test_the_opposite_verdict_withdraws_the_earlier_one(store):
    """Of a pair only one can win; what the winner won over others stays, and so does another caller's verdict."""
    await store.ratings.rate(rating(GPT, losers=[NANO, OTHER]))
    await store.ratings.rate(rating(GPT, losers=[NANO], caller="platform"))

    await store.ratings.rate(rating(NANO, losers=[GPT]))

    assert await store.ratings.votes(ALL) == {
        ("hero", "gpt"): Votes(wins=2, losses=1),
        ("hero", "nano"): Votes(wins=1, losses=1),
        ("", "nano"): Votes(losses=1),
    }


async def test_ratings_are_read_as_they_were_given(store):
    """Those of some generations, by one caller or by all, with everything that was said."""
    mine = rating(GPT, Thumb.UP, [NANO, OTHER], text="better \N{FOX FACE}")
    theirs = rating(GPT, Thumb.DOWN, caller="platform")
    for each in (mine, theirs, rating(OTHER, Thumb.UP)):
        await store.ratings.rate(each)

    assert await store.ratings.about(["gen_1", "gen_2"], "studio") == [mine]
    assert await store.ratings.about(["gen_1"], None) == [theirs, mine]
    assert await store.ratings.about(["gen_none"], None) == []


async def test_votes_are_those_of_what_was_made_in_the_time_by_its_owner(store):
    """A question has a time, from and until, and perhaps a caller: those of the generations, not of who rated when."""
    late = rated(4, "late", create_time=samples.NOON + HOUR)
    theirs = rated(5, "theirs", owner="shop")
    await store.ratings.rate(rating(late, Thumb.UP, [NANO]))
    await store.ratings.rate(rating(theirs, Thumb.UP, caller="platform"))

    assert await store.ratings.votes(ALL) == {
        ("hero", "nano"): Votes(losses=1),
        ("hero", "theirs"): Votes(thumbs_up=1),
    }
    from_then = UsageQuery(samples.NOON + HOUR, samples.NOON + 2 * HOUR)
    assert await store.ratings.votes(from_then) == {("hero", "late"): Votes(wins=1, thumbs_up=1)}
    of_shop = UsageQuery(ALL.since, ALL.until, caller="shop")
    assert await store.ratings.votes(of_shop) == {("hero", "theirs"): Votes(thumbs_up=1)}


async def drawn(store: Store, number: int, span_s: float, outcome=Outcome.IMAGE, **changes) -> None:
    """Draw one picture to the end, in so many seconds."""
    request = samples.request(workflow=changes.pop("workflow", None))
    generation = samples.generation(f"gen_{number}", request=request, **changes)
    attempt = samples.attempt(f"att_{number}", create_time=generation.create_time)
    image = samples.image(f"img_{number}") if outcome is Outcome.IMAGE else None
    state = State.SUCCEEDED if image else State.FAILED
    await store.open(Opening(generation, "same", (attempt,), ()))
    await store.mark_sent(generation.id, attempt.id, samples.NOON)
    done = samples.finished(attempt, outcome=outcome, finish_time=samples.NOON + timedelta(seconds=span_s))
    await store.finish_attempt(generation.id, done, image, Output(0, state, image))
    await store.finish(generation.id, Ending(state, None, "", Timings(), samples.NOON), keep=True)


async def test_latencies_are_percentiles_that_were_really_measured(store):
    """Half and nine in ten of the calls with a picture, by nearest rank; failures have no latency."""
    for number, span_s in enumerate([5, 1, 4, 2, 3, 9, 6, 8, 7, 10]):
        await drawn(store, number, span_s, workflow=Workflow.AD)
    await drawn(store, 20, 0.25)
    await drawn(store, 21, 900, Outcome.SERVER_ERROR)
    await drawn(store, 22, 77, caller="shop")
    await drawn(store, 23, 55, create_time=samples.NOON - 2 * HOUR)

    studio = UsageQuery(ALL.since, ALL.until, caller="studio")

    assert await store.ratings.latencies(studio) == {
        ("ad", "gpt-image-2"): Latency(5, 9),
        ("", "gpt-image-2"): Latency(0.25, 0.25),
    }
    assert (await store.ratings.latencies(ALL))["", "gpt-image-2"] == Latency(0.25, 77)


async def test_votes_outlive_the_pictures(store, calendar):
    """Retention takes the record and what people wrote; what they chose, and how long it took, stays."""
    await drawn(store, 1, 2)
    await store.ratings.rate(rating(rated(1, "gpt-image-2", workflow=""), Thumb.UP, text="my neighbour's fox"))
    calendar.now += HOUR

    assert await store.get("gen_1") is None
    assert await store.ratings.votes(ALL) == {("", "gpt-image-2"): Votes(thumbs_up=1)}
    assert await store.ratings.latencies(ALL) == {("", "gpt-image-2"): Latency(2, 2)}
    assert [each.text for each in await store.ratings.about(["gen_1"], None)] == [""]
