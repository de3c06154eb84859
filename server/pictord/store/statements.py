"""The few places where the two databases need their own words."""

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_new(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row if its key is not there yet, and say whether it was inserted.

    Where another transaction has inserted the same key, the database waits for that one's end.
    """
    insert = _INSERT[connection.dialect.name](table).on_conflict_do_nothing()
    # SQLAlchemy forgets how many rows an INSERT made, unless it is asked to remember.
    return bool(connection.execute(insert, row, execution_options={"preserve_rowcount": True}).rowcount)


def insert_missing(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows whose key is not there yet."""
    connection.execute(_INSERT[connection.dialect.name](table).on_conflict_do_nothing(), rows)


def insert_or_update(connection: Connection, table: Table, row: dict[str, Any]) -> None:
    """Insert a row, or let it replace the one of the same key."""
    insert = _INSERT[connection.dialect.name](table)
    keys = [column.name for column in table.primary_key]
    fresh = {name: insert.excluded[name] for name in row if name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=fresh), row)
