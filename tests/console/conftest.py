"""Headless Chromium, started once; `PICTOR_SCREENSHOTS` names a folder for pictures of the pages."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from browsing import Browser
from chromium import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    folder = os.environ.get("PICTOR_SCREENSHOTS")
    with chromium() as running:
        yield Browser(running, Path(folder) if folder else None)
