"""A wrong command line, told as every other failure is: in one line, and as JSON if that was asked for."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup


class OneLineErrors(TyperGroup):
    """Ends as `work.run` does: one sentence on stderr, the error on stdout with `--json`, an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run, and exit."""
        given: Sequence[str] | None = options.get("args", args[0] if args else None)
        words = sys.argv[1:] if given is None else given
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except typer.TyperException as wrong:
            code = _told(wrong, as_json="--json" in words)
        except typer.Abort:
            code = 1
        sys.exit(code)


def _told(wrong: typer.TyperException, *, as_json: bool) -> int:
    context: typer.Context | None = getattr(wrong, "ctx", None)
    if type(wrong).__name__ == "NoArgsIsHelpError":  # help was wanted, not a sentence
        typer.echo(wrong.format_message(), err=True)
        return wrong.exit_code
    from pictor.cli import failures, printing  # noqa: PLC0415 - gRPC takes longer to import than `--help` may

    text = " ".join(wrong.format_message().split()).removesuffix(".")
    if as_json:
        printing.print_error(failures.bad_input(text), text)
    see = f"; see `{context.command_path} --help`" if context is not None else ""
    typer.echo(f"pictor: {text}{see}", err=True)
    return wrong.exit_code
