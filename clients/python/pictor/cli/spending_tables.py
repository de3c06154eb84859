"""Usage, budgets and alerts as tables for people, and usage as CSV for spreadsheets."""

import csv
import sys
from collections.abc import Iterable, Sequence

from pictor import enums
from pictor.amounts import usd
from pictor.cli.printing import print_line, print_table
from pictor.cli.text import pictures, price, printable, second
from pictor.v1 import image_pb2
from pictor.v1 import usage_service_pb2 as usage

_NONE = "-"
_SUMS = ("cost_usd", "reported_usd", "estimated_usd", "unknown_usd", "attempts", "pictures", "reconciled_usd")


def print_usage(answer: usage.GetUsageResponse, groups: Sequence[str]) -> None:
    """The groups, their total, and the forecasts."""
    rows = [_usage(row, len(groups)) for row in answer.rows]
    headers = (*groups, "cost", "of it estimated", "unknown", "calls", "pictures")
    total = _usage(answer.total, len(groups))
    print_table(headers, [*rows, ("total", *total[1:]) if groups else total])
    if answer.truncated:
        print_line(f"only the {len(rows)} most expensive groups are shown; the total has all")
    if answer.forecasts:
        print_line("")
        print_table(
            ("provider", "account", "this month", "month's end"), [_forecast(each) for each in answer.forecasts]
        )
        print_line(f"month's end: {answer.forecast_method}")


def _usage(row: usage.UsageRow, width: int) -> tuple[str, ...]:
    keys = [key or _NONE for key in row.keys] or [""] * width
    amounts = (price(row.cost), price(row.estimated_cost), price(row.unknown_cost))
    return (*keys, *amounts, str(row.attempts), str(row.pictures))


def _forecast(each: usage.Forecast) -> tuple[str, ...]:
    end = price(each.month_end) if each.HasField("month_end") else "not enough history"
    return each.provider, each.account or _NONE, price(each.spent), end


def print_csv(answer: usage.GetUsageResponse, groups: Sequence[str]) -> None:
    """One line for each group; exact decimals, and no total, which a spreadsheet makes itself."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*groups, *_SUMS])
    for row in answer.rows:
        costs = (row.cost, row.reported_cost, row.estimated_cost, row.unknown_cost)
        counts = (row.attempts, row.pictures, f"{usd(row.reconciled_cost):f}")
        writer.writerow([*map(_cell, row.keys), *(f"{usd(each):f}" for each in costs), *counts])


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    line = printable(text)
    return f"'{line}" if line.lstrip().startswith(("=", "+", "-", "@")) else line


def print_budgets(budgets: Iterable[usage.BudgetStatus]) -> None:
    """The budgets, with what is counted for those with the most."""
    rows = [row for each in budgets for row in _budget(each)]
    if not rows:
        print_line("no budget is in force")
    print_table(("budget", "for", "amount", "per", "kind", "alerts at", "window", "counted"), rows)


def _budget(status: usage.BudgetStatus) -> list[tuple[str, ...]]:
    budget = status.budget
    whose = [enums.word(usage.Budget.Counted.DESCRIPTOR, budget.counted), budget.key]
    tier = enums.word(image_pb2.Tier.DESCRIPTOR, budget.tier)
    facts = (
        budget.id,
        ":".join(filter(None, whose)) + (f" ({tier})" if tier else ""),
        price(budget.usd) if budget.HasField("usd") else pictures(budget.pictures),
        enums.word(usage.Budget.Window.DESCRIPTOR, budget.window),
        ("soft" if budget.soft else "hard") + (", default" if status.from_configuration else ""),
        ", ".join(f"{percent} %" for percent in budget.thresholds),
        status.window,
    )
    counted = [_sum(each, named=budget.key == "*") for each in status.sums] or ["nothing"]
    return [(*facts, counted[0]), *((*([""] * len(facts)), each) for each in counted[1:])]


def _sum(each: usage.BudgetSum, *, named: bool) -> str:
    amount = price(each.usd) if each.HasField("usd") else str(each.pictures)
    return f"{amount} ({each.percent:.0f} %)" + (f" {each.key}" if named else "")


def print_alerts(answer: usage.ListAlertsResponse) -> None:
    """The alerts, newest first."""
    if not answer.alerts:
        print_line("no alerts")
    print_table(("time", "kind", "about", "what", "webhook"), [_alert(each) for each in answer.alerts])
    if answer.next_page_token:
        print_line(f"more: --page-token {answer.next_page_token}")


def _alert(each: usage.Alert) -> tuple[str, ...]:
    delivery = enums.word(usage.Alert.Delivery.DESCRIPTOR, each.delivery)
    return second(each.create_time), each.kind, each.subject or _NONE, each.text, delivery
