"""What every command does with what it was told: connect, work, and leave with an exit code."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from pictor.cli.work import Work


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the gateway, from the options before the command."""

    address: str | None
    metadata: tuple[tuple[str, str], ...]


def run(context: typer.Context, do: "Callable[[Work], Awaitable[int | None]]", *, as_json: bool) -> NoReturn:
    """Do a command's work and exit."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # or a failed handshake is told twice, once in gRPC's words
    from pictor.cli import work  # noqa: PLC0415 - gRPC takes longer to import than `--help` may

    connection: Connection = context.obj
    raise typer.Exit(work.run(connection.address, connection.metadata, do, as_json=as_json))
