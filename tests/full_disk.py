"""Disks that are full: a write fails half way."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

_RUN = """\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


def no_file_above(size_bytes: int, *command: str) -> list[str]:
    """The command line that runs this command so; its first word is a path."""
    return [sys.executable, "-c", _RUN, str(size_bytes), *command]


@contextmanager
def full_disk(path: Path, size_bytes: int) -> Iterator[Callable[..., list[str]]]:
    """A folder on a disk of that size, and what makes a command line one that meets it.

    It is a real file system where this process may mount one; elsewhere the process is bound instead.
    """
    with _mounted(path, size_bytes) as is_real:
        yield (lambda *command: list(command)) if is_real else partial(no_file_above, size_bytes)


class FillingDisk:
    """A folder on a disk that a test fills up and makes room on; where none may be mounted this process is bound."""

    def __init__(self, path: Path, *, is_real: bool) -> None:
        self.path = path
        self._filler = path / "filler" if is_real else None
        self._bound = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.is_full = False

    def fill(self) -> None:
        """Leave no byte."""
        self.is_full = True
        if self._filler is None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, self._bound[1]))
            return
        with suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(bytes(2**16)):
                pass

    def make_room(self) -> None:
        """Undo `fill`."""
        self.is_full = False
        resource.setrlimit(resource.RLIMIT_FSIZE, self._bound)
        if self._filler is not None:
            self._filler.unlink(missing_ok=True)


@contextmanager
def filling_disk(path: Path, size_bytes: int) -> Iterator[FillingDisk]:
    """A disk of that size, not full yet."""
    with _mounted(path, size_bytes) as is_real:
        disk = FillingDisk(path, is_real=is_real)
        try:
            yield disk
        finally:
            disk.make_room()


@contextmanager
def _mounted(path: Path, size_bytes: int) -> Iterator[bool]:
    """A new folder, and whether it is a disk of its own."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:  # noqa: S603 - ours
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(path)], check=True)  # noqa: S603, S607 - ours
