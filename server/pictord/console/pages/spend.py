"""Spend: what was spent by whom and on what, what may be, what the month will come to, and what needs a look.

A caller sees its own money, an operator everything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from pictord.auth.callers import require_operator
from pictord.catalog.model import Model
from pictord.console import budget_cards, budget_form, spend_chart, spend_csv
from pictord.console.page import Page, PageRoute, Visit
from pictord.console.status import UNPROCESSABLE
from pictord.console.templates import ago
from pictord.domain.alert import Alert, Delivery
from pictord.domain.forecast import METHOD, Forecast
from pictord.domain.reason import Reason
from pictord.domain.usage import Group, UsageQuery, UsageRow, total
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.jobs import budget_setting
from pictord.jobs.served import ProviderFacts
from pictord.jobs.usage import forecasts, whose

MOST_SUMS = 5
MOST_UNKNOWN = 50
ALERTS = 6
UNKNOWN_SPAN = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Editing:
    """The form of a budget: what is typed in it (None: it is closed), which one it changes, and what came of it."""

    asked: Mapping[str, str] | None = None
    changed: str = ""
    problems: Mapping[str, str] = field(default_factory=lambda: budget_form.problems_at(()))
    said: str = ""

    @property
    def begins_at(self) -> str:
        """The field where one goes on: the first that is wrong, else the first that can be typed."""
        first = "amount" if self.changed else "id"
        return next((name for name, text in self.problems.items() if text), first)


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """One provider account's month; `end` is None without enough history."""

    engine: str
    provider: str
    account: str
    spent: int
    mean: int | None
    end: int | None
    full_days: int


@dataclass(frozen=True, slots=True)
class UnknownRow:
    """Calls of a generation that were never answered, and what they count as."""

    day: str
    engine: str
    provider: str
    generation_id: str
    calls: int
    nanos: int


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert as it is read."""

    kind: str
    subject: str
    text: str
    time: datetime
    age: str
    delivery: str


async def show(visit: Visit) -> Response:
    """The page; with `change` also the form of that budget, with `new` that of another one."""
    return await _page(visit, _editing(visit))


async def budgets(visit: Visit) -> Response:
    """The budgets as a part of the page, with the same forms."""
    return visit.part("budgets.html", **await _budgets(visit, _editing(visit)))


async def set_budget(visit: Visit) -> Response:
    """Set a budget, or change one; what is wrong is told at its field."""
    require_operator(visit.caller, "set budgets")
    served, form = visit.ground.served, await visit.texts()
    asked, changed = budget_form.typed(form), form.get("change", [""])[0]
    if changed:
        asked["id"] = changed  # its name is not the form's to change
    try:
        budget = budget_form.read(asked, {model.provider for model in visit.ground.models.values()})
        await served.budgets.refresh()
        if not changed and budget.id in {each.id for each in served.budgets.in_force}:
            raise invalid([FieldViolation("id", f"there is a budget {budget.id} already: change that one")])
    except GatewayError as error:
        if error.reason is not Reason.INVALID_FIELD:
            raise
        wrong = Editing(asked, changed, budget_form.problems_at(error.violations))
        return await _edited(visit, wrong, status=UNPROCESSABLE)
    await budget_setting.put(served.budgets, budget, by=visit.caller.name)
    amount, whom = budget_cards.amount_of(budget, budget.amount), budget_cards.whose(budget)
    said = f"{budget.id}: {amount} a {budget.window.value} for {whom}, from now on."
    return await _edited(visit, Editing(said=said))


async def remove_budget(visit: Visit) -> Response:
    """Remove a budget."""
    require_operator(visit.caller, "delete budgets")
    budget_id = (await visit.texts()).get("id", [""])[0]
    await budget_setting.remove(visit.ground.served.budgets, budget_id, by=visit.caller.name)
    return await _edited(visit, Editing(said=f"{budget_id} is removed."))


async def _edited(visit: Visit, editing: Editing, status: int = 200) -> Response:
    if visit.is_partial:
        return visit.part("budgets.html", status=status, **await _budgets(visit, editing))
    return await _page(visit, editing, status) if editing.asked else RedirectResponse("/spend#budgets", 303)


async def _page(visit: Visit, editing: Editing, status: int = 200) -> Response:
    served, caller = visit.ground.served, visit.caller
    now, books, models = served.now(), served.budgets.books, visit.ground.models
    wanted = spend_chart.asked(dict(visit.request.query_params), caller, now)
    own = whose("", caller)
    usage = await books.usage(wanted.query(own, now))
    lost = UsageQuery(
        now - UNKNOWN_SPAN,
        now + timedelta(microseconds=1),
        (Group.DAY, Group.PROVIDER, Group.MODEL, Group.GENERATION),
        own,
        unknown_only=True,
        most=MOST_UNKNOWN + 1,
    )
    unknown_costs = unknown(await books.usage(lost), models)
    facts = served.facts()
    found = await forecasts(books, facts, now, own)
    months = [month(name, facts[name], each, models) for name, each in found.items()]
    return visit.page(
        "spend.html",
        status=status,
        asked=wanted,
        periods=spend_chart.PERIODS,
        groups={name: title for name, (title, _) in spend_chart.BY.items() if name != "caller" or own is None},
        sums=total(usage),
        chart=spend_chart.chart(usage, wanted, models),
        csv_url="/spend.csv?" + urlencode({"period": wanted.period, "by": wanted.by}),
        **await _budgets(visit, editing),
        months=months,
        month_end=whole_month(months),
        method=METHOD,
        unknown=unknown_costs[:MOST_UNKNOWN],
        has_more_unknown=len(unknown_costs) > MOST_UNKNOWN,
        **(await _alerts(visit, None, now) if caller.is_operator else {}),
    )


async def older_alerts(visit: Visit) -> Response:
    """The alerts before one."""
    require_operator(visit.caller, "read alerts")
    before = visit.request.query_params.get("before") or None
    return visit.part("alerts.html", **await _alerts(visit, before, visit.ground.served.now()))


async def as_csv(visit: Visit) -> Response:
    """The same figures for a spreadsheet, exact."""
    now = visit.ground.served.now()
    wanted = spend_chart.asked(dict(visit.request.query_params), visit.caller, now)
    rows = await visit.ground.served.budgets.books.usage(wanted.query(whose("", visit.caller), now))
    name = f"pictor-spend-{wanted.by}-{wanted.days[0]}-{wanted.days[-1]}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(spend_csv.spreadsheet(rows, ("day", wanted.group.value)), 200, headers, "text/csv; charset=utf-8")


async def _budgets(visit: Visit, editing: Editing) -> dict[str, Any]:
    in_force, caller, now = visit.ground.served.budgets, visit.caller, visit.ground.served.now()
    await in_force.refresh()
    shown = [
        each for each in (budget_cards.visible(budget, caller) for budget in in_force.in_force) if each is not None
    ]
    return {
        "budgets": [budget_cards.card(await in_force.standing(each, MOST_SUMS), now) for each in shown],
        "editing": editing,
        "choices": budget_form.CHOICES,
        "is_operator": caller.is_operator,
    }


def _editing(visit: Visit) -> Editing:
    """The form that the address asks for, if it is there for the visitor."""
    params = visit.request.query_params
    if not visit.caller.is_operator:
        return Editing()
    found = next((each for each in visit.ground.served.budgets.in_force if each.id == params.get("change")), None)
    if found is not None:
        return Editing(budget_form.written(found), changed=found.id)
    return Editing(budget_form.BLANK) if "new" in params else Editing()


async def _alerts(visit: Visit, before: str | None, now: datetime) -> dict[str, Any]:
    found = await visit.ground.served.budgets.books.alerts(since=None, before=before, limit=ALERTS + 1)
    page = found[:ALERTS]
    more = "/spend/alerts?" + urlencode({"before": page[-1].id}) if len(found) > ALERTS else ""
    return {"alerts": [alert_row(each, now) for each in page], "more_alerts": more, "is_first": before is None}


# From the domain to what is shown


def month(provider: str, facts: ProviderFacts, forecast: Forecast, models: Mapping[str, Model]) -> ForecastRow:
    """What a provider account comes to."""
    titles = [model.title for model in models.values() if model.provider == provider]
    return ForecastRow(
        engine=", ".join(titles) or provider,
        provider=provider,
        account=facts.account,
        spent=forecast.spent_nanos,
        mean=forecast.mean_nanos,
        end=forecast.month_end_nanos,
        full_days=forecast.full_days,
    )


def whole_month(months: Iterable[ForecastRow]) -> int | None:
    """What all accounts come to; one without enough history counts as what it has come to so far."""
    rows = list(months)
    if all(each.end is None for each in rows):
        return None
    return sum(each.spent if each.end is None else each.end for each in rows)


def unknown(usage: Iterable[UsageRow], models: Mapping[str, Model]) -> list[UnknownRow]:
    """Lost calls, the newest first."""
    rows = []
    for row in usage:
        day, provider, model, generation = row.keys
        engine = models[model].title if model in models else model
        rows.append(UnknownRow(day, engine, provider, generation, row.sums.attempts, row.sums.unknown_nanos))
    return sorted(rows, key=lambda each: (each.day, each.generation_id), reverse=True)


_DELIVERIES = {
    Delivery.NONE: "",
    Delivery.PENDING: "not told yet",
    Delivery.DONE: "told",
    Delivery.FAILED: "the webhook did not take it",
}


def alert_row(alert: Alert, now: datetime) -> AlertRow:
    """An alert in words."""
    age = ago(alert.create_time, now)
    return AlertRow(alert.kind, alert.subject, alert.text, alert.create_time, age, _DELIVERIES[alert.delivery])


PAGE = Page(
    "Spend",
    "/spend",
    (
        PageRoute("/spend", show),
        PageRoute("/spend.csv", as_csv),
        PageRoute("/spend/alerts", older_alerts),
        PageRoute("/spend/budgets", budgets),
        PageRoute("/spend/budgets", set_budget, "POST"),
        PageRoute("/spend/budgets/remove", remove_budget, "POST"),
    ),
    icon="spend",
)
