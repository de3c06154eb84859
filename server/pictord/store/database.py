"""A database that runs plain functions over a connection, each in a transaction of its own.

All SQL is written as sync functions over `sqlalchemy.Connection`, the same for both databases; `Database.write` and
`Database.read` run them (`sqlite.py`, `postgresql.py`). A function may run more than once before its result counts, so
it has no effect but on its connection.

Whatever the driver has to say goes to the log. Callers hear STORE_UNAVAILABLE or STORE_FULL with a fixed sentence: the
driver's words name hosts and files, and a statement's parameters hold prompts.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pictord.domain.reason import Reason
from pictord.errors import GatewayError

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]


class InDoubt(GatewayError):
    """STORE_UNAVAILABLE of a transaction whose connection died: it may be committed, or not."""


class DatabaseRefused(ValueError):
    """A database that cannot be used; the text says why and what would help, and never a password."""


class Database(Protocol):
    """Runs functions over a connection."""

    async def write(self, work: Work[T]) -> T:
        """Run in one transaction, committed when this returns; what it raises rolls it back.

        Raises:
            GatewayError: STORE_UNAVAILABLE, STORE_FULL; nothing was changed.
            InDoubt: nobody knows whether it was.
        """
        ...

    async def read(self, work: Work[T]) -> T:
        """Run without changing anything.

        Raises:
            GatewayError: STORE_UNAVAILABLE.
        """
        ...

    async def scrub(self) -> bool:
        """Have what was deleted overwritten on the disk, as far as the database does that; False: try again later.

        Raises:
            GatewayError: STORE_UNAVAILABLE, STORE_FULL.
        """
        ...

    async def close(self) -> None:
        """Wait for what is being written, and let go of the database."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is: an SQLite file, or a PostgreSQL server."""

    url: URL = field(repr=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is one file of this machine."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return Path(self.url.database or "")

    def __str__(self) -> str:
        return str(self.file) if self.is_sqlite else self.url.render_as_string(hide_password=True)

    def __repr__(self) -> str:
        return f"Address({self})"


def sqlite_address(file: Path) -> Address:
    """An SQLite file."""
    return Address(URL.create("sqlite", database=str(file)))


def address(text: str) -> Address:
    """Read `sqlite:///path/to/file` or `postgresql://user:password@host/name`.

    Raises:
        DatabaseRefused: it is neither; the text is not repeated, for it may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseRefused("not a URL such as postgresql://user@host/name or sqlite:///path") from None
    if url.drivername in {"postgresql", "postgres"}:
        return Address(url.set(drivername="postgresql+psycopg"))
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return Address(url)
    raise DatabaseRefused("neither postgresql://... nor sqlite:///path")


_OURS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What a database says of a statement that is wrong; everything else is about the database itself."""


def as_heard(error: Exception) -> Exception:
    """What is raised instead: if the database does not do its work, what callers hear; the cause goes to the log."""
    if isinstance(error, _OURS) or not isinstance(error, DBAPIError | PoolTimeout):
        return error
    cause = error.orig if isinstance(error, DBAPIError) else error
    logger.warning("store: %s: %s", type(cause).__name__, str(cause).strip())
    if {"DiskFull", "SQLITE_FULL"} & {type(cause).__name__, getattr(cause, "sqlite_errorname", "")}:
        return GatewayError(Reason.STORE_FULL, "the gateway's database has no room left")
    text = "the gateway's database does not answer; nothing more is sent to an engine without its record"
    kind = InDoubt if isinstance(error, DBAPIError) and error.connection_invalidated else GatewayError
    return kind(Reason.STORE_UNAVAILABLE, text, retry_after_s=1.0)


@contextmanager
def heard() -> Iterator[None]:
    """Raise what callers hear instead of what the driver raises."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        told = as_heard(error)
        if told is error:
            raise
        raise told from error
