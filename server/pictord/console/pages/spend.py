"""Spend: what was spent by whom and on what, what may be, what the month will come to, and what needs a look.

A caller sees its own money, an operator everything.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from pictord.auth.callers import require_operator
from pictord.catalog.model import Model
from pictord.console import budget_form
from pictord.console.page import Page, PageRoute, Visit
from pictord.console.status import UNPROCESSABLE
from pictord.console.templates import ago, dollars, shortened, span
from pictord.domain.alert import Alert, Delivery
from pictord.domain.budget import EACH, Budget, Counted, Unit
from pictord.domain.caller import Caller
from pictord.domain.forecast import METHOD, Forecast
from pictord.domain.money import NANOS_PER_USD
from pictord.domain.reason import Reason
from pictord.domain.usage import Group, Sums, UsageQuery, UsageRow, total
from pictord.errors import FieldViolation, GatewayError, invalid
from pictord.jobs import budget_setting
from pictord.jobs.budgets import Standing, percent
from pictord.jobs.served import ProviderFacts
from pictord.jobs.usage import forecasts, whose

MOST_SERIES = 7
"""Colours that can be told apart; whatever comes after the largest of them is one more, together."""
MOST_SUMS = 5
MOST_UNKNOWN = 50
MOST_ROWS = 10_000
ALERTS = 6
UNKNOWN_SPAN = timedelta(days=62)
_DAY = timedelta(days=1)
_PERIODS = {"month": "This month", "30d": "Last 30 days"}
_BY = {
    "engine": ("Engine", Group.MODEL),
    "tier": ("Tier", Group.TIER),
    "caller": ("Caller", Group.CALLER),
}
_OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the visitor wants to see; `days` are UTC, the last one is today."""

    period: str
    by: str
    days: tuple[date, ...]

    @property
    def since(self) -> datetime:
        """The beginning of the first day."""
        return datetime(self.days[0].year, self.days[0].month, self.days[0].day, tzinfo=UTC)

    def query(self, caller: str | None, now: datetime) -> UsageQuery:
        """By day and what is asked for."""
        until = now + timedelta(microseconds=1)
        return UsageQuery(self.since, until, (Group.DAY, _BY[self.by][1]), caller, most=MOST_ROWS)


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of the chart: nano-USD on each day. `pigment` is an engine's provider, or a number from 1."""

    name: str
    pigment: str
    nanos: tuple[int, ...]

    @property
    def total_nanos(self) -> int:
        """Of all days."""
        return sum(self.nanos)


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked bars: the series by size, one bar a day."""

    days: tuple[date, ...]
    series: tuple[Series, ...]

    @property
    def data(self) -> Mapping[str, Any]:
        """What the script draws, in dollars."""
        return {
            "days": [_day(each) for each in self.days],
            "series": [
                {"name": each.name, "pigment": each.pigment, "usd": [nanos / NANOS_PER_USD for nanos in each.nanos]}
                for each in self.series
            ],
        }

    @property
    def rows(self) -> Sequence[tuple[date, Sequence[int], int]]:
        """The same as a table, the newest first: day, each series, their sum. Days without spending are left out."""
        columns = list(zip(*(each.nanos for each in self.series), strict=True)) or [()] * len(self.days)
        rows = [(day, nanos, sum(nanos)) for day, nanos in zip(self.days, columns, strict=True)]
        return [row for row in reversed(rows) if row[2]]


@dataclass(frozen=True, slots=True)
class BudgetBar:
    """One sum under a budget; `used` and `held` are percents of the amount, together at most 100."""

    key: str
    text: str
    percent: float
    used: float
    held: float
    tone: str


@dataclass(frozen=True, slots=True)
class BudgetCard:
    """A budget as it stands."""

    id: str
    whose: str
    amount: str
    per: str
    kind: str
    ends: str
    is_removable: bool
    thresholds: tuple[int, ...]
    bars: tuple[BudgetBar, ...]


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
    said = f"{budget.id}: {_amount(budget, budget.amount)} a {budget.window.value} for {_whose(budget)}, from now on."
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
    wanted = asked(dict(visit.request.query_params), caller, now)
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
        periods=_PERIODS,
        groups={name: title for name, (title, _) in _BY.items() if name != "caller" or own is None},
        sums=total(usage),
        chart=chart(usage, wanted, models),
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
    wanted = asked(dict(visit.request.query_params), visit.caller, now)
    rows = await visit.ground.served.budgets.books.usage(wanted.query(whose("", visit.caller), now))
    name = f"pictor-spend-{wanted.by}-{wanted.days[0]}-{wanted.days[-1]}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(spreadsheet(rows, ("day", _BY[wanted.by][1].value)), 200, headers, "text/csv; charset=utf-8")


async def _budgets(visit: Visit, editing: Editing) -> dict[str, Any]:
    in_force, caller, now = visit.ground.served.budgets, visit.caller, visit.ground.served.now()
    await in_force.refresh()
    shown = [each for each in (visible(budget, caller) for budget in in_force.in_force) if each is not None]
    return {
        "budgets": [budget_card(await in_force.standing(each, MOST_SUMS), now) for each in shown],
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


def asked(params: Mapping[str, str], caller: Caller, now: datetime) -> Asked:
    """What the address asks for; what is no option counts as not said."""
    period, by = params.get("period", ""), params.get("by", "")
    period = period if period in _PERIODS else "month"
    by = by if by in _BY and (by != "caller" or caller.is_operator) else "engine"
    today = now.astimezone(UTC).date()
    first = today.replace(day=1) if period == "month" else today - 29 * _DAY
    return Asked(period, by, tuple(first + number * _DAY for number in range((today - first).days + 1)))


def chart(usage: Iterable[UsageRow], wanted: Asked, models: Mapping[str, Model]) -> Chart:
    """The bars, of the largest groups, and of all others together."""
    nanos: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in usage:
        day, key = row.keys
        nanos[key][day] = nanos[key].get(day, 0) + row.sums.nanos
    sums = {key: sum(by_day.values()) for key, by_day in nanos.items()}
    keys = sorted((key for key in sums if sums[key]), key=lambda key: (-sums[key], key))
    days = [each.isoformat() for each in wanted.days]
    series = [
        Series(
            _name(key, wanted.by, models),
            _pigment(key, number, wanted.by, models),
            tuple(nanos[key].get(day, 0) for day in days),
        )
        for number, key in enumerate(keys[:MOST_SERIES], start=1)
    ]
    if rest := keys[MOST_SERIES:]:
        series.append(Series(_OTHERS, "other", tuple(sum(nanos[key].get(day, 0) for key in rest) for day in days)))
    return Chart(wanted.days, tuple(series))


def _name(key: str, by: str, models: Mapping[str, Model]) -> str:
    if by == "engine" and key in models:
        return models[key].title
    return key.capitalize() if by == "tier" else key or "none"


def _pigment(key: str, number: int, by: str, models: Mapping[str, Model]) -> str:
    """An engine has its provider's, if no other model of that one is shown."""
    providers = [each.provider for each in models.values()]
    if by == "engine" and key in models and providers.count(models[key].provider) == 1:
        return models[key].provider
    return str(number)


def visible(budget: Budget, caller: Caller) -> Budget | None:
    """A budget as far as a visitor may see it: an operator all of it, a caller its own part of those for callers."""
    if caller.is_operator:
        return budget
    if budget.counted is Counted.CALLER and budget.key in {EACH, caller.name}:
        return replace(budget, key=caller.name)
    return None


def budget_card(standing: Standing, now: datetime) -> BudgetCard:
    """A budget in words, with a bar for each sum."""
    budget = standing.budget
    return BudgetCard(
        id=budget.id,
        whose=_whose(budget),
        amount=_amount(budget, budget.amount),
        per=budget.window.value,
        kind=("hard" if budget.is_hard else "soft") + (", from the configuration" if standing.is_default else ""),
        ends=f"begins anew in {span((standing.window.end - now).total_seconds())}",
        is_removable=not standing.is_default,
        thresholds=tuple(each for each in budget.thresholds if each < 100),
        bars=tuple(_bar(budget, each.key, each.amount, each.held) for each in standing.sums),
    )


_WHOSE = {
    Counted.CALLER: ("caller", "each caller"),
    Counted.TIER: ("tier", "each tier"),
    Counted.END_USER: ("end user", "each end user"),
    Counted.PROVIDER: ("provider", "each provider account"),
    Counted.GLOBAL: ("everybody", "everybody"),
}


def _whose(budget: Budget) -> str:
    one, each = _WHOSE[budget.counted]
    whose_it_is = each if budget.key == EACH else f"{one} {shortened(budget.key, 24)}".strip()
    return whose_it_is + (f", tier {budget.tier.value}" if budget.tier else "")


def _bar(budget: Budget, key: str, amount: int, held: int) -> BudgetBar:
    share = percent(budget, amount)
    full = min(share, 100.0)
    held_share = min(percent(budget, held), full) if held else 0.0
    used = f"{_amount(budget, amount - held)} used"
    return BudgetBar(
        key=shortened(key, 24) if budget.key == EACH else "",
        text=f"{used}, {_amount(budget, held)} held" if held else used,
        percent=share,
        used=full - held_share,
        held=held_share,
        tone="bad" if share >= 100 else "warn" if share >= 80 else "good",
    )


def _amount(budget: Budget, amount: int) -> str:
    if budget.unit is Unit.USD:
        return dollars(amount)
    return f"{amount} picture" if amount == 1 else f"{amount} pictures"


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


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"


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
