"""Where pictures lie: one local folder, addressed by content, written beside and renamed into place."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Protocol

_NAME = re.compile(r"^[0-9a-f]{64}$")


class AssetMissing(LookupError):
    """No picture lies under this address."""


class AssetStore(Protocol):
    """Keeps pictures, byte for byte, under the SHA-256 of their bytes (hexadecimal)."""

    async def put(self, data: bytes) -> str:
        """Store a picture and return its address; the same bytes again change nothing."""
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

    async def delete(self, sha256: str) -> None:
        """Forget a picture; unknown ones are ignored."""
        ...


class LocalAssets:
    """`AssetStore` in a local folder. File work runs in threads: a slow disk must not hold up the event loop."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._part_numbers = count()

    def clear(self) -> None:
        """Remove every picture left by an earlier process whose records are gone; nothing else is touched."""
        self._root.mkdir(parents=True, exist_ok=True)
        for path in self._root.glob("*/*"):
            if _NAME.match(path.name) or path.name.endswith(".part"):
                path.unlink(missing_ok=True)

    async def put(self, data: bytes) -> str:
        """See `AssetStore.put`."""
        return await asyncio.to_thread(self._put, data)

    def _put(self, data: bytes) -> str:
        # Plain strings, not paths: every paid picture passes here, and this takes a third of the time.
        sha256 = hashlib.sha256(data).hexdigest()
        folder = f"{self._root}/{sha256[:2]}"
        path = f"{folder}/{sha256}"
        if os.path.exists(path):  # noqa: PTH110 - see above
            return sha256
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - see above
        part = f"{path}.{next(self._part_numbers)}.part"
        try:
            with open(part, "xb", opener=_open_private) as file:
                file.write(data)
            os.replace(part, path)  # noqa: PTH105 - see above
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
        return sha256

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

    async def delete(self, sha256: str) -> None:
        """See `AssetStore.delete`."""
        await asyncio.to_thread(self._path(sha256).unlink, missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256


def _open_private(path: str, flags: int) -> int:
    """Open for `open`: what is made is ours alone to read."""
    return os.open(path, flags, 0o600)
