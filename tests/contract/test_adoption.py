"""Pictures that had arrived when their process died, and what became of their attempts meanwhile; on both databases."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

import samples
from pictord.assets.arrivals import ArrivalFolder, Arrived
from pictord.assets.objects import ObjectAssets, in_folder, pictures_in
from pictord.domain.generation import Output, State, Timings
from pictord.domain.money import Cost, CostBasis
from pictord.domain.reason import Reason
from pictord.domain.reconciliation import Invoice
from pictord.domain.reconciliation import reconcile as reconciled
from pictord.jobs.adoption import Adoption
from pictord.store import reconcile
from pictord.store.base import Deletion, Ending, Opening, SpendLimit
from pictord.store.sql import SqlStore
from pictord.store.upkeep import check, open_database

DATA = b"\x89PNG\r\n\x1a\n" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
DAY = SpendLimit("day:2026-11-22", 10**9, Reason.DAILY_CAP)
SENT = replace(samples.attempt(), adaptations=())
IMAGE = replace(samples.image(), size_bytes=len(DATA), sha256="")
LATER = samples.NOON + timedelta(days=3)


@dataclass
class Place:
    """A store, the pictures beside it, and one that has arrived for an attempt that was sent."""

    store: SqlStore
    assets: ObjectAssets
    images: Path
    arrived: Path

    async def adopt(self, assets: ObjectAssets | None = None) -> None:
        await Adoption(ArrivalFolder(self.arrived), assets or self.assets, self.store).adopt()

    async def settle(self, nanos: int) -> None:
        """Reconcile with an invoice of so much."""
        invoice = Invoice({(samples.NOON.date(), SENT.model): nanos}, {samples.NOON.date()})
        trail = reconcile.Trail("rec_1", SENT.provider, LATER, "ann", "costs.csv", "00")
        compare = partial(reconciled, invoice, now=LATER, tolerance_percent=Decimal(1))
        await self.store._database.write(lambda c: reconcile.apply(c, trail, [samples.NOON.date()], compare))

    def files(self) -> list[str]:
        return [path.name for path in pictures_in(self.images)]

    @property
    def is_forgotten(self) -> bool:
        return [*self.arrived.iterdir()] == []


@pytest.fixture(params=["sqlite", "postgresql"])
async def place(request, databases, tmp_path) -> AsyncIterator[Place]:
    if request.param == "sqlite":
        address = databases.sqlite(tmp_path / "pictor.db")
    else:
        address = databases.postgresql(request.getfixturevalue("postgresql"))
    images, arrived = tmp_path / "images", tmp_path / "arrived"
    assets = in_folder(images)
    store = SqlStore(open_database(address), assets, now=lambda: samples.NOON)
    await store.open(Opening(samples.generation(), "same", (SENT,), (DAY,)))
    await store.mark_sent("gen_1", SENT.id, samples.NOON)
    await ArrivalFolder(arrived).keep(Arrived("gen_1", samples.finished(SENT), IMAGE), DATA)
    yield Place(store, assets, images, arrived)
    await store.close()
    assert check(address).problems == ()


async def died(place: Place) -> None:
    """Its process died, and another one resolved what it left."""
    place.store._running.clear()
    await place.store.recover()


async def test_what_was_reconciled_meanwhile_gets_its_picture_and_keeps_that_cost(place):
    """It was billed, and is paid for: it must not be thrown away."""
    await died(place)
    await place.settle(41)

    await place.adopt()
    await place.adopt()

    record = await place.store.get("gen_1")
    assert (record.state, record.cost) == (State.SUCCEEDED, Cost(41, CostBasis.RECONCILED))
    assert [image.sha256 for image in record.images] == place.files() == [SHA256]
    assert await place.store.spent(DAY.scope) == 41
    assert place.is_forgotten


async def test_what_is_deleted_while_it_is_adopted_leaves_nothing(place):
    """Its money counts; neither record nor bytes stay, and the adoption goes on."""
    await died(place)

    class Slow(ObjectAssets):
        async def put(self, data: bytes, sha256: str = "") -> str:
            await place.store.delete(Deletion(ids=("gen_1",)))
            return await super().put(data, sha256)

    await place.adopt(Slow(place.assets._store))

    assert await place.store.get("gen_1") is None
    assert await place.store.spent(DAY.scope) == samples.finished(SENT).cost.nanos
    assert place.files() == []
    assert place.is_forgotten


async def test_a_recorded_picture_that_could_not_be_stored_is_stored(place):
    """Its attempt is settled; only its bytes were missing."""
    image = replace(IMAGE, sha256=SHA256)
    await place.store.finish_attempt("gen_1", samples.finished(SENT), image, Output(0, State.SUCCEEDED, image))
    before = await place.store.finish("gen_1", Ending(State.SUCCEEDED, None, "", Timings(), samples.NOON), keep=True)

    await place.adopt()

    assert await place.store.get("gen_1") == before
    assert place.files() == [SHA256]
    assert place.is_forgotten


async def test_what_was_deleted_is_forgotten_but_for_its_cost(place):
    """Nobody may find it again; the engine's own word on its cost counts instead of the estimate."""
    await died(place)
    await place.store.delete(Deletion(ids=("gen_1",)))

    await place.adopt()

    assert await place.store.spent(DAY.scope) == samples.finished(SENT).cost.nanos
    assert place.files() == []
    assert place.is_forgotten
