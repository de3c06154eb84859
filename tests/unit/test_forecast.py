"""The month-end forecast: by its stated method, or not at all."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pictord.domain.forecast import Forecast, forecast

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TODAY = NOON.date()


def spent(*nanos: int, until: date = TODAY) -> dict[date, int]:
    """The amounts of successive days, the last of them `until`."""
    return {until - timedelta(days=back): amount for back, amount in enumerate(reversed(nanos))}


def test_the_last_seven_full_days_are_drawn_on_to_the_months_end():
    """Eight and a half days are left at noon of 22 November; the eighth day back and today are not in the mean."""
    days = spent(900, *[100] * 7, 30)

    assert forecast(days, NOON) == Forecast(1630, 7, 100, 1630 + 850)


def test_fewer_days_are_enough():
    """Three full days give a mean over three, and one without spending counts."""
    assert forecast(spent(200, 0, 100, 7), NOON) == Forecast(307, 3, 100, 307 + 850)


def test_without_a_full_day_there_is_no_forecast():
    """The day so far is not scaled up."""
    assert forecast(spent(500), NOON) == Forecast(500, 0)
    assert forecast({}, NOON) == Forecast(0, 0)


def test_last_month_counts_in_the_mean_but_not_in_what_was_spent():
    """On the first of the month the mean comes from the month before."""
    now = datetime(2026, 12, 1, 0, tzinfo=UTC)

    assert forecast(spent(70, *[10] * 6, 0, until=now.date()), now) == Forecast(0, 7, 18, 130 * 31 // 7)


DAYS = st.dictionaries(st.dates(date(2026, 10, 1), date(2026, 11, 30)), st.integers(0, 10**13), max_size=40)
MOMENTS = st.datetimes(datetime(2026, 11, 1), datetime(2026, 11, 30, 23, 59), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(DAYS, MOMENTS)
def test_a_forecast_is_never_below_what_was_spent(days, now):
    """And what lies in the future is never looked at."""
    found = forecast(days, now)

    assert found.month_end_nanos is None or found.month_end_nanos >= found.spent_nanos
    assert found == forecast({day: nanos for day, nanos in days.items() if day <= now.date()}, now)


@given(DAYS, st.integers(1, 10**12))
def test_at_the_end_of_the_month_it_is_what_was_spent(days, more):
    """Nothing is left to come."""
    now = datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC)
    days |= {date(2026, 11, 1): more}
    found = forecast(days, now)

    assert found.month_end_nanos is not None
    assert found.month_end_nanos - found.spent_nanos <= 10**13 / 86_400_000_000
