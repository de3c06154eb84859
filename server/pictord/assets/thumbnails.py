"""Small pictures for where many hang together, made when they are first asked for, and kept on this machine's disk.

They are found by the SHA-256 of the picture that they are of, and are as secret as that one: whoever hands one out has
looked at the right to the picture before. What goes with a picture goes at once; what another replica has deleted, and
what a crash has left, within a day: none is kept longer than that. An empty file says that none can be made.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pictord.assets.objects import Turns
from pictord.assets.picture import PictureLimits, PictureRefused, check, inspect
from pictord.assets.store import AssetDamaged, AssetMissing, AssetsDown, AssetStore, never

logger = logging.getLogger(__name__)

MIME = "image/webp"
SIDE_PX = 512
"""The longer side: a tile shows a picture up to 250 px wide on a desktop, 150 px on a phone, at 2 and 3 pixels each."""

LIMITS = PictureLimits(max_bytes=64 * 1024 * 1024, max_pixels=24 * 1024 * 1024)
"""What is decoded: 4K in every ratio, up to 100 MiB of pixels. What is larger is shown whole."""

MOST_BYTES = 128 * 1024 * 1024
"""On the disk: some four thousand."""

KEEP_S = 24 * 3600.0
_PATIENCE_S = 30.0

Shrink = Callable[[bytes], Awaitable[bytes]]
"""A picture made small; nothing if that cannot be. Raises OSError or TimeoutError if it cannot be now."""


class Thumbnails:
    """Makes them, one at a time, keeps them, and deletes pictures together with theirs.

    Args:
        assets: where the pictures lie.
        folder: where their thumbnails lie; nobody else may enter.
        now: UTC.
        shrink: makes one.
        most_bytes: beyond that the oldest go.
    """

    def __init__(
        self,
        assets: AssetStore,
        folder: Path,
        now: Callable[[], datetime],
        shrink: Shrink | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._assets = assets
        self._folder = folder
        self._now = now
        self._shrink = shrink or shrunk
        self._most_bytes = most_bytes
        self._kept = _found(folder)
        self._turns = Turns()
        self._one = asyncio.Lock()
        self._making: set[str] = set()
        self.tidy()

    async def of(self, sha256: str) -> bytes | None:
        """The thumbnail of a picture as WebP; None if there is none, and the picture itself is to be shown."""
        made = self._read(sha256)
        if made is None:
            async with self._turns.at(sha256):
                made = self._read(sha256)  # whoever had the turn before may have made it
                if made is None:
                    made = await self._made(sha256)
        return made or None

    async def delete(self, sha256: str, *, unless: Callable[[str], bool] = never) -> None:
        """Delete a picture as `AssetStore.delete` does, and its thumbnail in any case."""
        self._forget(sha256)
        try:
            await self._assets.delete(sha256, unless=unless)
        finally:
            self._forget(sha256)  # one that was made of the bytes just before they went

    def tidy(self) -> None:
        """Let go of what is too old, and of the oldest while there are too many."""
        oldest_allowed = self._now().timestamp() - KEEP_S
        size_bytes = sum(each.size_bytes for each in self._kept.values())
        for sha256, each in [*self._kept.items()]:
            if each.since > oldest_allowed and size_bytes <= self._most_bytes:
                break
            with contextlib.suppress(OSError):
                self._forget(sha256)
            size_bytes -= each.size_bytes

    async def _made(self, sha256: str) -> bytes | None:
        async with self._one:
            self._making.add(sha256)
            try:
                data = await self._assets.get(sha256)
                made = await self._shrink(data) if _is_fit(data) else b""
            except (AssetMissing, AssetDamaged, AssetsDown):
                return None  # whoever shows the picture itself finds out, and says so
            except (OSError, TimeoutError) as error:
                logger.warning("no thumbnail of picture %s now: %s", sha256, error or type(error).__name__)
                return None
            if sha256 not in self._making:
                return None  # it was deleted meanwhile
            self._keep(sha256, made)
            return made

    def _read(self, sha256: str) -> bytes | None:
        if sha256 not in self._kept:
            return None
        try:
            return (self._folder / sha256).read_bytes()
        except OSError:
            del self._kept[sha256]
            return None

    def _keep(self, sha256: str, made: bytes) -> None:
        """One that cannot be kept is made again."""
        since, fresh = self._now().timestamp(), self._folder / f"{sha256}.new"
        try:
            fresh.touch(0o600)
            fresh.write_bytes(made)
            os.utime(fresh, (since, since))
            fresh.replace(self._folder / sha256)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            logger.warning("thumbnails cannot be kept: %s", error)
            return
        self._kept[sha256] = _Kept(len(made), since)
        self.tidy()

    def _forget(self, sha256: str) -> None:
        self._making.discard(sha256)
        self._kept.pop(sha256, None)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / sha256).unlink()


@dataclass(frozen=True, slots=True)
class _Kept:
    size_bytes: int
    since: float


def _found(folder: Path) -> dict[str, _Kept]:
    """What an earlier process left, the oldest first; what it left half written goes."""
    for half in folder.glob("*.new"):
        half.unlink()
    found = {path.name: path.stat() for path in folder.iterdir()}
    oldest_first = sorted(found.items(), key=lambda each: each[1].st_mtime)
    return {name: _Kept(stat.st_size, stat.st_mtime) for name, stat in oldest_first}


def _is_fit(data: bytes) -> bool:
    """Whether it may be decoded, by what its own bytes declare."""
    try:
        check(inspect(data), len(data), LIMITS)
    except PictureRefused:
        return False
    return True


async def shrunk(data: bytes) -> bytes:
    """See `Shrink`; in a process of its own, which hears nothing of our surroundings."""
    command = (sys.executable, "-I", "-m", "pictord.assets.shrink", str(SIDE_PX), str(LIMITS.max_pixels))
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=nothing, env={}, start_new_session=True
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            made, _ = await process.communicate(data)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return made if process.returncode == 0 else b""
