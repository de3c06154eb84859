"""Empty databases with today's tables, made once and copied from then on: migrating takes longer than most tests."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from pictord.store.database import Address, address, sqlite_address
from pictord.store.upkeep import upgrade
from postgresql_server import PostgresqlServer


@dataclass
class Databases:
    """Makes them; the server is asked for only when one of its databases is."""

    folder: Path
    _templates: dict[str, str] = field(default_factory=dict)
    _served: list[tuple[PostgresqlServer, str]] = field(default_factory=list)

    def sqlite(self, file: Path) -> Address:
        template = self.folder / "template.db"
        if not template.exists():
            upgrade(sqlite_address(template))
        shutil.copy(template, file)
        return sqlite_address(file)

    def postgresql(self, server: PostgresqlServer) -> Address:
        if "postgresql" not in self._templates:
            template = server.new_database()
            upgrade(address(server.url(template)))
            self._templates["postgresql"] = template
        name = server.new_database(self._templates["postgresql"])
        self._served.append((server, name))
        return address(server.url(name))

    def drop(self) -> None:
        """Remove what a test had of a server."""
        while self._served:
            server, name = self._served.pop()
            server.drop_database(name)
