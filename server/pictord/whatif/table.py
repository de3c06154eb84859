"""A report for people: tables of text, the policies first, then what is behind them."""

from collections import Counter

from pictord.domain.money import format_usd
from pictord.text_table import Table, drawn
from pictord.whatif.replay import Replayed, Report, Tally

_NONE = "-"
_HOW = "Times are means of the catalog's. Every request is judged as if its first choice were in service and drew it."


def text(report: Report) -> str:
    """The whole report; tables that would be empty are left out."""
    requests = report.replayed[0].total.requests
    tables = (_policies(report), _fates(report), _refusals(report), _adaptations(report), _rows(report), _spent(report))
    parts = [f"{requests:,} recorded requests. {_HOW}", *(drawn(table) for table in tables if table.rows)]
    return "\n\n".join(parts)


# The tables


def _policies(report: Report) -> Table:
    headers = ("policy", "pictures", "refused", "adapted", *_COST_AND_TIME, "a picture", "against the first")
    first = report.replayed[0].drawn.expected_nanos
    return Table(
        headers, 1, [_policy(each, None if place == 0 else first) for place, each in enumerate(report.replayed)]
    )


def _policy(replayed: Replayed, first_nanos: int | None) -> tuple[str, ...]:
    drawn = replayed.drawn
    each = format_usd(drawn.expected_nanos // drawn.pictures) if drawn.pictures else _NONE
    numbers = (f"{drawn.pictures:,}", f"{replayed.refused:,}", f"{drawn.adapted:,}")
    return (replayed.policy, *numbers, *_cost_and_time(drawn), each, _against(drawn.expected_nanos, first_nanos))


def _fates(report: Report) -> Table:
    headers = ("policy", "row", "model", "requests", "pictures", "adapted", *_COST_AND_TIME)
    rows = [
        (
            replayed.policy,
            fate.row,
            fate.model,
            f"{tally.requests:,}",
            f"{tally.pictures:,}",
            f"{tally.adapted:,}",
            *_cost_and_time(tally),
        )
        for replayed in report.replayed
        for fate, tally in replayed.by_fate.items()
        if fate.model is not None
    ]
    return Table(headers, 3, rows)


def _refusals(report: Report) -> Table:
    rows = [
        (replayed.policy, fate.row or _NONE, fate.refused.name, f"{tally.requests:,}")
        for replayed in report.replayed
        for fate, tally in replayed.by_fate.items()
        if fate.refused is not None
    ]
    return Table(("policy", "row", "refused, and costs nothing", "requests"), 3, rows)


def _adaptations(report: Report) -> Table:
    rows = [
        (replayed.policy, kind.name, f"{number:,}")
        for replayed in report.replayed
        for kind, number in replayed.drawn.adaptations.most_common()
    ]
    return Table(("policy", "not drawn as asked", "requests"), 2, rows)


def _rows(report: Report) -> Table:
    """How many requests each row takes, beside the row that really took them."""
    by_policy: list[Counter[str]] = []
    for replayed in report.replayed:
        by_policy.append(Counter())
        for fate, tally in replayed.by_fate.items():
            by_policy[-1][fate.row or _NONE] += tally.requests
    names = dict.fromkeys((*report.rows, *(name for counts in by_policy for name in counts))) if report.rows else ()
    rows = [(name, f"{report.rows.get(name, 0):,}", *(f"{counts[name]:,}" for counts in by_policy)) for name in names]
    return Table(("row", "really", *(each.policy for each in report.replayed)), 1, rows)


def _spent(report: Report) -> Table:
    """Against what really happened, for the records that say so and that the policy does not refuse."""
    spent = ("policy", "known of", "really spent", "would cost", "against it", "by another model")
    headers = (*spent, "really took", "half by", "9 in 10 by")
    rows = [
        (
            replayed.policy,
            f"{drawn.known:,}",
            format_usd(drawn.spent_nanos, 2),
            format_usd(drawn.known_nanos, 2),
            _against(drawn.known_nanos, drawn.spent_nanos),
            f"{drawn.moved:,}",
            f"{drawn.took_s / drawn.timed:.0f} s" if drawn.timed else _NONE,
            *_times(drawn),
        )
        for replayed in report.replayed
        for drawn in [replayed.drawn]
        if drawn.known
    ]
    return Table(headers, 1, rows)


# Cells

_COST_AND_TIME = ("expected", "at most", "half by", "9 in 10 by")


def _cost_and_time(tally: Tally) -> tuple[str, ...]:
    return (format_usd(tally.expected_nanos, 2), format_usd(tally.worst_nanos, 2), *_times(tally))


def _times(tally: Tally) -> tuple[str, str]:
    if not tally.pictures:
        return _NONE, _NONE
    return f"{tally.p50_s / tally.requests:.0f} s", f"{tally.p90_s / tally.requests:.0f} s"


def _against(nanos: int, other: int | None) -> str:
    if other is None:
        return _NONE
    sign = "-" if nanos < other else "+"
    share = f" ({sign}{abs(nanos - other) / other:.0%})" if other else ""
    return f"{sign}{format_usd(abs(nanos - other), 2)}{share}"
