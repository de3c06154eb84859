"""Commands that other distributions bring: entry points `pictor.commands`, each a Typer app of one command."""

from importlib import metadata
from typing import Any

import typer.main

from pictor.cli.one_line import OneLineErrors


class Commands(OneLineErrors):
    """The commands here and those; one is imported when it is asked for, or when all are listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Ours in their order, then the others by name."""
        return [*super().list_commands(ctx), *sorted(_others().names)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name; ours go before."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in (others := _others()).names:
            return own
        return typer.main.get_command(others[cmd_name].load())


def _others() -> metadata.EntryPoints:
    return metadata.entry_points(group="pictor.commands")
