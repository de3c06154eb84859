"""The chart of Spend: what is asked for, and money by day as stacked bars."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pictord.catalog.model import Model
from pictord.domain.caller import Caller
from pictord.domain.money import NANOS_PER_USD
from pictord.domain.usage import Group, UsageQuery, UsageRow

MOST_SERIES = 7
"""Colours that can be told apart; whatever comes after the largest of them is one more, together."""
MOST_ROWS = 10_000
_DAY = timedelta(days=1)
PERIODS = {"month": "This month", "30d": "Last 30 days"}
BY = {
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

    @property
    def group(self) -> Group:
        """What the sums of a day are parted by."""
        return BY[self.by][1]

    def query(self, caller: str | None, now: datetime) -> UsageQuery:
        """By day and what is asked for."""
        until = now + timedelta(microseconds=1)
        return UsageQuery(self.since, until, (Group.DAY, self.group), caller, most=MOST_ROWS)


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


def asked(params: Mapping[str, str], caller: Caller, now: datetime) -> Asked:
    """What the address asks for; what is no option counts as not said."""
    period, by = params.get("period", ""), params.get("by", "")
    period = period if period in PERIODS else "month"
    by = by if by in BY and (by != "caller" or caller.is_operator) else "engine"
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


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"
