"""SQLite: one writer, statements on the event loop, group commit beside it.

What one generation of one picture wrote (four transactions then; now three), measured in a row on two busy cores with
Python 3.11, SQLite 3.40, WAL and synchronous=FULL (2026-11-22):

| who runs the statements                               | 1 at a time  | 16 at a time           |
|-------------------------------------------------------|--------------|------------------------|
| aiosqlite: a thread hop for each statement            | p50 17.1 ms  | 69/s, 5.9 ms CPU each  |
| one writer thread, group commit                       | p50  8.9 ms  | 323/s, 1.2 ms CPU each |
| the event loop, and a thread for COMMIT, group commit | p50  4.6 ms  | 497/s, 0.8 ms CPU each |

A thread pays for every statement: it lets go of the interpreter's lock, and the busy loop is slow to hand it back.

So the writing connection belongs to the loop's own thread: statements touch memory and the page cache alone and run
where they are asked for. Only COMMIT waits for the disk, and it alone goes to a thread. Whoever wants to write
meanwhile waits for that commit, and then they all share the next one; where they come in numbers, it waits a moment for
more of them (what PostgreSQL calls `commit_delay`: a tenth less CPU for each picture, 2026-11-28). An operation that
fails takes the others of its group with it, so they are rolled back and run one by one.

Nothing here blocks the loop for a lock: another process that writes (there should be none) is asked again and again
for `lock_timeout_s`. Reads run in threads of their own, on connections of their own; in WAL they wait for nobody.
"""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from pictord.store.database import Address, T, Work, as_heard, heard

_GROUP = 32
"""Operations that share a commit at most, so that the loop gets to its other work in between."""

_GATHER_S = 0.003
"""Waited for company before a transaction, if the last one had some: a commit costs 0.3 ms of CPU, shared or not."""

_READERS = 2


def engine(address: Address, *, lock_timeout_s: float = 5.0, read_only: bool = False) -> Engine:
    """An engine whose connections commit durably: WAL, synchronous=FULL, writers take the lock when they begin."""
    made = create_engine(
        address.url,
        connect_args={"check_same_thread": False, "timeout": lock_timeout_s},
        poolclass=QueuePool,
        pool_size=_READERS,
        hide_parameters=True,
    )

    @event.listens_for(made, "connect")
    def prepare(connection: DBAPIConnection, _: Any) -> None:
        # The driver's own BEGIN would take no lock yet: see "Serializable isolation" in SQLAlchemy's SQLite page.
        connection.isolation_level = None
        cursor = connection.cursor()
        if not read_only:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            # What is deleted is overwritten, not only forgotten: in the file as soon as the log is emptied (`scrub`).
            cursor.execute("PRAGMA secure_delete=ON")
        cursor.execute("PRAGMA cache_size=-32000")
        cursor.close()

    @event.listens_for(made, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return made


class SqliteDatabase:
    """`Database` in one file that no other process writes."""

    def __init__(self, address: Address, *, lock_timeout_s: float = 5.0) -> None:
        # No waiting inside SQLite: it would be on the loop.
        self._engine = engine(address, lock_timeout_s=0.0)
        self._reading = engine(address, lock_timeout_s=lock_timeout_s, read_only=True)
        self._lock_timeout_s = lock_timeout_s
        self._connection: Connection | None = None
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._is_shared = False
        self._turn = asyncio.Lock()
        self._committer = ThreadPoolExecutor(1, "pictord-commit")
        self._readers = ThreadPoolExecutor(_READERS, "pictord-read")

    async def write(self, work: Work[T]) -> T:
        """See `Database.write`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, done))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write_waiting())
        return await done

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""

        def run() -> T:
            with self._reading.connect() as connection:
                return work(connection)

        with heard():
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    async def scrub(self) -> bool:
        """See `Database.scrub`: the log of writes goes into the file and is emptied, unless somebody reads from it."""

        def empty() -> bool:
            statement = "PRAGMA wal_checkpoint(TRUNCATE)"
            with self._engine.connect() as connection:
                try:  # outside any transaction
                    is_busy, _, _ = connection.connection.driver_connection.execute(statement).fetchone()  # type: ignore[union-attr]
                except sqlite3.Error as error:
                    raise OperationalError(statement, None, error) from error
                return not is_busy

        async with self._turn:
            with heard():
                return await asyncio.get_running_loop().run_in_executor(self._committer, empty)

    async def close(self) -> None:
        """See `Database.close`."""
        if self._writer is not None:
            await self._writer
        self._readers.shutdown()
        self._committer.shutdown()
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()
        self._reading.dispose()

    async def _write_waiting(self) -> None:
        while self._waiting:
            if self._is_shared:
                await asyncio.sleep(_GATHER_S)
            self._is_shared = len(self._waiting) > 1
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            # Who went away before its turn wants nothing written.
            group = [(work, done) for work, done in group if not done.done()]
            if group:
                async with self._turn:
                    await self._write_group(group)

    async def _write_group(self, group: list[tuple[Work[Any], asyncio.Future[Any]]]) -> None:
        if not await self._write_together(group):
            for work, done in group:
                if not done.done():
                    await self._write_together([(work, done)])

    async def _write_together(self, group: list[tuple[Work[Any], asyncio.Future[Any]]]) -> bool:
        """Run operations in one transaction; False if one of several failed, and nothing was written."""
        try:
            connection = await self._begun()
        except Exception as error:  # noqa: BLE001 - handed on to whoever asked for an operation
            for _, done in group:
                _fail(done, error)
            return True
        try:
            results = await self._committed(connection, [work for work, _ in group])
        except Exception as error:  # noqa: BLE001 - as above
            if len(group) > 1:
                return False
            _fail(group[0][1], error)
            return True
        for (_, done), result in zip(group, results, strict=True):
            if not done.done():
                done.set_result(result)
        return True

    async def _committed(self, connection: Connection, works: list[Work[Any]]) -> list[Any]:
        try:
            results = [work(connection) for work in works]
            await asyncio.get_running_loop().run_in_executor(self._committer, connection.commit)
        except BaseException:
            connection.rollback()
            raise
        return results

    async def _begun(self) -> Connection:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lock_timeout_s
        while True:
            try:
                if self._connection is None:
                    self._connection = self._engine.connect()
                self._connection.begin()
            except OperationalError as error:
                if not _is_locked(error) or loop.time() > deadline:
                    raise
                await asyncio.sleep(_ASK_AGAIN_S)
            else:
                return self._connection


_ASK_AGAIN_S = 0.01


def _is_locked(error: DBAPIError) -> bool:
    return isinstance(error.orig, sqlite3.OperationalError) and "locked" in str(error.orig)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(as_heard(error))
