"""Pictures in an object store: a local folder, S3 and what speaks like it, Google Cloud Storage, Azure; by `obstore`.

Each picture is one object, `ab/abcd…`, written by a single request: no reader ever sees half of one. In a local folder
that is a file beside its place, renamed into it; what a killed process leaves is called `…#1`, and is never a picture.

Nothing is read back in one piece but by `get`. `chunks` asks for ranges of 1 MiB, so that a slow reader holds no
connection to the store open and no more than that in memory.
"""

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store, from_url

from pictord.assets.picture import mime_type
from pictord.assets.store import AssetDamaged, AssetMissing, AssetsDown, never

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

logger = logging.getLogger(__name__)

Bucket: TypeAlias = S3Store | GCSStore | AzureStore
WINDOW_BYTES = 1024 * 1024

_CLIENT: "ClientConfig" = {"connect_timeout": timedelta(seconds=3), "timeout": timedelta(seconds=30)}
_RETRIES: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
"""Far fewer than obstore's own ten within three minutes: a paid picture waits in the spool, its caller must not."""


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """Where pictures lie, if not in a local folder.

    `url` is `s3://bucket/prefix`, `gs://…` or `az://…`. The rest is for S3 alone: `endpoint` for what only speaks like
    it, and keys, without which the surroundings are asked (AWS_ variables, the role of the machine).
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)


class Turns:
    """Whoever changes a picture has a turn at it; others at the same one wait."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def at(self, sha256: str) -> asyncio.Lock:
        """The turn at one picture; it lives as long as somebody has or awaits it."""
        return self._turns.setdefault(sha256, asyncio.Lock())


class ObjectAssets:
    """`AssetStore` over one of obstore's stores.

    A put and a delete of the same picture take turns, or the one would count on what the other takes.
    """

    def __init__(self, store: LocalStore | Bucket) -> None:
        self._store = store
        self._turns = Turns()

    async def put(self, data: bytes, sha256: str = "") -> str:
        """See `AssetStore.put`."""
        sha256 = sha256 or await address(data)
        # A folder keeps no attributes; a browser that a bucket answers needs to know what it gets.
        attributes = None if isinstance(self._store, LocalStore) else {"Content-Type": mime_type(data)}
        async with self._turns.at(sha256):
            with _translated(sha256):
                await obstore.put_async(self._store, _path(sha256), data, attributes=attributes, use_multipart=False)
        return sha256

    async def get(self, sha256: str) -> bytes:
        """See `AssetStore.get`."""
        with _translated(sha256):
            found = await obstore.get_async(self._store, _path(sha256))
            data = bytes(await found.bytes_async())
        if await address(data) != sha256:
            raise AssetDamaged(sha256)
        return data

    async def chunks(
        self, sha256: str, offset: int, chunk_bytes: int, *, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """See `AssetStore.chunks`."""
        with _translated(sha256):
            size = (await obstore.head_async(self._store, _path(sha256)))["size"]
        end = size if end is None else end
        if end > size:
            raise AssetDamaged(sha256)
        while offset < end:
            window = await self._range(sha256, offset, min(end, offset + max(WINDOW_BYTES, chunk_bytes)))
            for start in range(0, len(window), chunk_bytes):
                yield bytes(window[start : start + chunk_bytes])
            offset += len(window)

    async def _range(self, sha256: str, start: int, end: int) -> memoryview:
        with _translated(sha256):
            found = memoryview(await obstore.get_range_async(self._store, _path(sha256), start=start, end=end))
        if len(found) != end - start:
            raise AssetDamaged(sha256)
        return found

    async def delete(self, sha256: str, *, unless: Callable[[str], bool] = never) -> None:
        """See `AssetStore.delete`."""
        async with self._turns.at(sha256):
            if unless(sha256):
                return
            with contextlib.suppress(AssetMissing), _translated(sha256):
                await obstore.delete_async(self._store, _path(sha256))

    def sign(self, sha256: str, lifetime: timedelta) -> str | None:
        """See `AssetStore.sign`."""
        if isinstance(self._store, LocalStore):
            return None
        with _translated(sha256):
            return obstore.sign(self._store, "GET", _path(sha256), lifetime)


def in_folder(root: Path) -> ObjectAssets:
    """Pictures in a local folder, which nobody else may enter: obstore has no word on its files' permissions."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    return ObjectAssets(LocalStore(root))


def in_bucket(settings: BucketSettings) -> ObjectAssets:
    """Pictures in a bucket; nothing is sent yet.

    Raises:
        ValueError: the address or a setting is none that the store takes.
    """
    s3: dict[str, str | None] = {
        "endpoint": settings.endpoint,
        "region": settings.region,
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
    }
    config: S3Config = {key: value for key, value in s3.items() if value is not None}  # type: ignore[assignment] # the keys above
    client: ClientConfig = {**_CLIENT, "allow_http": (settings.endpoint or "").startswith("http://")}
    try:
        store = from_url(settings.url, config=config or None, client_options=client, retry_config=_RETRIES)
    except BaseError as error:
        raise ValueError(str(error).split("\n", maxsplit=1)[0]) from None
    if not isinstance(store, Bucket):
        raise ValueError(f"{settings.url} names no bucket")  # noqa: TRY004 - it is a value of the configuration
    return ObjectAssets(store)


_PICTURE = re.compile(r"[0-9a-f]{64}(#\d+)?")


def pictures_in(root: Path) -> list[Path]:
    """The pictures in a local folder, halves of them included, and nothing else that may lie there."""
    return [path for path in root.glob("*/*") if _PICTURE.fullmatch(path.name)]


def sweep(root: Path, *, whole: bool) -> None:
    """Remove what an earlier process left half written; with `whole` every picture, because its records are gone."""
    for path in pictures_in(root):
        if whole or "#" in path.name:
            path.unlink(missing_ok=True)


def place(root: Path, sha256: str) -> Path:
    """Where a picture lies in a local folder."""
    return root / _path(sha256)


def _path(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


_TURN_BYTES = 1024 * 1024
"""Hashed in one go: 0.6 ms with the processor's own instructions, 3 ms without."""


async def address(data: bytes) -> str:
    """The SHA-256 of a picture's bytes, under which it is found; taken in turns with everybody else's.

    Not in a thread: it costs no less there, and while they wait for theirs many pictures pile up in memory (64 of
    1.5 MiB took 80 MiB more).
    """
    digest, view = hashlib.sha256(), memoryview(data)
    for start in range(0, len(view), _TURN_BYTES):
        if start:
            await asyncio.sleep(0)
        digest.update(view[start : start + _TURN_BYTES])
    return digest.hexdigest()


@contextmanager
def _translated(sha256: str) -> Iterator[None]:
    """Foreign errors into ours; what the store said goes to the log."""
    try:
        yield
    except FileNotFoundError:
        raise AssetMissing(sha256) from None
    except (BaseError, OSError) as error:
        logger.warning("pictures: %s", str(error).split("\n", maxsplit=1)[0])
        raise AssetsDown from error
