"""Pictures that the store does not take: kept on disk, served from there, moved later; and when nothing new begins."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from pictord.assets.objects import ObjectAssets, in_folder, pictures_in
from pictord.assets.spool import Spool, SpooledAssets, SpoolSettings
from pictord.assets.store import AssetMissing, AssetsDown

PICTURE = b"\x89PNG\r\n\x1a\n" + random.Random(7).randbytes(2_500_000)


class Store(ObjectAssets):
    """A local store that can be down."""

    down = False

    def __init__(self, store):
        super().__init__(store)
        self.deleted = asyncio.Queue()

    async def put(self, data, sha256=""):
        self._check()
        return await super().put(data, sha256)

    async def get(self, sha256):
        self._check()
        return await super().get(sha256)

    async def delete(self, sha256, **how):
        self._check()
        await super().delete(sha256, **how)
        self.deleted.put_nowait(sha256)

    def _check(self):
        if self.down:
            raise AssetsDown


class WatchedSpool(Spool):
    """Tells when a picture has left it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.left = asyncio.Queue()

    async def delete(self, sha256, **how):
        await super().delete(sha256, **how)
        self.left.put_nowait(sha256)


class Pause:
    """A `sleep` that lasts until the test says so."""

    def __init__(self):
        self.asked, self._turns = asyncio.Queue(), asyncio.Queue()

    async def __call__(self, seconds):
        self.asked.put_nowait(seconds)
        await self._turns.get()

    async def pass_by(self):
        """Let the next one pass, and say how long it would have been."""
        seconds = await self.asked.get()
        self.end()
        return seconds

    def end(self):
        self._turns.put_nowait(None)


class World:
    """A store behind a spool, on a disk of which a share is free."""

    def __init__(self, root, cap_bytes=10_000_000):
        self.root = root
        self.store = Store(in_folder(root / "images")._store)
        self.spool = WatchedSpool(root / "spool")
        self.pause, self.free = Pause(), 1.0
        self.assets = SpooledAssets(
            self.store, self.spool, SpoolSettings(cap_bytes), free_share=lambda: self.free, sleep=self.pause
        )

    def stored(self):
        return [path.name for path in pictures_in(self.root / "images")]

    def spooled(self):
        return [path.name for path in pictures_in(self.root / "spool")]


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await world.assets.close()


async def read(assets, address, offset=0):
    return b"".join([chunk async for chunk in assets.chunks(address, offset, 1000)])


async def test_a_store_that_works_gets_the_picture_at_once(world):
    """The spool has no part in it."""
    address = await world.assets.put(PICTURE)

    assert (world.stored(), world.spooled()) == ([address], [])
    assert await world.assets.get(address) == PICTURE


async def test_a_picture_that_the_store_does_not_take_is_kept_and_served(world):
    """Who paid for it can read it at once, whole or from any offset."""
    world.store.down = True

    address = await world.assets.put(PICTURE)

    assert (world.stored(), world.spooled()) == ([], [address])
    assert await world.assets.get(address) == PICTURE
    assert await read(world.assets, address, 1234) == PICTURE[1234:]


async def test_it_is_moved_once_the_store_is_back(world):
    """Each try waits longer than the one before; then the picture lies where it belongs, and is served from there."""
    world.store.down = True
    address = await world.assets.put(PICTURE)
    world.assets.start()

    waits = [await world.pause.pass_by() for _ in range(7)]
    waits.append(await world.pause.asked.get())
    world.store.down = False
    world.pause.end()
    await world.spool.left.get()

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (world.stored(), world.spooled()) == ([address], [])
    assert await world.assets.get(address) == PICTURE


async def test_a_download_goes_on_while_its_picture_moves(world):
    """A reader notices nothing: the rest comes from the store."""
    world.store.down = True
    address = await world.assets.put(PICTURE)
    chunks = world.assets.chunks(address, 0, 1000)
    first = await anext(chunks)
    world.store.down = False
    world.assets.start()
    await world.pause.pass_by()
    await world.spool.left.get()

    assert first + b"".join([chunk async for chunk in chunks]) == PICTURE


async def test_nobody_waits_for_a_store_that_is_known_to_be_down(world):
    """After the first failure pictures go straight to the spool until one could be moved."""
    world.store.down = True
    await world.assets.put(b"first")
    world.store.down = False

    address = await world.assets.put(b"second")

    assert address in world.spooled()


async def test_what_an_earlier_process_left_is_moved(tmp_path):
    """A picture that waited when the process was killed waits for the next one."""
    address = await Spool(tmp_path / "spool").put(PICTURE)

    world = World(tmp_path)
    world.assets.start()
    await world.spool.left.get()
    await world.assets.close()

    assert (world.stored(), world.spooled()) == ([address], [])


async def test_a_picture_is_on_the_disk_before_it_counts_as_kept(world, monkeypatch):
    """The file and the folders that name it are synced: not even a power cut takes a paid picture."""
    synced, fsync = [], os.fsync

    def watched(handle):
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr("os.fsync", watched)
    world.store.down = True

    address = await world.assets.put(PICTURE)

    folder = world.root / "spool"
    assert synced == [folder / address[:2] / address, folder / address[:2], folder]


async def test_a_deletion_that_the_store_does_not_take_is_refused(world):
    """Who asked for it remembers it; what waits here is gone all the same, and is neither served nor moved."""
    world.store.down = True
    address = await world.assets.put(PICTURE)

    with pytest.raises(AssetsDown):
        await world.assets.delete(address)
    world.store.down = False

    assert world.spooled() == []
    with pytest.raises(AssetMissing):
        await world.assets.get(address)


async def test_a_picture_that_comes_back_while_it_is_deleted_stays(tmp_path, monkeypatch):
    """The last record of some bytes goes while the same bytes are paid for again: they wait for each other."""
    world, deleting, going_on = World(tmp_path), asyncio.Event(), asyncio.Event()
    world.store.down = True
    address = await world.assets.put(PICTURE)

    async def slow(spool, sha256, forget=Spool.delete):
        deleting.set()
        await going_on.wait()
        await forget(spool, sha256)

    monkeypatch.setattr(WatchedSpool, "delete", slow)
    deletion = asyncio.create_task(world.assets.delete(address))
    await deleting.wait()
    putting = asyncio.create_task(world.assets.put(PICTURE))
    ended, _ = await asyncio.wait({putting}, timeout=0.1)
    assert not ended, "it waits for its turn"
    going_on.set()
    await asyncio.gather(deletion, putting, return_exceptions=True)

    assert world.spooled() == [address]
    assert await world.assets.get(address) == PICTURE


async def test_a_picture_that_is_deleted_while_it_moves_does_not_come_back(world, monkeypatch):
    """The deletion waits for the move, and then takes it from where it lies by then."""
    moving, going_on = asyncio.Event(), asyncio.Event()
    world.store.down = True
    address = await world.assets.put(PICTURE)
    world.store.down = False

    async def slow(store, data, put=Store.put):
        moving.set()
        await going_on.wait()
        return await put(store, data)

    monkeypatch.setattr(Store, "put", slow)
    world.assets.start()
    await world.pause.pass_by()
    await moving.wait()
    deletion = asyncio.create_task(world.assets.delete(address))
    await asyncio.sleep(0)
    going_on.set()
    await deletion

    assert (world.stored(), world.spooled()) == ([], [])


async def test_a_spool_that_cannot_take_it_asks_the_store_again(world, monkeypatch):
    """A paid picture is lost only if neither place takes it."""
    world.store.down = True
    await world.assets.put(b"first")
    world.store.down = False

    async def full(_spool, _data, _sha256=""):
        raise AssetsDown

    monkeypatch.setattr(Spool, "put", full)

    assert await world.assets.put(PICTURE) in world.stored()


async def test_neither_place_takes_it(world, monkeypatch):
    """Then it is said, and not silently dropped."""

    async def full(_spool, _data, _sha256=""):
        raise AssetsDown

    world.store.down = True
    monkeypatch.setattr(Spool, "put", full)

    with pytest.raises(AssetsDown):
        await world.assets.put(PICTURE)


async def test_a_picture_that_rotted_in_the_spool_stops_no_other(tmp_path, caplog):
    """It stays for a person to look at; the others are moved."""
    spool = Spool(tmp_path / "spool")
    rotten, good = await spool.put(b"rotten"), await spool.put(b"good")
    (tmp_path / "spool" / rotten[:2] / rotten).write_bytes(b"rott")
    world = World(tmp_path)

    world.assets.start()
    await world.spool.left.get()
    await world.assets.close()

    assert (world.stored(), world.spooled()) == ([good], [rotten])
    assert rotten in caplog.text


async def test_a_full_spool_admits_nothing_new_but_keeps_what_is_paid(tmp_path):
    """The cap bounds what may be begun; a picture on its way in is still written."""
    world = World(tmp_path, cap_bytes=1024 * 1024)
    world.store.down = True
    assert world.assets.no_room() is None

    await world.assets.put(PICTURE)
    await world.assets.put(b"on its way")

    assert len(world.spooled()) == 2
    assert world.assets.no_room() == "the picture store is down, and 2 MiB of 1 MiB wait for it"


@pytest.mark.parametrize(("free", "why"), [(0.10, None), (0.099, "9.9% of the disk is free, 10% must be")])
async def test_a_nearly_full_disk_admits_nothing_new(world, free, why):
    """The last tenth of the disk is for what was paid for already."""
    world.free = free

    assert world.assets.no_room() == why
