"""What was spent, what the month will have cost, and what was got for it."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from pictord.domain.budget import Window, span
from pictord.domain.caller import Caller
from pictord.domain.forecast import FULL_DAYS, Forecast, forecast
from pictord.domain.rating import Score, scorecard
from pictord.domain.reason import Reason
from pictord.domain.usage import Group, UsageQuery
from pictord.errors import GatewayError
from pictord.store.books import Books
from pictord.store.ratings import Ratings

SCORECARD_SPAN = timedelta(days=30)
"""What a scorecard covers unless times are given."""


async def forecasts(
    books: Books, providers: Iterable[str], now: datetime, caller: str | None = None
) -> dict[str, Forecast]:
    """The month of each of these provider accounts, by one caller's attempts or (None) by everybody's."""
    month = span(Window.MONTH, now)
    since = min(month.start, span(Window.DAY, now).start - timedelta(days=FULL_DAYS))
    by_day: defaultdict[str, dict[date, int]] = defaultdict(dict)
    until = span(Window.DAY, now).end
    for row in await books.usage(UsageQuery(since, until, (Group.PROVIDER, Group.DAY), caller)):
        provider, day = row.keys
        by_day[provider][date.fromisoformat(day)] = row.sums.nanos
    return {provider: forecast(by_day[provider], now) for provider in providers}


async def scores(books: Books, ratings: Ratings, since: datetime, until: datetime, caller: str | None) -> list[Score]:
    """The scorecard of what one caller, or (None) everybody, made from a time until just before another."""
    query = UsageQuery(since, until, (Group.WORKFLOW, Group.MODEL), caller)
    return scorecard(await books.usage(query), await ratings.latencies(query), await ratings.votes(query))


def whose(asked: str, caller: Caller) -> str | None:
    """Whose usage is read: one's own, and for an operator that of the caller who is named; None is everybody's.

    Raises:
        GatewayError: PERMISSION_DENIED.
    """
    if not caller.is_operator and asked not in {"", caller.name}:
        text = f"{caller.name} may read its own usage only; leave `caller` unset"
        raise GatewayError(Reason.PERMISSION_DENIED, text, {"caller": caller.name})
    return (asked or None) if caller.is_operator else caller.name
