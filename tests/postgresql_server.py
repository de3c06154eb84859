"""A real PostgreSQL for the tests: started once, on a Unix socket alone, and gone with the session."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

_MISSING = "the tests need a PostgreSQL server: apt-get install postgresql (Debian), or put initdb and postgres on PATH"
_FAST = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "listen_addresses=",
    "max_connections=200",
    "log_min_messages=log",
    "log_checkpoints=off",
)


@dataclass(frozen=True)
class PostgresqlServer:
    """A running server, reached through its socket's folder."""

    folder: Path
    _numbers: count = field(default_factory=lambda: count(1))

    def url(self, database: str = "postgres", *, password: str = "") -> str:
        return f"postgresql://pictor{':' + password if password else ''}@/{database}?host={self.folder}"

    def new_database(self, template: str = "template1") -> str:
        """Make an empty database, or a copy of another one, and return its name."""
        name = f"pictor_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Start a server in a folder of its own, and stop it whatever happens."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="pictor-pg-") as name:
        folder = Path(name)
        user = _user_of(folder)
        data = folder / "data"
        making = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "pictor",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        ]
        subprocess.run(making, check=True, capture_output=True, user=user, cwd=folder)  # noqa: S603 - our own words
        options = [word for each in (*_FAST, f"unix_socket_directories={folder}") for word in ("-c", each)]
        process = subprocess.Popen(  # noqa: S603 - our own words
            [programs / "postgres", "-D", data, *options], stderr=subprocess.PIPE, user=user, cwd=folder
        )
        try:
            _wait_until_ready(process)
            yield PostgresqlServer(folder)
        finally:
            process.send_signal(signal.SIGINT)  # its "fast shutdown": whoever is connected is cut off
            process.communicate(timeout=20)


def _wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    """Read what it says until it takes connections; what little it says later, the pipe holds."""
    said = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line.decode(errors="replace"))
        if b"ready to accept connections" in line:
            return
    raise RuntimeError(f"PostgreSQL did not start: {''.join(said)}")


def _programs() -> Path:
    """The folder of initdb and postgres: Debian keeps them off the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    found = [Path(found).parent for found in (shutil.which("initdb"),) if found]
    for folder in (*debian, *found):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError(_MISSING)


def _user_of(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root: then it runs, and owns its folder, as somebody who may do nothing else."""
    if os.geteuid() != 0:
        return None
    user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
    shutil.chown(folder, user)
    return user
