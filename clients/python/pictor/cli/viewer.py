"""Shows a saved picture with the viewer of this machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def _start(command: Sequence[str]) -> None:
    """Start a program that outlives us and has nothing to do with our input and output."""
    nowhere = subprocess.DEVNULL
    subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)  # noqa: S603 - a viewer


def open_picture(
    path: Path,
    *,
    platform: str = sys.platform,
    environment: Mapping[str, str] = os.environ,
    start: Callable[[Sequence[str]], None] = _start,
) -> str | None:
    """Open a picture and do not wait for it.

    Returns:
        Why it is not shown, or None.
    """
    file = str(path.absolute())
    if platform == "win32":
        command: Sequence[str] = ("explorer", file)
    elif platform == "darwin":
        command = ("open", file)
    else:
        found = shutil.which("xdg-open", path=environment.get("PATH"))
        if not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
            return "there is no display here"
        if found is None:
            return "there is no xdg-open here"
        command = (found, file)
    try:
        start(command)
    except OSError as error:
        return str(error)
    return None
