"""Disks that are full: a write fails half way."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:  # noqa: S603 - ours
        yield partial(no_file_above, size_bytes)
        return
    try:
        yield lambda *command: list(command)
    finally:
        subprocess.run(["umount", str(path)], check=True)  # noqa: S603, S607 - ours
