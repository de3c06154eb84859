"""A reconciliation for people as a table, for programs as JSON or CSV; amounts for programs are exact."""

import csv
import io
import json
from decimal import Decimal

from pictord.domain.money import format_usd
from pictord.domain.reconciliation import Invoice, Line, Reconciliation, Verdict, percent, unknown_left
from pictord.text_table import Table, drawn

COLUMNS = (
    "day",
    "model",
    "reported_usd",
    "reconciled_usd",
    "estimated_usd",
    "unknown_usd",
    "unknown_attempts",
    "unknown_settled_usd",
    "invoice_usd",
    "ledger_usd",
    "difference_usd",
    "difference_percent",
    "verdict",
)


def as_text(found: Reconciliation, invoice: Invoice, *, applied: bool) -> str:
    """The table, what was left out of it, and what becomes of what is unknown."""
    headers = ("day", "model", "known", "unknown", "settled at", "invoice", "difference", "off by", "")
    rows = [*map(_cells, found.lines), _total(found)]
    parts = [drawn(Table(headers, 2, rows))]
    return "\n".join([*parts, *_left_out(invoice), *_said(found, applied=applied), *_unclear(found, invoice)])


def _left_out(invoice: Invoice) -> list[str]:
    """What is billed for other things: the dearest by name, the rest together."""
    dearest = sorted(invoice.left_out.items(), key=lambda each: (-abs(each[1]), each[0]))
    named, rest = dearest[:_NAMED], dearest[_NAMED:]
    said = [f"left out, no model of this provider: {what}, {format_usd(nanos)}" for what, nanos in named]
    return [*said, f"left out too: {len(rest)} others, {format_usd(sum(n for _, n in rest))}"] if rest else said


_NAMED = 5


def _unclear(found: Reconciliation, invoice: Invoice) -> list[str]:
    """Days on which lost attempts are left for what nobody knows."""
    days = {line.day for line in found.lines if line.booked.unknown and line.settled is None} & invoice.unclear_days
    if not days:
        return []
    named = f"{min(days)}" + (f" and {len(days) - 1} other days" if len(days) > 1 else "")
    what = f"on {named} something is billed that may be theirs under another name: left out above"
    return [f"{what}; say --not-ours WORD of what is for others' work"]


def _cells(line: Line) -> tuple[str, ...]:
    booked, settled = line.booked, line.settled
    return (
        line.day.isoformat(),
        line.model,
        format_usd(booked.known_nanos),
        format_usd(booked.unknown_nanos) if booked.unknown else "-",
        "-" if settled is None else format_usd(sum(settled.values())),
        format_usd(line.invoice_nanos),
        *(("-", "-") if line.verdict is Verdict.NOT_YET else _off(line.difference_nanos, line.invoice_nanos)),
        line.verdict.value,
    )


def _total(found: Reconciliation) -> tuple[str, ...]:
    """The sums of what is judged."""
    judged = [line for line in found.lines if line.verdict is not Verdict.NOT_YET]
    known = sum(line.booked.known_nanos for line in judged)
    unknown = sum(line.booked.unknown_nanos for line in judged)
    settled = sum(sum(line.settled.values()) for line in judged if line.settled is not None)
    amounts = map(format_usd, (known, unknown, settled, found.invoice_nanos))
    off = _off(found.invoice_nanos - found.ledger_nanos, found.invoice_nanos)
    return ("", "total", *amounts, *off, (Verdict.AGREES if found.agrees else Verdict.OFF).value)


def _off(difference: int, billed: int) -> tuple[str, str]:
    share = percent(difference, billed)
    return format_usd(difference), "-" if share is None else f"{share} %"


def _said(found: Reconciliation, *, applied: bool) -> list[str]:
    said, left = [], unknown_left(found.lines)
    if found.settlements:
        settled = sum(found.settlements.values())
        held = sum(line.booked.unknown_nanos for line in found.lines if line.settled is not None)
        count, verb = len(found.settlements), "are" if applied else "would be"
        freed = format_usd(held - settled)
        said.append(f"{count} unknown attempts {verb} settled at {format_usd(settled)}, {freed} written off")
    if left:
        said.append(f"{left} unknown attempts are left as they are")
    if found.settlements and not applied:
        said.append("nothing was written; --apply does it")
    return said


def as_json(found: Reconciliation, invoice: Invoice, *, applied: bool) -> str:
    """Everything."""
    whole = {
        "lines": [dict(zip(COLUMNS, _values(line), strict=True)) for line in found.lines],
        "invoice_usd": _usd(found.invoice_nanos),
        "ledger_usd": _usd(found.ledger_nanos),
        "difference_usd": _usd(found.invoice_nanos - found.ledger_nanos),
        "unclear_days": [day.isoformat() for day in sorted(invoice.unclear_days)],
        "left_out_usd": {said: _usd(nanos) for said, nanos in invoice.left_out.items()},
        "settled_attempts": len(found.settlements),
        "unknown_attempts_left": unknown_left(found.lines),
        "applied": applied,
        "agrees": found.agrees,
    }
    return json.dumps(whole, indent=2)


def as_csv(found: Reconciliation) -> str:
    """A line for each day and model."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(COLUMNS)
    lines.writerows(_values(line) for line in found.lines)
    return file.getvalue().removesuffix("\n")


def _values(line: Line) -> tuple[str | int, ...]:
    booked, share = line.booked, percent(line.difference_nanos, line.invoice_nanos)
    return (
        line.day.isoformat(),
        line.model,
        _usd(booked.reported_nanos),
        _usd(booked.reconciled_nanos),
        _usd(booked.estimated_nanos),
        _usd(booked.unknown_nanos),
        len(booked.unknown),
        "" if line.settled is None else _usd(sum(line.settled.values())),
        _usd(line.invoice_nanos),
        _usd(line.ledger_nanos),
        _usd(line.difference_nanos),
        "" if share is None else str(share),
        line.verdict.value,
    )


def _usd(nanos: int) -> str:
    return f"{Decimal(nanos).scaleb(-9):f}"
