"""What every place for pictures promises: a local folder, and S3 over its real API."""

import hashlib
import os
from dataclasses import dataclass, field
from datetime import timedelta

import httpx2
import obstore
import pytest

from pictord.assets.objects import BucketSettings, ObjectAssets, in_bucket, in_folder, pictures_in
from pictord.assets.store import AssetDamaged, AssetMissing, AssetsDown
from s3_server import BUCKET, S3, s3_server

PNG = b"\x89PNG\r\n\x1a\n" + os.urandom(3_000_000)
"""More than two of the ranges that are asked for at once."""


@dataclass
class Folder:
    """A local folder, looked at from outside."""

    root: object
    assets: ObjectAssets = field(init=False)

    def __post_init__(self):
        self.assets = in_folder(self.root)

    def names(self):
        return [path.name for path in pictures_in(self.root)]

    def cut(self, address):
        path = self.root / address[:2] / address
        path.write_bytes(path.read_bytes()[:-1])

    def break_down(self):
        for path in pictures_in(self.root):
            path.unlink()
            path.mkdir()  # a file cannot be renamed into its place


@dataclass
class Bucket:
    """A bucket, looked at from outside."""

    s3: S3
    assets: ObjectAssets = field(init=False)

    def __post_init__(self):
        self.assets = in_bucket(BucketSettings(f"s3://{BUCKET}/drawn/here", self.s3.endpoint, "us-east-1", "a", "b"))

    def names(self):
        return [key.removeprefix("drawn/here/")[3:] for key in self.s3.objects()]

    def cut(self, address):
        path = f"{address[:2]}/{address}"
        data = bytes(obstore.get(self.assets._store, path).bytes())
        obstore.put(self.assets._store, path, data[:-1])

    def break_down(self):
        self.s3.stop()


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    if request.param == "folder":
        yield Folder(tmp_path / "images")
        return
    with s3_server() as s3:
        yield Bucket(s3)


async def read(assets, address, offset, chunk_bytes, end=None):
    return [chunk async for chunk in assets.chunks(address, offset, chunk_bytes, end=end)]


async def test_a_picture_lies_under_its_hash(place):
    """What is put comes back byte for byte, under the SHA-256 of its bytes."""
    address = await place.assets.put(PNG)

    assert address == hashlib.sha256(PNG).hexdigest()
    assert place.names() == [address]
    assert await place.assets.get(address) == PNG


async def test_the_same_picture_is_kept_once(place):
    """Putting a picture again gives the same address and no second object."""
    addresses = {await place.assets.put(b"picture") for _ in range(3)}

    assert place.names() == [*addresses]


@pytest.mark.parametrize(
    ("offset", "end"), [(0, None), (1, None), (1_048_575, 2_097_153), (5, 6), (len(PNG), None), (7, 7)]
)
async def test_chunks_are_the_range_that_was_asked_for(place, offset, end):
    """Over the borders of the ranges that the store is asked for, no byte is missing or doubled."""
    address = await place.assets.put(PNG)

    chunks = await read(place.assets, address, offset, 262_144, end)

    assert b"".join(chunks) == PNG[offset:end]
    assert max(map(len, chunks), default=0) <= 262_144


async def test_a_missing_picture_is_said_to_be_missing(place):
    """Neither reading nor deleting what is not there surprises anybody."""
    address = "0" * 64

    await place.assets.delete(address)

    with pytest.raises(AssetMissing):
        await place.assets.get(address)
    with pytest.raises(AssetMissing):
        await read(place.assets, address, 0, 10)


async def test_a_deleted_picture_is_gone(place):
    """After its deletion nothing is left of a picture."""
    address = await place.assets.put(b"picture")

    await place.assets.delete(address)

    assert place.names() == []
    with pytest.raises(AssetMissing):
        await place.assets.get(address)


async def test_a_picture_that_was_cut_is_not_handed_out(place):
    """Half a picture is an error, not a picture."""
    address = await place.assets.put(b"a whole picture")
    place.cut(address)

    with pytest.raises(AssetDamaged):
        await place.assets.get(address)
    with pytest.raises(AssetDamaged):
        await read(place.assets, address, 0, 10, end=len(b"a whole picture"))


async def test_a_store_that_is_down_says_so_in_our_words(place, caplog):
    """The caller's text names no path and no address; the log does."""
    await place.assets.put(b"picture")
    place.break_down()

    with pytest.raises(AssetsDown) as raised:
        await place.assets.put(b"picture")

    assert raised.value.strerror == "the picture store does not answer, or has no room"
    assert caplog.records[0].name == "pictord.assets.objects"


async def test_a_folder_is_ours_alone_to_enter(tmp_path):
    """Nobody else may read pictures, whatever the umask is; an older folder is closed too."""
    root = tmp_path / "images"
    root.mkdir(mode=0o755)

    await in_folder(root).put(b"picture")

    assert root.stat().st_mode & 0o077 == 0


async def test_a_bucket_signs_addresses_that_anybody_can_fetch():
    """The object store's own link gives the picture with its type; a folder has no such links."""
    with s3_server() as s3:
        assets = Bucket(s3).assets
        address = await assets.put(PNG)

        answer = httpx2.get(assets.sign(address, timedelta(minutes=5)))

        assert answer.content == PNG
        assert answer.headers["Content-Type"] == "image/png"


async def test_a_folder_signs_nothing(tmp_path):
    """Its pictures are served by our own listener."""
    assert in_folder(tmp_path / "images").sign("0" * 64, timedelta(minutes=5)) is None
