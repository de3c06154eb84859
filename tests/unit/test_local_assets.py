"""Pictures on disk: whole or not at all, private, each once."""

import asyncio
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from pictord.assets.store import AssetMissing, LocalAssets


@pytest.fixture
def assets(tmp_path):
    local = LocalAssets(tmp_path / "images")
    local.clear()
    return local


def nobody_needs_it(_sha256):
    return False


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

    await assets.delete(address, unless=nobody_needs_it)

    with pytest.raises(AssetMissing):
        await assets.get(address)


class Gate:
    """A file operation that stops in its thread when it is done, until the test lets it go on."""

    def __init__(self, operation):
        self._operation = operation
        self._loop = asyncio.get_running_loop()
        self.entered = asyncio.Event()
        self.opened = threading.Event()

    def __call__(self, *args, **kwargs):
        result = self._operation(*args, **kwargs)
        self._loop.call_soon_threadsafe(self.entered.set)
        self.opened.wait(timeout=10)
        return result


async def test_a_picture_that_is_put_again_is_not_deleted_on_the_way(assets, monkeypatch):
    """A put that has found its file counts on it: a delete waits, and asks then whether the picture is needed."""
    address, needed = await assets.put(b"picture"), set()
    gate = Gate(os.path.exists)
    monkeypatch.setattr("os.path.exists", gate)

    async def put_again():
        needed.add(await assets.put(b"picture"))

    putting = asyncio.ensure_future(put_again())
    await gate.entered.wait()
    deleting = asyncio.ensure_future(assets.delete(address, unless=needed.__contains__))
    await asyncio.sleep(0)  # it has begun
    gate.opened.set()
    await asyncio.gather(putting, deleting)

    assert await assets.get(address) == b"picture"


async def test_a_picture_that_is_put_while_it_is_deleted_is_written_anew(assets, monkeypatch):
    """A put that comes too late to stop a delete does not count on the file that goes."""
    address = await assets.put(b"picture")
    entered, opened, unlink = threading.Event(), threading.Event(), Path.unlink

    def slow(path, **how):
        entered.set()
        opened.wait(timeout=10)
        unlink(path, **how)

    monkeypatch.setattr(Path, "unlink", slow)
    deleting = asyncio.ensure_future(assets.delete(address, unless=nobody_needs_it))
    await asyncio.to_thread(entered.wait)
    putting = asyncio.ensure_future(assets.put(b"picture"))
    # Real time, because nothing must happen: a put that did not wait its turn would be done by now.
    await asyncio.wait({putting}, timeout=0.05)
    opened.set()
    await asyncio.gather(deleting, putting)

    assert await assets.get(address) == b"picture"


async def test_turns_are_not_kept(assets):
    """What is neither put nor deleted costs no memory."""
    await assets.delete(await assets.put(b"picture"), unless=nobody_needs_it)

    assert not assets._turns
