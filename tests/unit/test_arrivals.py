"""Pictures that have arrived: written down whole or not at all, found again, and forgotten."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

import samples
from pictord.assets import arrivals
from pictord.assets.arrivals import ArrivalFolder, Arrived
from pictord.domain.money import Usage

SMALL, LARGE = b"\x89PNG\n\n" * 100, b"\x89PNG\n\n" * 100_000
"""The second is written by a thread."""


def arrived(data: bytes, number: int = 1, **changes) -> Arrived:
    attempt = samples.finished(
        samples.attempt(f"att_{number}", adaptations=()), usage=Usage(1, 2, 3, 4), served_version="v7", **changes
    )
    return Arrived("gen_1", attempt, replace(samples.image(), size_bytes=len(data), sha256=""))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "arrived"


@pytest.mark.parametrize("data", [SMALL, LARGE, b""])
async def test_what_arrived_is_found_by_the_next_process(folder, data):
    """All that is known of it, and every byte."""
    known = arrived(data)
    await ArrivalFolder(folder).keep(known, data)

    assert list(ArrivalFolder(folder).found()) == [(known, data)]


async def test_the_oldest_comes_first_and_what_is_recorded_is_forgotten(folder):
    """Ids sort by age; forgetting twice is no fault."""
    kept = ArrivalFolder(folder)
    for number in (2, 1, 3):
        await kept.keep(arrived(SMALL, number), SMALL)

    kept.forget("att_1")
    kept.forget("att_1")

    assert [found.attempt.id for found, _ in kept.found()] == ["att_2", "att_3"]


@pytest.mark.parametrize("length", [0, 10, 200, -1])
async def test_what_did_not_arrive_whole_is_none(folder, length, caplog):
    """The process died while it wrote: the file is removed, and the attempt stays unknown."""
    kept = ArrivalFolder(folder)
    await kept.keep(arrived(SMALL), SMALL)
    file = folder / "att_1"
    os.truncate(file, length if length >= 0 else file.stat().st_size - 1)

    assert list(kept.found()) == []
    assert not file.exists()
    assert "att_1" in caplog.text


async def test_what_arrives_just_now_is_left_alone(folder):
    """While others arrive, only what is looked for is found, and half a file is one that is being written."""
    kept = ArrivalFolder(folder)
    await kept.keep(arrived(SMALL), SMALL)
    (folder / "att_2").write_bytes(b'{"half')

    assert list(kept.found(only={"gen_2"})) == []
    assert [found.attempt.id for found, _ in kept.found(only={"gen_1"})] == ["att_1"]
    assert (folder / "att_2").exists()


async def test_a_picture_that_cannot_be_written_down_is_drawn_all_the_same(folder, monkeypatch, caplog):
    """A full disk, or odd words of a provider: it is said, nothing fails, and no half of a file is left."""
    kept = ArrivalFolder(folder)
    await kept.keep(arrived(SMALL, detail="\ud800"), SMALL)
    monkeypatch.setattr(arrivals.os, "writev", lambda *_: 7)
    await kept.keep(arrived(SMALL, 2), SMALL)

    assert "att_1" in caplog.text
    assert "att_2" in caplog.text
    assert [*folder.iterdir()] == []


async def test_nobody_else_may_look(folder):
    """The folder holds callers' pictures."""
    await ArrivalFolder(folder).keep(arrived(SMALL), SMALL)

    assert [path.stat().st_mode & 0o077 for path in (folder, folder / "att_1")] == [0, 0]
