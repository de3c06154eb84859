"""Data on stdout: protobuf JSON for programs, tables for people."""

import json
import sys
from collections.abc import Sequence

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pictor.cli.text import printable
from pictor.errors import PictorError

_PIPE_WIDTH = 240
"""Columns of a table that no terminal shows, so that nothing is cut."""


def print_json(message: Message, *, line: bool = False) -> None:
    """Print a message as protobuf JSON with its original field names; `line` puts it on one line, for streams."""
    text = MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None if line else 2,
        ensure_ascii=False,
    )
    print(text, flush=True)  # noqa: T201 - the command's output


def print_error(error: PictorError, text: str) -> None:
    """Print a failure as one line of JSON: `text` is for people."""
    told = {
        "reason": error.reason,
        "text": text,
        "metadata": dict(error.metadata),
        "paid": error.paid,
        "generation_id": error.generation_id or "",
        "request_id": error.request_id or "",
    }
    print(json.dumps({"error": told}, ensure_ascii=False), flush=True)  # noqa: T201 - the command's output


def print_line(text: str) -> None:
    """Print one line for people."""
    print(printable(text), flush=True)  # noqa: T201 - the command's output


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headers; nothing at all without rows."""
    if not rows:
        return
    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False)
    with console.capture() as drawn:
        console.print(table)
    print("\n".join(line.rstrip() for line in drawn.get().strip("\n").splitlines()), flush=True)  # noqa: T201 - output
