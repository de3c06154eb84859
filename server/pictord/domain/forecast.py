"""What an account will have spent at the end of the month, said with how it was worked out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pictord.domain.budget import Window, span

FULL_DAYS = 7
METHOD = (
    f"spent this month + mean of the last {FULL_DAYS} full UTC days (since the first spending, if that is fewer) "
    "x days left in the month"
)
"""The method, in a sentence for people."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Nano-USD: spent in this month so far, a full day's mean, and the month's end by `METHOD`.

    `full_days` is how many the mean is over. With none of them there is not enough history, and no forecast: mean and
    month's end are None.
    """

    spent_nanos: int
    full_days: int
    mean_nanos: int | None = None
    month_end_nanos: int | None = None


def forecast(spent_by_day: Mapping[date, int], now: datetime) -> Forecast:
    """Work out the month's end from what was spent on each UTC day (nano-USD; days without spending may be missing).

    The method is `METHOD`. Days left count to the second: at noon of the last day half a day is left. Of full days
    there are those before today since the first one with spending, in last month too; a day between without spending
    counts as zero. The day so far is never scaled up: what came in its first hour says little of the rest.
    """
    month = span(Window.MONTH, now)
    today = now.astimezone(UTC).date()
    known = {day: nanos for day, nanos in spent_by_day.items() if day <= today}
    spent = sum(nanos for day, nanos in known.items() if day >= month.start.date())
    first = min((day for day, nanos in known.items() if nanos), default=today)
    full_days = min((today - first).days, FULL_DAYS)
    if not full_days:
        return Forecast(spent, 0)
    last_days = sum(known.get(today - _DAY * back, 0) for back in range(1, full_days + 1))
    to_come = (
        last_days
        * ((month.end - now) // timedelta(microseconds=1))
        // (full_days * (_DAY // timedelta(microseconds=1)))
    )
    return Forecast(spent, full_days, last_days // full_days, spent + to_come)
