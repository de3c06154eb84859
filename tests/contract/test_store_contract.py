"""What every store promises, held against each implementation."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

import samples
from pictord.domain.generation import AttemptState, Generation, Output, State, Timings
from pictord.domain.money import Cost, CostBasis
from pictord.domain.outcome import Outcome
from pictord.domain.reason import Reason
from pictord.domain.request import Lineage
from pictord.store.base import (
    Conflict,
    Ending,
    HoldRefused,
    Joined,
    ListFilter,
    Opened,
    Opening,
    OwnedImage,
    Replayed,
    SpendLimit,
    Store,
)
from pictord.store.memory import MemoryStore, Retention
from pictord.store.retention import SqlRetention
from pictord.store.sql import SqlStore
from pictord.store.upkeep import open_database

DAY = SpendLimit("day:2026-11-22", 200_000_000, Reason.DAILY_CAP)


@dataclass
class Deleted:
    """The asset store as retention sees it, on a disk that may refuse."""

    names: list[str] = field(default_factory=list)
    refusal: BaseException | None = None
    tries: int = 0

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
        self.tries += 1
        if self.refusal is not None:
            raise self.refusal
        if not unless(sha256):
            self.names.append(sha256)


@dataclass
class Calendar:
    """A clock that tests set."""

    now: datetime = samples.NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def deleted() -> Deleted:
    return Deleted()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request, databases, tmp_path, calendar: Calendar, deleted: Deleted) -> AsyncIterator[Store]:
    if request.param == "memory":
        kept = Retention(keep_s=3600, keep_bytes=2500, record_bytes=10)
        made: Store = MemoryStore(deleted, now=calendar, retention=kept)
    else:
        address = (
            databases.sqlite(tmp_path / "pictor.db")
            if request.param == "sqlite"
            else databases.postgresql(request.getfixturevalue("postgresql"))
        )
        made = SqlStore(open_database(address), deleted, now=calendar, retention=SqlRetention(3600))
    yield made
    await made.close()


def opening(generation: Generation, *, limits: tuple[SpendLimit, ...] = (), mark: str = "same", **changes) -> Opening:
    attempts = tuple(
        samples.attempt(f"att_{generation.id}_{o.index}", output_index=o.index) for o in generation.outputs
    )
    return Opening(generation, mark, attempts, limits, **changes)


def asking(request_id: str) -> Generation:
    return samples.generation(request=samples.request(request_id=request_id))


SUCCESS = Ending(State.SUCCEEDED, None, "", Timings(), samples.NOON)
FAILURE = Ending(State.FAILED, Reason.CONTENT_POLICY, "refused", Timings(), samples.NOON)


async def completed(store: Store, generation: Generation, **image_changes) -> Generation:
    """Open, draw and finish one generation with one image."""
    opened = opening(generation)
    await store.open(opened)
    await store.mark_sent(generation.id, opened.attempts[0].id, samples.NOON)
    image = samples.image(f"img_{generation.id}", **image_changes)
    await store.finish_attempt(generation.id, samples.finished(opened.attempts[0]), image)
    await store.finish_output(generation.id, Output(0, State.SUCCEEDED, image))
    return await store.finish(generation.id, SUCCESS, keep=True)


# Life of a generation


async def test_an_opened_generation_has_its_intents_and_their_estimates(store):
    """Before anything is sent the record shows what is held."""
    answer = await store.open(opening(samples.generation(request=samples.request(count=2))))

    assert isinstance(answer, Opened)
    record = await store.get("gen_1")
    assert [a.state for a in record.attempts] == [AttemptState.INTENT, AttemptState.INTENT]
    assert record.cost == Cost(120_000_000, CostBasis.ESTIMATED)
    assert record.state is State.PENDING


async def test_a_sent_attempt_makes_the_generation_run(store):
    """`mark_sent` is visible before the provider hears of it."""
    await store.open(opening(samples.generation()))

    await store.mark_sent("gen_1", "att_gen_1_0", samples.NOON)

    record = await store.get("gen_1")
    assert record.state is State.RUNNING
    assert (record.attempts[0].state, record.attempts[0].sent_time) == (AttemptState.SENT, samples.NOON)


async def test_a_finished_generation_keeps_image_cost_and_ending(store):
    """The record of a success is complete."""
    record = await completed(store, samples.generation())

    assert record == await store.get("gen_1")
    assert record.state is State.SUCCEEDED
    assert record.cost == Cost(53_000_000, CostBasis.REPORTED)
    assert [image.id for image in record.images] == ["img_gen_1"]
    assert await store.image("img_gen_1") == OwnedImage("studio", record.images[0])


async def test_an_unknown_id_is_none_and_not_expired(store):
    """What never existed is told apart from what was dropped."""
    assert await store.get("gen_none") is None
    assert await store.image("img_none") is None
    assert await store.expired("gen_none") is None


# Money


async def test_a_cap_refuses_what_does_not_fit_and_holds_nothing(store):
    """Open reserves all first attempts or none."""
    three = samples.generation(request=samples.request(count=4))

    answer = await store.open(opening(three, limits=(DAY,)))

    assert answer == HoldRefused(DAY, 240_000_000, 200_000_000)
    assert await store.spent(DAY.scope) == 0
    assert await store.get(three.id) is None


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
async def test_of_several_limits_none_is_held_if_one_has_no_room(store, names):
    """Whichever is looked at first: what one took is given back, and others' holds stay."""
    roomy, tight = replace(DAY, scope=names[0]), replace(DAY, scope=names[1], cap=100_000_000)
    first, second = samples.generation("gen_1"), samples.generation("gen_2")
    await store.open(opening(first, limits=(roomy, tight)))

    refused = await store.open(opening(second, limits=(roomy, tight)))

    assert refused == HoldRefused(tight, 60_000_000, 40_000_000)
    assert [await store.spent(each.scope) for each in (roomy, tight)] == [60_000_000, 60_000_000]
    assert await store.get(second.id) is None


async def test_settling_frees_the_rest_of_a_hold(store):
    """What the estimate was over is available again."""
    await store.open(opening(samples.generation(), limits=(DAY,)))
    assert await store.spent(DAY.scope) == 60_000_000

    await store.finish_attempt("gen_1", samples.finished(samples.attempt("att_gen_1_0"), 53_000_000), None)

    assert await store.spent(DAY.scope) == 53_000_000


async def test_a_generation_of_one_picture_ends_with_it_as_it_would_end_step_by_step(store):
    """One transaction instead of two, and the same record."""
    records = []
    for number, finish in enumerate((samples.finish_one_by_one, samples.finish_at_once)):
        asked = samples.generation(f"gen_{number}", request=samples.request(request_id=f"r{number}"))
        opened = opening(asked, limits=(DAY,))
        generation_id, (attempt,) = opened.generation.id, opened.attempts
        await store.open(opened)
        await store.mark_sent(generation_id, attempt.id, samples.NOON)

        ended = await finish(store, generation_id, samples.finished(attempt), samples.image(f"img_{number}"))

        assert await store.get(generation_id) == ended
        assert await store.claimed("studio", f"r{number}", "same") == Replayed(ended)
        assert (await store.image(f"img_{number}")).image == ended.images[0]
        records.append(ended)
    one_by_one, at_once = records
    assert at_once.state is State.SUCCEEDED
    assert (at_once.cost, at_once.timings, at_once.finish_time) == (
        one_by_one.cost,
        one_by_one.timings,
        one_by_one.finish_time,
    )
    assert await store.spent(DAY.scope) == 2 * 53_000_000


async def test_a_hold_is_resolved_at_most_once(store):
    """A second settlement of the same attempt changes nothing."""
    await store.open(opening(samples.generation(), limits=(DAY,)))
    attempt = samples.finished(samples.attempt("att_gen_1_0"), 53_000_000)
    await store.finish_attempt("gen_1", attempt, None)

    await store.finish_attempt("gen_1", replace(attempt, cost=Cost(1, CostBasis.REPORTED)), None)

    assert await store.spent(DAY.scope) == 53_000_000
    assert (await store.get("gen_1")).cost.nanos == 53_000_000


async def test_an_unknown_outcome_stays_charged_at_the_estimate(store):
    """Unknown is never zero."""
    await store.open(opening(samples.generation(), limits=(DAY,)))
    lost = samples.finished(
        samples.attempt("att_gen_1_0"), outcome=Outcome.SERVER_ERROR, cost=Cost(60_000_000, CostBasis.UNKNOWN)
    )

    await store.finish_attempt("gen_1", lost, None)

    assert await store.spent(DAY.scope) == 60_000_000
    assert (await store.get("gen_1")).cost == Cost(60_000_000, CostBasis.UNKNOWN)


async def test_a_further_attempt_needs_room_for_its_own_hold(store):
    """A fallback is refused when both holds do not fit."""
    cap = SpendLimit("generation:gen_1", 100_000_000, Reason.MAX_COST, ends_with_generation=True)
    await store.open(opening(samples.generation(), limits=(cap,)))

    answer = await store.open_attempt("gen_1", samples.attempt("att_2", index=1))

    assert answer == HoldRefused(cap, 60_000_000, 40_000_000)
    assert len((await store.get("gen_1")).attempts) == 1


async def test_racing_openings_never_pass_a_cap(store):
    """A cap for three holds lets three of fifty through."""
    generations = [samples.generation(f"gen_{number:02}") for number in range(50)]

    answers = await asyncio.gather(*(store.open(opening(each, limits=(DAY,))) for each in generations))

    assert sum(isinstance(answer, Opened) for answer in answers) == 3
    assert await store.spent(DAY.scope) == 180_000_000


async def test_the_scope_of_a_set_ends_with_its_last_record(store, calendar):
    """A set that is sent again stays under its cap; when nothing of it is left, neither is its scope."""
    cap = SpendLimit("set:set_1", 200_000_000, Reason.MAX_COST, ends_with_generation=True)
    for number in range(2):
        member = samples.request(lineage=Lineage(set_id="set_1"))
        opened = opening(samples.generation(f"gen_{number}", request=member), limits=(cap, DAY))
        await store.open(opened)
        await store.finish_attempt(f"gen_{number}", samples.finished(opened.attempts[0]), None)
        await store.finish(f"gen_{number}", FAILURE, keep=True)
        calendar.advance(seconds=1800)
    assert await store.spent(cap.scope) == 106_000_000

    calendar.advance(seconds=1)
    assert await store.get("gen_0") is None
    assert await store.spent(cap.scope) == 106_000_000

    calendar.advance(seconds=1800)
    assert await store.get("gen_1") is None
    assert (await store.spent(cap.scope), await store.spent(DAY.scope)) == (0, 106_000_000)


# Idempotency


async def test_the_same_request_id_joins_what_is_in_flight(store):
    """The second caller is told which generation runs."""
    await store.open(opening(asking("r1")))

    answer = await store.open(opening(replace(asking("r1"), id="gen_2")))

    assert answer == Joined("gen_1")
    assert await store.claimed("studio", "r1", "same") == Joined("gen_1")


async def test_the_same_request_id_replays_what_has_finished(store):
    """A finished result is given again, not made again."""
    record = await completed(store, asking("r1"))

    assert await store.open(opening(replace(asking("r1"), id="gen_2"))) == Replayed(record)
    assert await store.find("studio", "r1") == record


async def test_the_same_request_id_with_another_payload_conflicts(store):
    """A request id means one request."""
    await store.open(opening(asking("r1")))

    assert await store.open(opening(replace(asking("r1"), id="gen_2"), mark="other")) == Conflict("gen_1")


async def test_request_ids_of_different_callers_are_different(store):
    """Another caller's id is no claim."""
    await store.open(opening(asking("r1")))

    answer = await store.open(opening(replace(asking("r1"), id="gen_2", caller="other")))

    assert isinstance(answer, Opened)
    assert await store.find("third", "r1") is None


async def test_a_failure_that_is_not_kept_frees_its_request_id(store):
    """A refusal of our own that cost nothing can be tried again."""
    await store.open(opening(asking("r1")))
    await store.finish("gen_1", FAILURE, keep=False)

    answer = await store.open(opening(replace(asking("r1"), id="gen_2")))

    assert isinstance(answer, Opened)


# Listing


async def test_listing_is_newest_first_and_pages_by_id(store):
    """A page continues where the last one ended, whatever came meanwhile."""
    for number in range(5):
        await store.open(opening(samples.generation(f"gen_{number}")))

    first = await store.list(ListFilter(limit=2))
    await store.open(opening(samples.generation("gen_9")))
    second = await store.list(ListFilter(limit=2, before=first[-1].id))

    assert [g.id for g in first + second] == ["gen_4", "gen_3", "gen_2", "gen_1"]


async def test_listing_filters_by_caller_set_label_state_and_time(store):
    """Each filter narrows the list."""
    lineage = Lineage(set_id="set_1", item_key="a")
    request = samples.request(labels={"team": "ads"}, lineage=lineage)
    await store.open(opening(samples.generation("gen_1", caller="other")))
    await store.open(opening(samples.generation("gen_2", request=request)))
    later = samples.NOON + timedelta(minutes=1)
    await store.open(opening(samples.generation("gen_3", create_time=later)))

    async def found(**query: object) -> list[str]:
        return [g.id for g in await store.list(ListFilter(**query))]

    assert await found(caller="other") == ["gen_1"]
    assert await found(set_id="set_1") == ["gen_2"]
    assert await found(labels={"team": "ads"}) == ["gen_2"]
    assert await found(since=later) == ["gen_3"]
    assert await found(until=later) == ["gen_2", "gen_1"]
    assert await found(state=State.SUCCEEDED) == []


# Uploads and retention


async def test_an_upload_is_an_image_of_its_caller(store):
    """An uploaded picture can be found by id."""
    await store.add_upload("studio", samples.image("img_up"))

    assert await store.image("img_up") == OwnedImage("studio", samples.image("img_up"))


async def test_finished_work_expires_after_its_time_and_its_picture_goes(store, calendar, deleted):
    """After an hour the record is EXPIRED, with whose it was, and the file deleted."""
    await completed(store, asking("r1"))
    calendar.advance(seconds=3601)

    assert await store.get("gen_1") is None
    assert await store.expired("gen_1") == await store.expired("img_gen_1") == "studio"
    assert await store.find("studio", "r1") is None
    assert deleted.names == ["ab" * 32]


async def test_what_is_due_goes_though_nobody_calls(store, calendar, deleted):
    """All of it, by the look that a gateway takes from time to time."""
    await completed(store, asking("r1"))
    await store.retire()
    assert deleted.names == []
    calendar.advance(seconds=3601)

    await store.retire()

    assert deleted.names == ["ab" * 32]
    assert await store.expired("gen_1") == "studio"


async def test_running_work_never_expires(store, calendar):
    """Retention counts from the end."""
    await store.open(opening(samples.generation()))
    calendar.advance(hours=5)

    assert await store.get("gen_1") is not None


@pytest.mark.parametrize("store", ["memory"], indirect=True)
async def test_the_oldest_goes_first_when_pictures_take_too_much_room(store, deleted):
    """2,500 bytes hold two pictures of 1,000."""
    for number in range(3):
        await completed(store, samples.generation(f"gen_{number}"), sha256=f"{number}" * 64)

    assert await store.expired("gen_0") == "studio"
    assert await store.get("gen_1") is not None
    assert deleted.names == ["0" * 64]


async def test_a_picture_that_two_records_share_is_kept_for_the_second(store, calendar, deleted):
    """Content is addressed by hash: the file lives as long as its last record."""
    await completed(store, samples.generation("gen_1"))
    calendar.advance(seconds=1800)
    await completed(store, samples.generation("gen_2"))
    calendar.advance(seconds=1801)

    assert await store.get("gen_1") is None
    assert await store.get("gen_2") is not None
    assert deleted.names == []


@pytest.mark.parametrize("store", ["memory"], indirect=True)
async def test_a_picture_that_many_records_share_takes_its_room_once(store):
    """A set from one reference of 1,000 bytes has ten records and one file."""
    for number in range(10):
        opened = opening(samples.generation(f"gen_{number}"), inputs={"cd" * 32: 1000})
        await store.open(opened)
        await store.finish(f"gen_{number}", FAILURE, keep=True)

    assert await store.get("gen_0") is not None


@pytest.mark.parametrize("store", ["memory"], indirect=True)
async def test_a_shared_picture_gives_its_room_back_with_its_last_record(store, calendar):
    """Whatever was counted is taken off again: afterwards 2,500 bytes hold as much as before."""
    for number in range(3):
        await completed(store, samples.generation(f"gen_{number}"))
        await store.add_upload("studio", samples.image("img_up"))
    calendar.advance(seconds=3601)

    for number in range(3, 6):
        await completed(store, samples.generation(f"gen_{number}"), sha256=f"{number}" * 64)

    assert [(await store.get(f"gen_{number}")) is None for number in range(3, 6)] == [True, False, False]


@pytest.mark.parametrize("store", ["memory"], indirect=True)
async def test_records_without_pictures_take_room_too(store):
    """Refused prompts of 1,000 bytes: memory is bounded as the disk is, and the oldest goes first."""
    for number in range(3):
        long = samples.generation(f"gen_{number}", request=samples.request(prompt="ü" * 500))
        await store.open(opening(long))
        await store.finish(long.id, FAILURE, keep=True)

    assert await store.expired("gen_0") == "studio"
    assert await store.get("gen_1") is not None


async def test_pictures_a_request_was_made_from_live_as_long_as_the_record(store, calendar, deleted):
    """A re-roll of an edit needs its inputs."""
    await store.open(opening(samples.generation(), inputs={"cd" * 32: 10}))
    await store.finish("gen_1", FAILURE, keep=True)
    assert deleted.names == []

    calendar.advance(seconds=3601)
    await store.get("gen_1")

    assert deleted.names == ["cd" * 32]


async def test_a_file_that_is_needed_again_by_the_time_of_its_deletion_stays(store, calendar, deleted):
    """Whoever brings the same picture before the disk gets round to it keeps it."""
    deleted.refusal = OSError(errno.EIO, "Input/output error")
    await completed(store, samples.generation("gen_1"))
    calendar.advance(seconds=3601)
    await store.get("gen_1")

    await store.add_upload("studio", samples.image("img_up"))
    deleted.refusal = None
    calendar.advance(seconds=61)
    await store.get("gen_1")

    assert deleted.names == []


async def test_a_disk_that_refuses_to_delete_is_nobody_elses_trouble(store, calendar, deleted, caplog):
    """Calls go on as if the file were gone; it is logged, and deleted when the disk allows it again."""
    deleted.refusal = OSError(errno.EROFS, "Read-only file system")
    await completed(store, samples.generation("gen_1"))
    await completed(store, samples.generation("gen_2"), sha256="cd" * 32)
    calendar.advance(seconds=3601)

    record = await completed(store, samples.generation("gen_3"), sha256="ef" * 32)

    assert await store.get("gen_1") is None
    assert await store.get("gen_3") == record
    assert (deleted.tries, len(caplog.records)) == (1, 1)
    assert "Read-only file system" in caplog.text

    deleted.refusal = None
    calendar.advance(seconds=61)
    await store.get("gen_3")
    assert sorted(deleted.names) == ["ab" * 32, "cd" * 32]


async def test_a_call_that_is_cancelled_while_it_deletes_loses_no_file(store, calendar, deleted):
    """Whoever calls next deletes it."""
    await completed(store, samples.generation())
    calendar.advance(seconds=3601)
    deleted.refusal = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await store.get("gen_1")

    deleted.refusal = None
    await store.get("gen_1")

    assert deleted.names == ["ab" * 32]


async def test_an_upload_expires_too(store, calendar):
    """Like everything else, with whose it was."""
    await store.add_upload("shop", samples.image("img_up"))
    calendar.advance(seconds=3601)

    assert await store.image("img_up") is None
    assert await store.expired("img_up") == "shop"


async def test_uploading_again_renews_an_upload(store, calendar):
    """The same picture sent again counts from now."""
    await store.add_upload("studio", samples.image("img_up"))
    calendar.advance(seconds=1800)
    await store.add_upload("studio", samples.image("img_up"))
    calendar.advance(seconds=1801)

    assert await store.image("img_up") is not None
