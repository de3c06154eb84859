"""What was spent, for a spreadsheet: exact."""

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal

from pictord.domain.money import NANOS_PER_USD
from pictord.domain.usage import Sums, UsageRow

_SUMS = ("cost_usd", "reported_usd", "estimated_usd", "unknown_usd", "attempts", "pictures", "reconciled_usd")


def spreadsheet(usage: Iterable[UsageRow], groups: Sequence[str]) -> str:
    """The groups by day as CSV, with the columns of `pictor usage --csv`: exact decimals, and no total."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*groups, *_SUMS])
    writer.writerows([*map(_cell, row.keys), *_figures(row.sums)] for row in sorted(usage, key=lambda row: row.keys))
    return text.getvalue()


def _figures(sums: Sums) -> Sequence[str | int]:
    costs = (sums.nanos, sums.reported_nanos, sums.estimated_nanos, sums.unknown_nanos)
    return (*map(_usd, costs), sums.attempts, sums.pictures, _usd(sums.reconciled_nanos))


def _usd(nanos: int) -> str:
    return f"{(Decimal(nanos) / NANOS_PER_USD).normalize():f}"


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text
