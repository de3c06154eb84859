"""What every store promises of a deletion on request: whose records go, what goes with them, and what stays."""

import errno
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

import samples
from pictord.domain.generation import Generation, Output, State, Timings
from pictord.domain.rating import Rated, Rating, Thumb
from pictord.domain.reason import Reason
from pictord.domain.usage import Group, UsageQuery
from pictord.store.base import Deleted, Deletion, Ending, ListFilter, Opened, Opening, SpendLimit, Store
from pictord.store.memory import MemoryStore
from pictord.store.retention import SqlRetention
from pictord.store.sql import SqlStore
from pictord.store.upkeep import open_database

DAY = SpendLimit("day:2026-11-22", None, Reason.DAILY_CAP)
SUCCESS = Ending(State.SUCCEEDED, None, "", Timings(), samples.NOON)
PHOTO = "cd" * 32


@dataclass
class Disk:
    """The asset store as the store sees it, which may refuse."""

    deleted: list[str] = field(default_factory=list)
    is_down: bool = False

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
        if self.is_down:
            raise OSError(errno.EIO, "Input/output error")
        if not unless(sha256):
            self.deleted.append(sha256)


@dataclass
class Clock:
    now: datetime = samples.NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def address(request, databases, tmp_path):
    """Of the database behind the store; None for memory."""
    kind = request.node.callspec.params["store"]
    if kind == "memory":
        return None
    if kind == "sqlite":
        return databases.sqlite(tmp_path / "pictor.db")
    return databases.postgresql(request.getfixturevalue("postgresql"))


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request, address, disk: Disk, clock: Clock) -> AsyncIterator[Store]:
    if address is None:
        made: Store = MemoryStore(disk, now=clock)
    else:
        # Batches of two: a deletion takes several.
        made = SqlStore(open_database(address), disk, now=clock, retention=SqlRetention(batch=2))
    yield made
    await made.close()


def asking(id_: str, caller: str = "studio", **changes) -> Generation:
    return samples.generation(id_, caller=caller, request=samples.request(**changes))


async def begun(store: Store, generation: Generation, end_user: str | None = None, inputs=()) -> Opening:
    attempts = (samples.attempt(f"att_{generation.id}"),)
    opening = Opening(generation, "same", attempts, (DAY,), dict.fromkeys(inputs, 10), end_user)
    assert isinstance(await store.open(opening), Opened)
    return opening


async def drawn(store: Store, generation: Generation, end_user: str | None = None, inputs=(), **image) -> None:
    """Draw one picture to the end; its bytes are its own unless told otherwise."""
    opening = await begun(store, generation, end_user, inputs)
    picture = samples.image(f"img_{generation.id}", **({"sha256": f"sha of {generation.id}"} | image))
    done = samples.finished(opening.attempts[0], detail="what the provider said")
    await store.finish_attempt(generation.id, done, picture, Output(0, State.SUCCEEDED, picture))
    await store.finish(generation.id, SUCCESS, keep=True)


async def kept(store: Store) -> list[str]:
    return [each.id for each in await store.list(ListFilter())]


async def test_named_generations_go_with_their_pictures_and_their_request_ids(store, disk):
    """Afterwards they are expired for whom they belonged to, and the request id is new again."""
    await drawn(store, asking("gen_1", request_id="r1", labels={"team": "ads"}))
    await drawn(store, asking("gen_2"))

    assert await store.delete(Deletion(ids=("gen_1",))) == Deleted(("gen_1",), 0, ())

    assert await kept(store) == ["gen_2"]
    assert await store.list(ListFilter(labels={"team": "ads"})) == []
    assert await store.get("gen_1") is await store.image("img_gen_1") is await store.find("studio", "r1") is None
    assert await store.expired("gen_1") == await store.expired("img_gen_1") == "studio"
    assert disk.deleted == ["sha of gen_1"]


async def test_deleting_again_changes_nothing(store, disk):
    """Whoever is not sure asks again."""
    await drawn(store, asking("gen_1"))
    await store.delete(Deletion(ids=("gen_1",)))

    assert await store.delete(Deletion(ids=("gen_1", "gen_never"))) == Deleted((), 0, ())
    assert disk.deleted == ["sha of gen_1"]


async def test_what_was_made_for_an_end_user_goes_and_nobody_elses(store):
    """An end user belongs to one caller; the same hash under another name is somebody else."""
    for number in range(5):
        await drawn(store, asking(f"gen_{number}"), "hash of ann")
    await drawn(store, asking("gen_5"), "hash of ben")
    await drawn(store, asking("gen_6"))
    await drawn(store, asking("gen_7", caller="shop"), "hash of ann")

    deleted = await store.delete(Deletion(caller="studio", end_user="hash of ann"))

    assert sorted(deleted.generations) == [f"gen_{number}" for number in range(5)]
    assert await kept(store) == ["gen_7", "gen_6", "gen_5"]


async def test_everything_of_a_caller_goes_with_what_it_uploaded(store, disk):
    """In as many batches as it takes; the others' stay."""
    for number in range(5):
        await drawn(store, asking(f"gen_{number}"))
        await store.add_upload("studio", samples.image(f"img_up{number}", sha256=f"upload {number}"))
    await drawn(store, asking("gen_9", caller="shop"))
    await store.add_upload("shop", samples.image("img_shop", sha256="upload of shop"))

    deleted = await store.delete(Deletion(caller="studio"))

    assert (len(deleted.generations), deleted.uploads, deleted.running) == (5, 5, ())
    assert await kept(store) == ["gen_9"]
    assert await store.image("img_shop") is not None
    assert await store.expired("img_up3") == "studio"
    assert len(disk.deleted) == 10


async def test_what_runs_is_left_and_named(store):
    """Money is on its way: it is told apart, ends as it would have, and goes when it is asked for again."""
    opening = await begun(store, asking("gen_1"), "hash of ann")
    await drawn(store, asking("gen_2"), "hash of ann")
    ann = Deletion(caller="studio", end_user="hash of ann")

    assert await store.delete(ann) == Deleted(("gen_2",), 0, ("gen_1",))
    assert await store.delete(Deletion(ids=("gen_1",))) == Deleted((), 0, ("gen_1",))

    picture = samples.image("img_gen_1")
    output = Output(0, State.SUCCEEDED, picture)
    await store.finish_attempt("gen_1", samples.finished(opening.attempts[0]), picture, output)
    assert (await store.finish("gen_1", SUCCESS, keep=True)).images == (picture,)
    assert await store.delete(ann) == Deleted(("gen_1",), 0, ())


async def test_money_stays(store):
    """What was spent is counted as before, by everything that usage is grouped by, and under every budget."""
    await drawn(store, asking("gen_1"), "hash of ann")
    await drawn(store, asking("gen_2"))
    day = timedelta(days=1)
    query = UsageQuery(samples.NOON - day, samples.NOON + day, group_by=tuple(Group))
    before, spent = await store.books.usage(query), await store.spent(DAY.scope)

    await store.delete(Deletion(caller="studio"))

    assert len(before) == 2
    assert await store.books.usage(query) == before
    assert await store.spent(DAY.scope) == spent == 106_000_000


async def test_ratings_stay_without_their_words(store):
    """What was chosen counts on; why was somebody's own text."""
    await drawn(store, asking("gen_1"))
    rated = Rated.of(await store.get("gen_1"))
    await store.ratings.rate(Rating("studio", rated, Thumb.UP, (), "ann looks good here", samples.NOON))

    await store.delete(Deletion(ids=("gen_1",)))

    (rating,) = await store.ratings.about(["gen_1"], None)
    assert (rating.thumb, rating.text) == (Thumb.UP, "")


async def test_bytes_that_another_record_needs_stay(store, disk):
    """Of two records of one picture the second keeps the file."""
    await drawn(store, asking("gen_1"), sha256="shared")
    await drawn(store, asking("gen_2"), sha256="shared")

    await store.delete(Deletion(ids=("gen_1",)))
    assert disk.deleted == []

    await store.delete(Deletion(ids=("gen_2",)))
    assert disk.deleted == ["shared"]


async def test_an_upload_goes_with_the_last_generation_that_was_made_from_it(store, disk):
    """A photo of an end user's is no less theirs for having been uploaded first; another caller's upload stays."""
    await store.add_upload("studio", samples.image("img_photo", sha256=PHOTO))
    await store.add_upload("shop", samples.image("img_shop", sha256=PHOTO))
    await drawn(store, asking("gen_1"), "hash of ann", inputs=[PHOTO])
    await drawn(store, asking("gen_2"), "hash of ben", inputs=[PHOTO])

    assert (await store.delete(Deletion(caller="studio", end_user="hash of ann"))).uploads == 0
    assert await store.image("img_photo") is not None

    assert (await store.delete(Deletion(caller="studio", end_user="hash of ben"))).uploads == 1
    assert await store.expired("img_photo") == "studio"
    assert await store.image("img_shop") is not None
    assert PHOTO not in disk.deleted

    await store.delete(Deletion(caller="shop"))
    assert PHOTO in disk.deleted


async def test_an_upload_that_a_running_generation_is_made_from_stays(store, disk):
    """Its bytes are on their way to an engine."""
    await store.add_upload("studio", samples.image("img_photo", sha256=PHOTO))
    await drawn(store, asking("gen_1"), "hash of ann", inputs=[PHOTO])
    await begun(store, asking("gen_2"), "hash of ann", inputs=[PHOTO])

    deleted = await store.delete(Deletion(caller="studio", end_user="hash of ann"))

    assert deleted == Deleted(("gen_1",), 0, ("gen_2",))
    assert PHOTO not in disk.deleted


async def test_a_disk_that_refuses_keeps_nobodys_record(store, disk, clock):
    """The record is gone at once; the file goes when the disk lets it."""
    await drawn(store, asking("gen_1"))
    disk.is_down = True

    assert await store.delete(Deletion(ids=("gen_1",))) == Deleted(("gen_1",), 0, ())
    assert await store.get("gen_1") is None

    disk.is_down = False
    clock.now += timedelta(seconds=61)
    await store.get("gen_1")
    assert disk.deleted == ["sha of gen_1"]


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
async def test_a_file_that_could_not_be_deleted_is_deleted_by_the_next_process(store, address, disk, clock):
    """A bucket that is down until the gateway has been restarted keeps nothing that was to be deleted."""
    await drawn(store, asking("gen_1"))
    disk.is_down = True
    await store.delete(Deletion(ids=("gen_1",)))
    next_disk = Disk()
    restarted = SqlStore(open_database(address), next_disk, now=clock)

    await restarted.get("gen_1")
    await restarted.close()

    assert next_disk.deleted == ["sha of gen_1"]


async def test_a_request_id_of_a_deleted_generation_is_a_new_one(store):
    """Nothing is replayed that does not exist any more: the same request is drawn, and paid for, anew."""
    await drawn(store, asking("gen_1", request_id="r1"))
    await store.delete(Deletion(caller="studio"))

    assert await store.claimed("studio", "r1", "same") is None
    await drawn(store, replace(asking("gen_2", request_id="r1")))
    assert (await store.find("studio", "r1")).id == "gen_2"
