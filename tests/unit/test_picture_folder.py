"""What an earlier process left in the folder of pictures, what a full disk leaves, and where a bucket may be."""

import resource
import signal

import pytest

from pictord.assets.objects import BucketSettings, in_bucket, in_folder, sweep
from pictord.assets.store import AssetsDown


@pytest.fixture
async def folder(tmp_path):
    """A picture, half of another one, and somebody's notes."""
    address = await in_folder(tmp_path).put(b"picture")
    place = tmp_path / address[:2]
    (place / f"{address[:2]}{'0' * 62}#1").write_bytes(b"pic")
    (place / "notes.txt").write_text("mine")
    return tmp_path, address


def names(root):
    return sorted(path.name for path in root.rglob("*") if path.is_file())


async def test_what_was_half_written_is_swept(folder):
    """A killed process leaves no litter; pictures, and what is not ours, stay."""
    root, address = folder

    sweep(root, whole=False)

    assert names(root) == sorted([address, "notes.txt"])


async def test_pictures_without_records_are_swept(folder):
    """A process that begins without records begins without pictures."""
    root, _ = folder

    sweep(root, whole=True)

    assert names(root) == ["notes.txt"]


ROOM_BYTES = 32 * 1024 * 1024
"""More than whatever the test run itself may be writing to."""


@pytest.fixture
def full_disk():
    """Files of this process can be no larger than that: a write fails half way, as on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


async def test_a_full_disk_leaves_nothing_behind(tmp_path, full_disk):
    """A picture that does not fit fails, and no half of it stays."""
    with pytest.raises(AssetsDown):
        await in_folder(tmp_path).put(b"x" * (ROOM_BYTES + 5_000))

    assert names(tmp_path) == []


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/a/prefix", "gs://bucket/prefix", "az://container/prefix"])
async def test_buckets_of_three_makers_are_taken(url, monkeypatch):
    """S3, Google and Azure are named by their usual addresses; nothing is sent to them yet."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")

    assert in_bucket(BucketSettings(url))


@pytest.mark.parametrize("url", ["file:///tmp", "https://example.com/a", "nowhere"])
async def test_what_is_no_bucket_is_refused(url):
    """A folder or a web page is no place for pictures."""
    with pytest.raises(ValueError):
        in_bucket(BucketSettings(url))
