"""Migrations on both databases: the tables that result are those of the program, and money survives them."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text

from pictord.store import upkeep
from pictord.store.database import Address, address, sqlite_address
from pictord.store.schema import metadata
from pictord.store.upkeep import check, upgrade


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path) -> Address:
    if request.param == "sqlite":
        return sqlite_address(tmp_path / "pictor.db")
    server = request.getfixturevalue("postgresql")
    return address(server.url(server.new_database()))


def migrate(at: Address, revision: str, *, down: bool = False) -> None:
    """Go to a revision, up or down."""
    with upkeep.connected(at) as connection:
        config = upkeep._config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
        connection.commit()


def run(at: Address, *statements: str) -> list[tuple]:
    """Run statements; the rows of the last one."""
    engine = create_engine(at.url)
    try:
        with engine.begin() as connection:
            results = [connection.execute(text(each)) for each in statements]
            return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []
    finally:
        engine.dispose()


def differences(connection: Connection) -> list:
    return compare_metadata(MigrationContext.configure(connection), metadata)


def test_the_migrations_make_the_programs_tables(empty):
    """Nothing is missing in the revisions that the schema has."""
    upgrade(empty)

    engine = create_engine(empty.url)
    with engine.connect() as connection:
        found = differences(connection)
    engine.dispose()
    assert found == []


FIRST = (
    "INSERT INTO scope (scope, settled_nanos, held_nanos) VALUES ('day:2026-11-22', 7, 5)",
    "INSERT INTO scope (scope, settled_nanos, held_nanos) VALUES ('set:1', 1, 0)",
    "INSERT INTO hold (attempt_id, scope, nanos, settled) VALUES ('att_1', 'day:2026-11-22', 5, FALSE)",
)


def test_what_was_spent_before_budgets_still_counts_under_the_daily_cap(empty):
    """The cap's sum and its holds go under the name that the budget looks for; others keep theirs."""
    migrate(empty, "0001")
    run(empty, *FIRST)

    upgrade(empty)

    assert run(empty, "SELECT scope, settled, held FROM scope ORDER BY scope") == [
        ("set:1", 1, 0),
        ("usd/2026-11-22/global", 7, 5),
    ]
    assert run(empty, "SELECT scope, unit, amount FROM hold") == [("usd/2026-11-22/global", "usd", 5)]
    assert check(empty).problems == ()


def test_the_way_back_leaves_the_first_tables(empty):
    """Pictures have no place there; dollars stay."""
    upgrade(empty)
    run(
        empty,
        "INSERT INTO scope (scope, settled, held) VALUES ('usd/2026-11/global', 9, 0), ('pictures/2026-11/x', 1, 0)",
    )

    migrate(empty, "0001", down=True)

    assert run(empty, "SELECT scope, settled_nanos, held_nanos FROM scope") == [("usd/2026-11/global", 9, 0)]
