"""PostgreSQL through psycopg 3: every operation is a transaction on a connection of the pool.

READ COMMITTED is enough: money changes by guarded updates and the request id is a unique key, and both wait for a
concurrent transaction's end before they decide. A deadlock or a lost race is run again.
"""

from typing import Any

from psycopg.abc import Buffer
from psycopg.errors import DeadlockDetected, SerializationFailure
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pictord.store.database import Address, T, Work, heard

_TRIES = 5


def engine(address: Address, *, timeout_s: float = 5.0) -> AsyncEngine:
    """An engine that gives up on a server which does not answer, or holds a lock, after `timeout_s` seconds."""
    millis = int(timeout_s * 1000)
    made = create_async_engine(
        address.url,
        connect_args={
            "connect_timeout": max(2, int(timeout_s)),
            "options": f"-c lock_timeout={millis} -c statement_timeout={4 * millis}",
            "application_name": "pictord",
        },
        pool_size=10,
        max_overflow=10,
        pool_timeout=timeout_s,
        pool_pre_ping=True,
        hide_parameters=True,
    )

    @event.listens_for(made.sync_engine, "connect")
    def prepare(connection: DBAPIConnection, _: Any) -> None:
        connection.driver_connection.adapters.register_dumper(str, _Text)

    return made


class _Text(StrDumperUnknown):
    """Text as a server holds it: there is no NUL in what is kept, so what is asked for with one is not found."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\ufffd"))


class PostgresqlDatabase:
    """`Database` on a server that other replicas share."""

    def __init__(self, address: Address, *, timeout_s: float = 5.0) -> None:
        self._engine = engine(address, timeout_s=timeout_s)

    async def write(self, work: Work[T]) -> T:
        """See `Database.write`."""
        with heard():
            for _ in range(_TRIES - 1):
                try:
                    return await self._run(work)
                except OperationalError as error:
                    if not isinstance(error.orig, DeadlockDetected | SerializationFailure):
                        raise
            return await self._run(work)

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""
        with heard():
            return await self._run(work)

    async def scrub(self) -> bool:
        """See `Database.scrub`: a server does that by itself, in its own time."""
        return True

    async def close(self) -> None:
        """See `Database.close`."""
        await self._engine.dispose()

    async def _run(self, work: Work[T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)
