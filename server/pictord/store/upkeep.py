"""What operators do with a database, and what the start checks: its schema, its integrity, a copy of it."""

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, func, select
from sqlalchemy.exc import DatabaseError

from pictord.domain.budget import DAILY_CAP, Budget, Unit, Window
from pictord.domain.budget import Counted as Kind
from pictord.store import sql_books, sqlite
from pictord.store.database import Address, Database, DatabaseRefused
from pictord.store.postgresql import PostgresqlDatabase
from pictord.store.schema import hold, scope, world
from pictord.store.sqlite import SqliteDatabase
from pictord.store.statements import insert_new


class Schema(Enum):
    """How a database's tables stand to this program's."""

    MISSING = "missing"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


class World(Enum):
    """Whose money a ledger counts: the first start says it, and the other world is refused from then on."""

    REAL = "real"
    SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found; `problems` are sentences, none of them is good."""

    schema: Schema
    revision: str | None
    problems: tuple[str, ...]


def ready(address: Address, of: World) -> Database:
    """Open a database for service in a world: an SQLite file is made or upgraded on the way.

    Raises:
        DatabaseRefused: its schema is not this program's, it is of the other world, or it cannot be opened.
    """
    schema = _schema_for_service(address)
    if schema is Schema.NEWER:
        raise DatabaseRefused(f"{address} was upgraded by a newer pictord; run that one")
    if schema is not Schema.CURRENT:
        if not address.is_sqlite:
            raise DatabaseRefused(f"{address}: its tables are {schema.value}; run `pictord db upgrade`")
        upgrade(address)
    _enter(address, of)
    return open_database(address)


def _enter(address: Address, of: World) -> None:
    with transaction(address) as connection:
        insert_new(connection, world, {"id": 1, "name": of.value})
        found = World(connection.execute(select(world.c.name)).scalar_one())
    if found is not of:
        raise DatabaseRefused(_OTHER_WORLD[found].format(address))


_OTHER_WORLD = {
    World.SANDBOX: "{} holds a sandbox's ledger; real engines need a database or data directory of their own",
    World.REAL: "{} holds a ledger of real money; a sandbox needs a database or data directory of its own",
}


def open_database(address: Address) -> Database:
    """Open a database whose tables are known to be this program's."""
    return SqliteDatabase(address) if address.is_sqlite else PostgresqlDatabase(address)


def _schema_for_service(address: Address) -> Schema:
    with connected(address) as connection:
        return _schema(connection)[0]


def upgrade(address: Address) -> str:
    """Bring the tables to this program's revision, whose name is returned.

    Raises:
        DatabaseRefused: they are newer, or the database cannot be opened.
    """
    with connected(address) as connection:
        if _schema(connection)[0] is Schema.NEWER:
            raise DatabaseRefused(f"{address} was upgraded by a newer pictord")
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        return _schema(connection)[1] or ""


def check(address: Address, now: datetime | None = None) -> Checked:
    """Look whether the schema is current, the file whole (SQLite), and the ledger in itself consistent.

    With `now`, also whether what is settled under each budget is what the attempts of its present window came to.

    Raises:
        DatabaseRefused: the database cannot be opened.
    """
    with connected(address, read_only=True) as connection:
        schema, revision = _schema(connection)
        problems = [] if schema is Schema.CURRENT else [f"the tables are {schema.value}; run `pictord db upgrade`"]
        if schema is Schema.NEWER:
            problems = ["the tables are newer than this pictord; run the newer one"]
        if address.is_sqlite:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            problems += [text for text in found if text != "ok"]
        if schema is Schema.CURRENT:
            if not address.is_sqlite:  # where every statement would see another moment of a ledger in use
                connection.execution_options(isolation_level="REPEATABLE READ")
            problems += _unbalanced(connection)
            problems += _miscounted(connection, now) if now else []
        return Checked(schema, revision, tuple(problems))


def require_current(connection: Connection, address: Address) -> None:
    """Refuse to read tables of another shape.

    Raises:
        DatabaseRefused: they are missing, older or newer.
    """
    schema = _schema(connection)[0]
    if schema is not Schema.CURRENT:
        raise DatabaseRefused(f"{address}: its tables are {schema.value}; this pictord cannot read them")


def _unbalanced(connection: Connection) -> list[str]:
    """Scopes under which more or less is held than their open holds say."""
    held = func.coalesce(func.sum(hold.c.amount), 0)
    sums = select(scope.c.scope, scope.c.held, held.label("sum")).outerjoin(
        hold, (hold.c.scope == scope.c.scope) & ~hold.c.settled
    )
    sums = sums.group_by(scope.c.scope, scope.c.held).having(scope.c.held != held)
    return [f"scope {row.scope}: {row.held} is held, its open holds say {row.sum}" for row in connection.execute(sums)]


def _miscounted(connection: Connection, now: datetime) -> list[str]:
    """Scopes of budgets in force under which something else is settled than their attempts came to."""
    of = connection.execute(select(world.c.name)).scalar_one_or_none()
    in_force = {_DAILY_CAP.id: _DAILY_CAP} if of == World.REAL.value else {}
    in_force |= {budget.id: budget for budget in sql_books.all_budgets(connection)}
    found: dict[str, tuple[int, int]] = {}
    for budget in in_force.values():
        found |= sql_books.miscounted(connection, budget, now)
    return [
        f"scope {name}: {stored} is settled, its attempts came to {computed}; setting its budget anew counts it anew"
        for name, (stored, computed) in found.items()
    ]


_DAILY_CAP = Budget(DAILY_CAP, Kind.GLOBAL, "", Unit.USD, Window.DAY, 0)
"""In force over real money until a budget of its id is set; how much it is does not matter here."""


def backup(address: Address, file: Path) -> None:
    """Copy an SQLite database, whole and consistent, while it serves.

    Raises:
        DatabaseRefused: the file is there already or cannot be written, or this is a server: its own tool does that.
    """
    if not address.is_sqlite:
        raise DatabaseRefused(f"use PostgreSQL's own tool: {pg_dump(address, file)}")
    with connected(address, read_only=True) as connection:
        try:
            file.touch(0o600, exist_ok=False)  # an empty file is filled
        except FileExistsError:
            raise DatabaseRefused(f"{file} is there already; name a new file") from None
        except OSError as error:
            raise DatabaseRefused(f"{file}: {error.strerror}") from None
        try:
            # VACUUM stands outside any transaction.
            connection.connection.driver_connection.execute("VACUUM INTO ?", (str(file),))  # type: ignore[union-attr]
        except sqlite3.Error as error:
            file.unlink(missing_ok=True)  # half a copy is none
            raise DatabaseRefused(f"{file}: {error}") from None


def pg_dump(address: Address, file: Path) -> str:
    """The command that backs a PostgreSQL database up; it asks for the password itself."""
    given = address.url
    url = URL.create("postgresql", given.username, None, given.host, given.port, given.database, given.query)
    return f"pg_dump --format=custom --file={shlex.quote(str(file))} '{url}'"


@contextmanager
def transaction(address: Address, *, read_only: bool = False) -> Iterator[Connection]:
    """A transaction beside the gateway that serves, committed at the end of the block; its writers wait meanwhile.

    Raises:
        DatabaseRefused: its tables are not this program's, it cannot be opened, or somebody holds it for too long.
    """
    with connected(address, read_only=read_only) as connection:
        schema = _schema(connection)[0]
        if schema is not Schema.CURRENT:
            raise DatabaseRefused(f"{address}: its tables are {schema.value}; run `pictord db upgrade`")
        with connection.begin():
            yield connection


@contextmanager
def connected(address: Address, *, read_only: bool = False) -> Iterator[Connection]:
    """A connection for upkeep, whose failure to open is one sentence without secrets; an SQLite file is ours alone.

    Raises:
        DatabaseRefused: the database cannot be opened or used.
    """
    if address.is_sqlite and not address.file.parent.is_dir():
        raise DatabaseRefused(f"{address}: there is no folder {address.file.parent}")
    if address.is_sqlite and read_only and not address.file.is_file():
        raise DatabaseRefused(f"{address}: there is no such file")
    if address.is_sqlite and not read_only:
        try:
            address.file.touch(0o600)  # those that SQLite puts beside it become as private
        except OSError as error:
            raise DatabaseRefused(f"{address}: {error.strerror}") from None
    engine = (
        sqlite.engine(address, read_only=read_only)
        if address.is_sqlite
        else create_engine(address.url, hide_parameters=True, connect_args={"connect_timeout": 5})
    )
    try:
        with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise DatabaseRefused(f"{address}: {_first_line(error)}") from None
    finally:
        engine.dispose()


def _first_line(error: DatabaseError) -> str:
    """The driver's own words; neither SQLite's nor libpq's ever hold the password."""
    return (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]


def _schema(connection: Connection) -> tuple[Schema, str | None]:
    revision = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    scripts = ScriptDirectory.from_config(_config())
    if revision is None:
        return Schema.MISSING, None
    if revision == scripts.get_current_head():
        return Schema.CURRENT, revision
    known = {script.revision for script in scripts.walk_revisions()}
    return (Schema.OLDER if revision in known else Schema.NEWER), revision


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "pictord.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
