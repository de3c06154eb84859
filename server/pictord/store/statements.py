"""The few places where the two databases need their own words; each statement is built once, which takes long."""

import functools
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_new(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row if its key is not there yet, and say whether it was inserted.

    Where another transaction has inserted the same key, the database waits for that one's end.
    """
    # SQLAlchemy forgets how many rows an INSERT made, unless it is asked to remember.
    options = {"preserve_rowcount": True}
    return bool(connection.execute(_ignoring(connection.dialect.name, table), row, execution_options=options).rowcount)


def insert_missing(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose key is not there yet."""
    connection.execute(_ignoring(connection.dialect.name, table), rows)


def insert_or_update(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Insert a row with all its columns, or let it replace the one of the same key."""
    connection.execute(_replacing(connection.dialect.name, table), row)


@functools.cache
def _ignoring(dialect: str, table: Table) -> Any:
    return _INSERT[dialect](table).on_conflict_do_nothing()


@functools.cache
def _replacing(dialect: str, table: Table) -> Any:
    insert = _INSERT[dialect](table)
    keys = [column.name for column in table.primary_key]
    fresh = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=fresh)
