"""Tables for people: columns under their headers, words on the left, numbers on the right."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """One table; the first `texts` columns are words and stand on the left, the others are numbers."""

    headers: tuple[str, ...]
    texts: int
    rows: Sequence[tuple[str, ...]]


def drawn(table: Table) -> str:
    """The table as lines."""
    lines = (table.headers, *table.rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths, table.texts) for line in lines)


def _line(cells: Iterable[str], widths: Iterable[int], texts: int) -> str:
    sized = zip(cells, widths, strict=True)
    return "  ".join(
        cell.ljust(width) if place < texts else cell.rjust(width) for place, (cell, width) in enumerate(sized)
    ).rstrip()
