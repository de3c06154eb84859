"""Where paid pictures wait while the store does not take them: a folder on this machine's own disk.

A picture that the store refuses is written to the spool, and is on the disk before anybody hears that it is kept. It
is served from there, and moved as soon as the store takes pictures again; while it does not, new pictures go straight
to the spool, so that nobody waits for a store that is known to be down.

The cap bounds what may be begun, not what is written: once it is reached no new work is admitted, while a picture that
was paid for already is written as long as the disk takes it.

Putting aside, moving and deleting the same bytes take turns, or one of them would count on what another takes. A
deletion that the store does not take is refused: whoever asked for it remembers it, and asks again.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pictord.assets.objects import Turns, address, in_folder, pictures_in, place, sweep
from pictord.assets.store import AssetDamaged, AssetMissing, AssetsDown, AssetStore, never

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """When no further picture is begun."""

    cap_bytes: int = 2048 * _MIB
    """What may wait in the spool."""

    least_free_share: float = 0.1
    """How much of the data directory's file system must be free."""


class Spool:
    """A folder of pictures, each on the disk for good before `put` returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = in_folder(folder)
        sweep(folder, whole=False)
        self._sizes = {path.name: path.stat().st_size for path in pictures_in(folder)}

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._sizes

    @property
    def size_bytes(self) -> int:
        """All that waits."""
        return sum(self._sizes.values())

    @property
    def oldest(self) -> str | None:
        """The picture that has waited longest."""
        return next(iter(self._sizes), None)

    async def put(self, data: bytes, sha256: str = "") -> str:
        """See `AssetStore.put`."""
        sha256 = await self._files.put(data, sha256)
        await asyncio.to_thread(_sync, place(self._folder, sha256), self._folder)
        self._sizes[sha256] = len(data)
        return sha256

    async def get(self, sha256: str) -> bytes:
        """See `AssetStore.get`."""
        return await self._files.get(sha256)

    def chunks(self, sha256: str, offset: int, chunk_bytes: int, *, end: int | None = None) -> AsyncIterator[bytes]:
        """See `AssetStore.chunks`."""
        return self._files.chunks(sha256, offset, chunk_bytes, end=end)

    async def delete(self, sha256: str) -> None:
        """See `AssetStore.delete`."""
        if self._sizes.pop(sha256, None) is not None:
            await self._files.delete(sha256)

    def set_aside(self, sha256: str) -> None:
        """Forget a picture that cannot be read; its file stays for a person to look at."""
        self._sizes.pop(sha256, None)


class SpooledAssets:
    """`AssetStore` that keeps paid pictures though the store behind it is down.

    Args:
        store: where pictures lie in the end.
        spool: where they wait.
        settings: when nothing new is begun.
        free_share: how much of the disk under the spool is free, 0 to 1.
        sleep: waits that many seconds; tests bring their own.
    """

    def __init__(
        self,
        store: AssetStore,
        spool: Spool,
        settings: SpoolSettings,
        *,
        free_share: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._spool = spool
        self._settings = settings
        self._free_share = free_share
        self._sleep = sleep
        self._is_down = False
        self._turns = Turns()
        self._work = asyncio.Event()
        self._work.set()  # an earlier process may have left pictures
        self._mover: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to move what waits."""
        self._mover = asyncio.create_task(self._move_for_ever())

    async def close(self) -> None:
        """Stop moving; what waits is found by the next process."""
        if self._mover is not None:
            self._mover.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._mover

    def no_room(self) -> str | None:
        """Why no further picture may be begun; None while there is room for it."""
        waiting, cap = self._spool.size_bytes, self._settings.cap_bytes
        if waiting >= cap:
            return f"the picture store is down, and {waiting // _MIB} MiB of {cap // _MIB} MiB wait for it"
        free, least = self._free_share(), self._settings.least_free_share
        if free < least:
            return f"{free:.1%} of the disk is free, {least:.0%} must be"
        return None

    # The store

    async def put(self, data: bytes, sha256: str = "") -> str:
        """See `AssetStore.put`."""
        if self._is_down:
            with contextlib.suppress(AssetsDown):  # no room here either: the store may be back
                return await self._put_aside(data, sha256)
        try:
            return await self._store.put(data, sha256)
        except AssetsDown:
            return await self._put_aside(data, sha256)

    async def _put_aside(self, data: bytes, sha256: str) -> str:
        sha256 = sha256 or await address(data)
        async with self._turns.at(sha256):
            await self._spool.put(data, sha256)
        self._retry_later()
        return sha256

    async def get(self, sha256: str) -> bytes:
        """See `AssetStore.get`."""
        if sha256 in self._spool:
            with contextlib.suppress(AssetMissing):  # just moved
                return await self._spool.get(sha256)
        return await self._store.get(sha256)

    async def chunks(
        self, sha256: str, offset: int, chunk_bytes: int, *, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """See `AssetStore.chunks`."""
        if sha256 in self._spool:
            with contextlib.suppress(AssetMissing):  # moved meanwhile: the rest is in the store
                async for chunk in self._spool.chunks(sha256, offset, chunk_bytes, end=end):
                    yield chunk
                    offset += len(chunk)
                return
        async for chunk in self._store.chunks(sha256, offset, chunk_bytes, end=end):
            yield chunk

    async def delete(self, sha256: str, *, unless: Callable[[str], bool] = never) -> None:
        """See `AssetStore.delete`."""
        async with self._turns.at(sha256):
            if unless(sha256):
                return
            await self._spool.delete(sha256)
            if self._is_down:
                raise AssetsDown
            await self._store.delete(sha256, unless=unless)

    def sign(self, sha256: str, lifetime: timedelta) -> str | None:
        """See `AssetStore.sign`; None too for what the store does not have yet."""
        if sha256 in self._spool:
            return None
        with contextlib.suppress(AssetsDown):
            return self._store.sign(sha256, lifetime)
        return None

    # Moving

    def _retry_later(self) -> None:
        if not self._is_down:
            logger.warning("the picture store is down: pictures wait in the spool")
        self._is_down = True
        self._work.set()

    async def _move_for_ever(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            await self._work.wait()
            if self._is_down:
                await self._sleep(wait_s)
            try:
                await self._move_one()
            except AssetsDown:
                self._retry_later()
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                self._came_back()
                wait_s = FIRST_WAIT_S

    async def _move_one(self) -> None:
        """Move the picture that has waited longest."""
        sha256 = self._spool.oldest
        if sha256 is None:
            self._work.clear()
            return
        async with self._turns.at(sha256):
            if sha256 in self._spool:  # else it was deleted meanwhile
                await self._move(sha256)

    async def _move(self, sha256: str) -> None:
        try:
            data = await self._spool.get(sha256)
        except (AssetDamaged, AssetMissing):
            logger.error("picture %s cannot be read from the spool", sha256)  # noqa: TRY400 - the cause says no more
            self._spool.set_aside(sha256)
            return
        await self._store.put(data)
        await self._spool.delete(sha256)

    def _came_back(self) -> None:
        if self._is_down:
            logger.info("the picture store is back")
        self._is_down = False


def _sync(path: Path, root: Path) -> None:
    """Have the disk itself take a file, and the folders that name it."""
    for each in (path, path.parent, root):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
