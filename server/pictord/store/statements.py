"""The few places where the two databases need their own words."""

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    """Insert the rows whose key is not there yet; with one row, how many were inserted."""
    return connection.execute(_INSERT[connection.dialect.name](table).on_conflict_do_nothing(), rows).rowcount


def insert_or_update(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Insert a row, or let it replace the one of the same key."""
    insert = _INSERT[connection.dialect.name](table)
    keys = [column.name for column in table.primary_key]
    fresh = {name: insert.excluded[name] for name in row if name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=fresh), row)
