"""Pictures on disk: whole or not at all, private, each once."""

import hashlib
import os
import stat

import pytest

from pictord.assets.store import AssetMissing, LocalAssets


@pytest.fixture
def assets(tmp_path):
    local = LocalAssets(tmp_path / "images")
    local.clear()
    return local


def files(tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_a_picture_lies_under_its_hash(assets, tmp_path):
    """What is put comes back byte for byte, from a file that nobody else may read."""
    address = await assets.put(b"picture")

    (file,) = files(tmp_path)
    assert address == file.name == hashlib.sha256(b"picture").hexdigest()
    assert await assets.get(address) == b"picture"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_the_same_picture_is_written_once(assets, tmp_path):
    """Putting a picture again leaves its file alone."""
    await assets.put(b"picture")
    before = files(tmp_path)[0].stat()

    await assets.put(b"picture")

    (file,) = files(tmp_path)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_all_of_them(assets, monkeypatch):
    """A short write is followed by the rest."""
    write = os.write
    monkeypatch.setattr("os.write", lambda handle, data: write(handle, data[:3]))

    address = await assets.put(b"a longer picture")

    assert await assets.get(address) == b"a longer picture"


async def test_a_full_disk_leaves_nothing_behind(assets, tmp_path, monkeypatch):
    """A picture that does not fit fails, and no half of it stays."""

    def refuse(_handle, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", refuse)

    with pytest.raises(OSError, match="No space left"):
        await assets.put(b"picture")

    assert not files(tmp_path)


async def test_what_an_earlier_process_left_is_cleared(assets, tmp_path):
    """A new process begins with an empty folder, and touches nothing that is not a picture of ours."""
    await assets.put(b"picture")
    folder = files(tmp_path)[0].parent
    (folder / "half.part").write_bytes(b"pic")
    (folder / "notes.txt").write_text("mine")

    assets.clear()

    assert [file.name for file in files(tmp_path)] == ["notes.txt"]


async def test_a_missing_picture_is_said_to_be_missing(assets):
    """Neither reading nor deleting what is not there surprises anybody."""
    address = "0" * 64

    await assets.delete(address)

    with pytest.raises(AssetMissing):
        await assets.get(address)
