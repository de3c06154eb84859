"""What more than one folder of tests stands on, and starts once in a session."""

from collections.abc import Iterator

import pytest

from databases import Databases
from postgresql_server import PostgresqlServer, postgresql_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A real server, started when the first test asks for it."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Makes empty databases."""
    return Databases(tmp_path_factory.mktemp("databases"))


@pytest.fixture(autouse=True)
def leaves_no_database(databases: Databases) -> Iterator[None]:
    """Hundreds of them would be gigabytes, and a minute's deleting at the session's end."""
    yield
    databases.drop()
