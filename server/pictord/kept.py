"""What outlives the process: pictures, thumbnails, what has just arrived, and records; opened, and looked after."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pictord import configured
from pictord.assets.arrivals import ArrivalFolder, Arrivals, NoArrivals
from pictord.assets.objects import in_folder, sweep
from pictord.assets.spool import Spool, SpooledAssets, SpoolSettings
from pictord.assets.store import AssetStore
from pictord.assets.thumbnails import Thumbnails
from pictord.data_folder import replace_file
from pictord.errors import GatewayError
from pictord.jobs.adoption import Adoption
from pictord.settings import DATABASE_FILE, MEMORY, Settings, SettingsError
from pictord.store.base import Store
from pictord.store.database import DatabaseRefused, address, sqlite_address
from pictord.store.memory import MemoryStore
from pictord.store.replicas import Lease
from pictord.store.sql import SqlStore
from pictord.store.upkeep import World, ready


@dataclass(frozen=True, slots=True)
class Kept:
    """Opened together, closed together."""

    assets: SpooledAssets
    thumbnails: Thumbnails
    arrivals: Arrivals
    store: Store

    async def sweep(self, on_recovered: Callable[[], None]) -> None:
        """Keep the lease, and resolve what replicas that died left open.

        Args:
            on_recovered: told that something was resolved, once what had arrived of it is adopted.

        Raises:
            GatewayError, OSError: the database or the data directory is away.
        """
        if not isinstance(self.store, SqlStore):
            return
        swept = await self.store.sweep()
        try:
            if isinstance(self.arrivals, ArrivalFolder) and swept.disowned:
                await Adoption(self.arrivals, self.assets, self.store).adopt(only=swept.disowned)
        finally:
            if swept.has_recovered:
                on_recovered()

    async def tidy(self) -> None:
        """Let go what is kept no longer: records with their pictures, and old thumbnails.

        Raises:
            OSError: the data directory is away.
        """
        self.thumbnails.tidy()
        await self.store.retire()


@asynccontextmanager
async def opened(
    settings: Settings,
    data: Path,
    *,
    now: Callable[[], datetime],
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    free_share: Callable[[], float],
) -> AsyncIterator[Kept]:
    """Open it all, and resolve what killed processes left.

    Args:
        settings: say where.
        data: the data directory, which no other process uses.
        now: UTC.
        clock: monotonic seconds.
        sleep: between two tries to move what waits for the picture store.
        free_share: how much of the data directory's disk is free, 0 to 1.

    Raises:
        SettingsError: the database cannot be used.
    """
    async with AsyncExitStack() as stack:
        assets = _assets(settings, data, sleep, free_share)
        assets.start()
        stack.push_async_callback(assets.close)
        arrivals = NoArrivals() if settings.database == MEMORY else ArrivalFolder(data / "arrived")
        thumbnails = _thumbnails(settings, data, assets, now)
        store = await _store(settings, data, assets, thumbnails, arrivals, now=now, clock=clock)
        stack.push_async_callback(store.close)
        yield Kept(assets, thumbnails, arrivals, store)


async def _store(
    settings: Settings,
    data: Path,
    assets: SpooledAssets,
    thumbnails: Thumbnails,
    arrivals: Arrivals,
    *,
    now: Callable[[], datetime],
    clock: Callable[[], float],
) -> Store:
    """The database that is configured, else a file of the data directory; what killed processes left is resolved.

    The lock on the data directory proves that the process that used it before is dead; with SQLite there is no other.
    """
    named, world = settings.database, World.SANDBOX if settings.sandbox else World.REAL
    if not isinstance(arrivals, ArrivalFolder):
        return MemoryStore(thumbnails, now=now)
    key = "database.url (PICTOR_DATABASE)"
    try:
        where = address(named) if named else sqlite_address(data / DATABASE_FILE)
        database = await asyncio.to_thread(ready, where, world)
    except DatabaseRefused as refused:
        raise SettingsError(f"{key}: {refused}") from None
    lease = Lease(database, f"rep_{secrets.token_hex(10)}", clock=clock)
    store = SqlStore(database, thumbnails, now=now, lease=lease)
    name = data / "replica"
    try:
        await lease.take(name.read_text() if name.exists() else None, is_alone=where.is_sqlite)
        replace_file(name, lease.replica_id.encode())
        await Adoption(arrivals, assets, store).adopt()
        await store.recover()
    except GatewayError as error:
        await store.close()
        raise SettingsError(f"{key}: {error.text}") from None
    return store


def _assets(
    settings: Settings,
    data: Path,
    sleep: Callable[[float], Awaitable[None]],
    free_share: Callable[[], float],
) -> SpooledAssets:
    """Where pictures go: into the bucket that is named, else into a folder of the data directory."""
    pictures, folder = settings.pictures, data / "images"
    if pictures.url is None:
        sweep(folder, whole=settings.database == MEMORY)  # without their records nobody finds them
    store: AssetStore = configured.bucket(pictures, pictures.url) if pictures.url else in_folder(folder)
    return SpooledAssets(
        store,
        Spool(data / "spool"),
        SpoolSettings(pictures.spool_mib * 1024 * 1024),
        free_share=free_share,
        sleep=sleep,
    )


def _thumbnails(settings: Settings, data: Path, assets: AssetStore, now: Callable[[], datetime]) -> Thumbnails:
    folder = data / "thumbnails"
    if settings.database == MEMORY:
        shutil.rmtree(folder, ignore_errors=True)
    return Thumbnails(assets, folder, now)
