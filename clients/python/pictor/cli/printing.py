"""Data on stdout: protobuf JSON for programs, tables for people."""

import json
import sys
from collections.abc import Sequence

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pictor.cli.text import printable
from pictor.errors import PictorError

_GAP = 3
"""Columns between two columns of a table."""

_SHORT = 12
"""Characters of a cell that stays on one line, such as `0.1 s`."""

_PIPE_WIDTH = 240
"""Columns of a table that no terminal shows, so that nothing is cut."""

_PAGE_WIDTH = 120
"""The same of a table with a column that may be cut."""


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


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], cut: str = "") -> None:
    """Print rows under headers; nothing at all without rows.

    Words wrap where a terminal is narrow, except in the column `cut`: it is cut instead, so that each row is one line.
    Ids, amounts and moments are never cut: one must be able to copy them.
    """
    if not rows:
        return
    cells = [[Text(printable(cell)) for cell in row] for row in rows]
    console = Console(file=sys.stdout, highlight=False)
    without_terminal = _PAGE_WIDTH if cut else _PIPE_WIDTH
    room = (console.width if sys.stdout.isatty() else without_terminal) - _GAP * len(headers)
    if cut:
        _cut(headers, cells, headers.index(cut), room)
    columns = list(zip(headers, _columns(cells), strict=True))
    widths = fitted(
        [_natural(header, column) for header, column in columns],
        [_least(header, column, is_whole=header == cut) for header, column in columns],
        room,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for header, width in zip(headers, widths, strict=True):
        table.add_column(header, width=width)
    for row in cells:
        table.add_row(*row)
    console.width = sum(widths) + _GAP * len(headers)
    with console.capture() as drawn:
        console.print(table)
    print("\n".join(line.rstrip() for line in drawn.get().strip("\n").splitlines()), flush=True)  # noqa: T201 - output


def _cut(headers: Sequence[str], rows: Sequence[Sequence[Text]], place: int, room: int) -> None:
    """Shorten the cells of one column to what all others leave; a few characters always stay."""
    widths = [_natural(header, column) for header, column in zip(headers, _columns(rows), strict=True)]
    left = room - sum(widths) + widths[place]
    for row in rows:
        row[place].truncate(max(left, _SHORT), overflow="ellipsis")


def _columns(rows: Sequence[Sequence[Text]]) -> list[tuple[str, ...]]:
    return list(zip(*([cell.plain for cell in row] for row in rows), strict=True))


def _natural(header: str, column: Sequence[str]) -> int:
    return max(map(cell_len, (header, *column)))


def fitted(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths of columns: natural ones if there is room, else the widest that may shrink do, as far as they may."""
    widths = list(natural)
    while sum(widths) > room:
        slack = [width if width > low else 0 for width, low in zip(widths, least, strict=True)]
        if not any(slack):
            break
        widths[slack.index(max(slack))] -= 1
    return widths


def _least(header: str, column: Sequence[str], *, is_whole: bool) -> int:
    parts = header.split()
    for cell in column:
        parts += [cell] if is_whole or len(cell) <= _SHORT else cell.split()
    return max(map(cell_len, parts))
