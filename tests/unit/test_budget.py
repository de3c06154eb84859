"""Budgets: windows, scopes, whom they count, and thresholds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictord.domain.budget import (
    EACH,
    Budget,
    Counted,
    Subject,
    Unit,
    Window,
    charges,
    crossed,
    key_of,
    scope,
    scope_prefix,
    span,
)
from pictord.domain.request import Tier

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SUBJECT = Subject("studio", Tier.FREE, "e" * 64, ("openai", "gemini"))
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
NAMES = st.text(st.sampled_from("ab/.*- é"), min_size=1, max_size=6)


def budget(counted: Counted = Counted.GLOBAL, key: str = "", **changes) -> Budget:
    return replace(Budget("b", counted, key, Unit.USD, Window.DAY, 1_000), **changes)


FIVE_FREE = budget(Counted.END_USER, EACH, tier=Tier.FREE, unit=Unit.PICTURES, window=Window.MONTH, amount=5)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    counted = draw(st.sampled_from(Counted))
    names = {
        Counted.CALLER: st.sampled_from(["studio", "ads", EACH]),
        Counted.TIER: st.sampled_from(["free", "pro", EACH]),
        Counted.END_USER: st.sampled_from(["e" * 64, "f" * 64, EACH]),
        Counted.PROVIDER: st.sampled_from(["openai", "gemini", EACH]),
        Counted.GLOBAL: st.just(""),
    }
    return Budget(
        id=draw(st.uuids()).hex,
        counted=counted,
        key=draw(names[counted]),
        unit=draw(st.sampled_from(Unit)),
        window=draw(st.sampled_from(Window)),
        amount=draw(st.integers(1, 100)),
        is_hard=draw(st.booleans()),
        tier=None if counted is Counted.TIER else draw(st.none() | st.sampled_from(Tier)),
    )


# Windows


@pytest.mark.parametrize(
    ("window", "moment", "name", "start", "end"),
    [
        (Window.DAY, NOON, "2026-11-22", datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)),
        (Window.MONTH, NOON, "2026-11", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
        (
            Window.MONTH,
            datetime(2028, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
            "2028-02",
            datetime(2028, 2, 1, tzinfo=UTC),
            datetime(2028, 3, 1, tzinfo=UTC),
        ),
        (
            Window.DAY,
            datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            "2026-12-31",
            datetime(2026, 12, 31, tzinfo=UTC),
            datetime(2027, 1, 1, tzinfo=UTC),
        ),
    ],
)
def test_a_window_is_a_day_or_a_month_in_utc(window, moment, name, start, end):
    """Whatever zone the moment is written in."""
    found = span(window, moment)

    assert (found.name, found.start, found.end) == (name, start, end)


@given(st.sampled_from(Window), MOMENTS)
def test_windows_follow_one_another_without_a_gap(window, moment):
    """Every moment lies in its window, the end begins the next, and names sort like time."""
    found = span(window, moment)
    following = span(window, found.end)

    assert found.start <= moment < found.end == following.start
    assert span(window, found.start) == found == span(window, found.end - timedelta(microseconds=1))
    assert found.name < following.name


# Scopes


@given(st.tuples(budgets(), NAMES, MOMENTS), st.tuples(budgets(), NAMES, MOMENTS))
def test_scopes_are_equal_only_if_the_same_is_counted(a, b):
    """No caller, however it is named, is counted as somebody else."""
    (one, key, moment), (other, other_key, later) = a, b
    key = "" if one.counted is Counted.GLOBAL else key
    other_key = "" if other.counted is Counted.GLOBAL else other_key
    what = (one.counted, key, one.tier, one.unit, one.window, span(one.window, moment))
    same = (other.counted, other_key, other.tier, other.unit, other.window, span(other.window, later))

    assert (scope(one, key, moment) == scope(other, other_key, later)) == (what == same)


@given(budgets(), NAMES, MOMENTS)
def test_a_scope_tells_its_key(one, key, moment):
    """Whatever that holds."""
    assert key_of(scope(one, key, moment)) == ("" if one.counted is Counted.GLOBAL else key)


def test_scopes_are_named_for_people_too():
    """What the store counts under can be read in the database."""
    assert scope(budget(), "", NOON) == "usd/2026-11-22/global"
    assert scope(FIVE_FREE, "e1", NOON) == "pictures/2026-11/end_user.free/e1"
    assert scope_prefix(FIVE_FREE, NOON) == "pictures/2026-11/end_user.free/"


# Whom a budget counts


@pytest.mark.parametrize(
    ("counting", "scopes"),
    [
        (budget(), ["usd/2026-11-22/global"]),
        (budget(Counted.CALLER, "studio"), ["usd/2026-11-22/caller/studio"]),
        (budget(Counted.CALLER, "other"), []),
        (budget(Counted.CALLER, EACH), ["usd/2026-11-22/caller/studio"]),
        (budget(Counted.TIER, "free"), ["usd/2026-11-22/tier/free"]),
        (budget(Counted.TIER, "pro"), []),
        (budget(Counted.PROVIDER, "gemini"), ["usd/2026-11-22/provider/gemini"]),
        (budget(Counted.PROVIDER, EACH), ["usd/2026-11-22/provider/openai", "usd/2026-11-22/provider/gemini"]),
        (FIVE_FREE, ["pictures/2026-11/end_user.free/" + "e" * 64]),
        (replace(FIVE_FREE, tier=Tier.PRO), []),
    ],
)
def test_a_budget_counts_those_it_names(counting, scopes):
    """A key is one name or each; a tier narrows."""
    assert [charge.scope for charge in charges([counting], SUBJECT, NOON)] == scopes


def test_a_request_without_an_end_user_counts_under_no_end_user():
    """There is nobody to count it for."""
    assert charges([FIVE_FREE], replace(SUBJECT, end_user=None), NOON) == ()


def test_only_charges_of_provider_budgets_belong_to_one_provider():
    """Attempts elsewhere are not charged."""
    found = charges([budget(), budget(Counted.PROVIDER, EACH)], SUBJECT, NOON)

    assert [charge.provider for charge in found] == [None, "openai", "gemini"]


VARIANTS = st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=4)


@given(st.lists(st.tuples(budgets(), VARIANTS), max_size=4).map(lambda drawn: [*variants(drawn)]), MOMENTS)
def test_each_scope_is_charged_once_at_its_tightest_hard_budget(several, moment):
    """Budgets over the same thing share one sum; the smallest hard amount limits it, and soft ones never do."""
    found = charges(several, SUBJECT, moment)

    assert len({charge.scope for charge in found}) == len(found)
    for charge in found:
        hard = [b.amount for b in several if b.is_hard and charge in charges_of(b, charge, moment)]
        assert (charge.budget.amount if charge.budget else None) == min(hard, default=None)


def variants(drawn):
    """Each budget, followed by others that count the same."""
    for base, others in drawn:
        yield base
        yield from (replace(base, id=f"{base.id}-{n}", amount=a, is_hard=h) for n, (a, h) in enumerate(others))


def charges_of(one: Budget, charge, moment):
    """`charge` itself, if this budget counts under the same scope."""
    return [charge for each in charges([one], SUBJECT, moment) if each.scope == charge.scope]


# Thresholds


@pytest.mark.parametrize(
    ("before", "after", "percents"),
    [
        (0, 499, ()),
        (0, 500, (50,)),
        (499, 800, (50, 80)),
        (500, 799, ()),
        (0, 5000, (50, 80, 100)),
        (1000, 1000, ()),
        (900, 100, ()),
    ],
)
def test_a_threshold_is_crossed_by_the_sum_that_reaches_it(before, after, percents):
    """Of 1,000: reached counts, passed again does not."""
    assert crossed(budget(), before, after) == percents


@given(st.integers(1, 10**12), st.lists(st.integers(0, 2 * 10**12), min_size=1, max_size=8))
def test_every_threshold_below_the_final_sum_is_crossed_exactly_once(amount, steps):
    """However spending is cut into steps, as long as it only rises."""
    sums = [0, *sorted(steps)]
    counting = budget(amount=amount)

    told = [percent for before, after in pairwise(sums) for percent in crossed(counting, before, after)]

    assert told == [p for p in counting.thresholds if sums[-1] * 100 >= p * amount]


def test_a_hard_budget_that_equals_another_keeps_the_first():
    """The daily cap, which comes first, gives the reason."""
    first, second = budget(id="daily-cap"), budget(id="mine")

    assert charges([first, second], SUBJECT, NOON)[0].budget is first
