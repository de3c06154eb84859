"""Where pictures lie: one local folder, addressed by content, written beside and renamed into place."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

_NAME = re.compile(r"^[0-9a-f]{64}$")


class AssetMissing(LookupError):
    """No picture lies under this address."""


class AssetStore(Protocol):
    """Keeps pictures, byte for byte, under the SHA-256 of their bytes (hexadecimal)."""

    async def put(self, data: bytes) -> str:
        """Store a picture and return its address; the same bytes again change nothing.

        Whoever puts must say that the picture is needed before he awaits anything else: a `delete` may be waiting.
        """
        ...

    async def get(self, sha256: str) -> bytes:
        """The whole picture.

        Raises:
            AssetMissing: it is not here.
        """
        ...

    def chunks(self, sha256: str, offset: int, chunk_bytes: int) -> AsyncIterator[bytes]:
        """The picture from `offset`, piece by piece.

        Raises:
            AssetMissing: it is not here.
        """
        ...

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
        """Forget a picture; unknown ones are ignored.

        Args:
            sha256: its address.
            unless: asked when no `put` of the same picture is under way; True keeps it.
        """
        ...


class LocalAssets:
    """`AssetStore` in a local folder. File work runs in threads: a slow disk must not hold up the event loop.

    A put that finds its file and a delete that removes it take turns, or the one would count on what the other takes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._part_numbers = count()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def clear(self) -> None:
        """Remove every picture left by an earlier process whose records are gone; nothing else is touched."""
        self._root.mkdir(parents=True, exist_ok=True)
        for path in self._root.glob("*/*"):
            if _NAME.match(path.name) or path.name.endswith(".part"):
                path.unlink(missing_ok=True)

    async def put(self, data: bytes) -> str:
        """See `AssetStore.put`."""
        sha256 = await asyncio.to_thread(_address, data)
        async with self._turn(sha256):
            await asyncio.to_thread(self._put, sha256, data)
        return sha256

    def _put(self, sha256: str, data: bytes) -> None:
        path = f"{self._root}/{sha256[:2]}/{sha256}"
        if os.path.exists(path):  # noqa: PTH110 - see `_write_new`
            return
        part = f"{path}.{next(self._part_numbers)}.part"
        try:
            _write_new(part, data)
            os.replace(part, path)  # noqa: PTH105 - see `_write_new`
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise

    async def get(self, sha256: str) -> bytes:
        """See `AssetStore.get`."""
        try:
            return await asyncio.to_thread(self._path(sha256).read_bytes)
        except FileNotFoundError:
            raise AssetMissing(sha256) from None

    async def chunks(self, sha256: str, offset: int, chunk_bytes: int) -> AsyncIterator[bytes]:
        """See `AssetStore.chunks`."""
        try:
            file = await asyncio.to_thread(self._path(sha256).open, "rb")
        except FileNotFoundError:
            raise AssetMissing(sha256) from None
        with file:
            file.seek(offset)
            while chunk := await asyncio.to_thread(file.read, chunk_bytes):
                yield chunk

    async def delete(self, sha256: str, *, unless: Callable[[str], bool]) -> None:
        """See `AssetStore.delete`."""
        async with self._turn(sha256):
            if not unless(sha256):
                await asyncio.to_thread(self._path(sha256).unlink, missing_ok=True)

    def _turn(self, sha256: str) -> asyncio.Lock:
        """The turn at one picture; it lives as long as somebody has or awaits it."""
        return self._turns.setdefault(sha256, asyncio.Lock())

    def _path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256


def _address(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def _write_new(path: str, data: bytes) -> None:
    """Write a new file, ours alone to read, with plain strings and as few system calls as there can be.

    After each of them the thread has to wait for the event loop's, which is busy, to hand it the interpreter's lock.
    """
    handle = _created(path)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)


def _created(path: str) -> int:
    try:
        return os.open(path, _NEW_FILE, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - see `_write_new`
        return os.open(path, _NEW_FILE, 0o600)
