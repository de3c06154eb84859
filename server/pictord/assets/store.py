"""The seam between the service and the place where pictures lie; every one is found by the SHA-256 of its bytes."""

import errno
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Protocol


class AssetMissing(LookupError):
    """No picture lies under this address."""


class AssetDamaged(Exception):
    """The bytes under this address are not those that were put there."""


class AssetsDown(OSError):
    """The place where pictures lie does not take or give any now: unreachable, full, or its credentials are refused.

    Its `strerror` is for callers and says nothing of where that place is; the cause is for the log.
    """

    def __init__(self) -> None:
        super().__init__(errno.EIO, "the picture store does not answer, or has no room")


def never(sha256: str) -> bool:  # noqa: ARG001 - it is the same for all
    """Nobody needs it."""
    return False


class AssetStore(Protocol):
    """Keeps pictures, byte for byte, under the SHA-256 of their bytes (hexadecimal).

    Every method may raise `AssetsDown`.
    """

    async def put(self, data: bytes, sha256: str = "") -> str:
        """Store a picture, whole or not at all, and return its address; the same bytes again are still one picture.

        Whoever puts must say that the picture is needed before he awaits anything else: a `delete` may be waiting.
        `sha256` is that of the bytes, if whoever puts has computed it already.
        """
        ...

    async def get(self, sha256: str) -> bytes:
        """The whole picture.

        Raises:
            AssetMissing: it is not here.
            AssetDamaged: it is not what was put.
        """
        ...

    def chunks(self, sha256: str, offset: int, chunk_bytes: int, *, end: int | None = None) -> AsyncIterator[bytes]:
        """The picture's bytes from `offset` up to `end` (None: its end), piece by piece.

        Raises:
            AssetMissing: it is not here.
            AssetDamaged: it ends before `end`.
        """
        ...

    async def delete(self, sha256: str, *, unless: Callable[[str], bool] = never) -> None:
        """Forget a picture; unknown ones are ignored.

        Args:
            sha256: its address.
            unless: asked when no `put` of the same picture is under way; True keeps it.
        """
        ...

    def sign(self, sha256: str, lifetime: timedelta) -> str | None:
        """An address that anybody can GET the picture from for so long; None if the place has no such addresses."""
        ...
