"""Pictures that have arrived and are not in the record yet: one file each, on this machine's own disk.

Between the last byte of an answer and the record of it lie the picture store, which may be far away, and the database.
A process that dies in between would lose what is paid for. So the picture is written down first, with all that is
known of its attempt, and is taken away when the record has it. What a start finds here is adopted (`jobs/adoption.py`).

What holds: once `keep` has returned, the picture outlives the process, however it dies (kill -9, out of memory): the
kernel has the bytes. Nothing is forced onto the disk, so a power cut may take the pictures of the last seconds; their
attempts were recorded as sent before, so the next start lists them as unknown, at their estimate. A file that is
incomplete, because the process died while it wrote, counts for nothing; one that found no room is removed at once.

A file is one line of JSON, and the picture's bytes. To write and to remove one costs, on ext4 with Python 3.11 and two
busy cores (2026-11-22), 19 us of CPU with 64 KiB, 0.4 ms with 1.5 MiB, 1.9 ms with 8 MiB. Gone within seconds, it
mostly never gets to the disk.
"""

import asyncio
import functools
import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter

from pictord.domain.generation import Attempt, Image

logger = logging.getLogger(__name__)

_SMALL_BYTES = 256 * 1024
"""Up to this, writing takes less time than asking a thread to."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What the record of an attempt will say: settled, with its picture, whose `sha256` may not be known yet."""

    generation_id: str
    attempt: Attempt
    image: Image


class Arrivals(Protocol):
    """Keeps what has arrived until the record has it."""

    async def keep(self, arrived: Arrived, data: bytes) -> None:
        """Write a picture down; one that cannot be is only as safe as the process."""
        ...

    def forget(self, attempt_id: str) -> None:
        """The record has it, and the picture store too."""
        ...


class NoArrivals:
    """`Arrivals` of a gateway whose records die with it too."""

    async def keep(self, arrived: Arrived, data: bytes) -> None:
        """See `Arrivals.keep`."""

    def forget(self, attempt_id: str) -> None:
        """See `Arrivals.forget`."""


class ArrivalFolder:
    """`Arrivals` in a folder that nobody else may enter."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = str(folder)

    async def keep(self, arrived: Arrived, data: bytes) -> None:
        """See `Arrivals.keep`."""
        path = self._place(arrived.attempt.id)
        try:
            head = _adapter().dump_json(arrived) + b"\n"
            if len(data) <= _SMALL_BYTES:
                _write(path, head, data)
            else:
                await asyncio.to_thread(_write, path, head, data)
        except (OSError, ValueError) as error:
            logger.warning("attempt %s: its picture is not safe until it is stored: %s", arrived.attempt.id, error)
            self.forget(arrived.attempt.id)  # a half takes room, and counts for nothing

    def forget(self, attempt_id: str) -> None:
        """See `Arrivals.forget`."""
        try:
            os.unlink(self._place(attempt_id))  # noqa: PTH108 - a Path takes longer to make than the file to go
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("attempt %s: what arrived cannot be removed: %s", attempt_id, error)

    def found(self, *, only: Collection[str] | None = None) -> Iterator[tuple[Arrived, bytes]]:
        """What an earlier process left, the oldest first; files that are not whole are removed.

        While pictures arrive, which are not whole at first, `only` are the generations to look for.
        """
        for name in sorted(os.listdir(self._folder)):  # noqa: PTH208 - names are wanted
            read = _read(Path(self._folder, name))
            if read is None and only is None:
                logger.warning("attempt %s: its picture had not arrived whole", name)
                self.forget(name)
            elif read is not None and (only is None or read[0].generation_id in only):
                yield read

    def _place(self, attempt_id: str) -> str:
        return f"{self._folder}/{attempt_id}"


def _write(path: str, head: bytes, data: bytes) -> None:
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        written = os.writev(handle, (head, data))
    finally:
        os.close(handle)
    if written != len(head) + len(data):
        raise OSError("there is no room for all of it")


def _read(path: Path) -> tuple[Arrived, bytes] | None:
    try:
        head, _, data = path.read_bytes().partition(b"\n")
        arrived: Arrived = _adapter().validate_json(head)
    except (ValueError, FileNotFoundError):
        return None
    return (arrived, data) if len(data) == arrived.image.size_bytes else None


@functools.cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Arrived)
