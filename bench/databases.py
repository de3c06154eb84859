"""Databases full of history, each made when it is first needed; they take 4.5 GB for a million generations."""

import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench.seeding import seed
from pictord.store.database import address, sqlite_address


class Seeded:
    """Two databases with the same history, of so many generations; both are gone with the stack."""

    def __init__(self, stack: ExitStack, generations: int) -> None:
        self._stack = stack
        self.generations = generations

    def sqlite(self) -> str:
        """The URL of a file."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pictor-bench-"))
        file = Path(folder) / "history.db"
        seed(sqlite_address(file), self.generations, datetime.now(UTC))
        return f"sqlite:///{file}"

    def postgresql(self) -> str:
        """The URL of a database of a server of its own, the one that the tests start too."""
        sys.path.append(str(Path(__file__).parent.parent / "tests"))
        from postgresql_server import postgresql_server  # noqa: PLC0415 - it lies with the tests

        server = self._stack.enter_context(postgresql_server())
        url: str = server.url(server.new_database())
        seed(address(url), self.generations, datetime.now(UTC))
        return url
