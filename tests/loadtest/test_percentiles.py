"""Percentiles are exact."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictor_loadtest.percentiles import STATISTICS, curve, percentile, statistics

VALUES = st.lists(st.floats(0, 1000), min_size=1, max_size=300)


@settings(deadline=None)
@given(VALUES, st.floats(0.001, 1))
def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed(values, share):
    """By its definition, counted the slow way."""
    found = percentile(sorted(values), share)
    needed = share * len(values) - 1e-6

    assert found in values
    assert sum(value <= found for value in values) >= needed
    assert sum(value < found for value in values) < needed + 1


def test_known_percentiles():
    """Of 1 to 100 each percentile is its own number; shares that floats cannot hold count too."""
    values = [float(number) for number in range(1, 101)]

    assert [percentile(values, number / 100) for number in range(1, 101)] == values
    assert statistics(reversed(values)) == {
        "p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100, "mean": 50.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("count", "left_out"), [(1, {"p99", "p999"}), (99, {"p99", "p999"}), (100, {"p999"}), (1000, set())]
)
def test_a_percentile_of_few_values_is_left_out(count, left_out):
    """It would be the highest of them, and say of chance that it is a rule."""
    assert set(STATISTICS) - set(statistics(float(number) for number in range(count))) == left_out


@settings(deadline=None)
@given(VALUES)
def test_statistics_are_in_order(values):
    found = statistics(values)
    ordered = [found[name] for name in ("p50", "p90", "p95", "p99", "p999", "max") if name in found]

    assert ordered == sorted(ordered)
    assert math.isclose(found["mean"], sum(values) / len(values), abs_tol=1e-9)


def test_nothing_has_no_percentiles():
    assert statistics([]) == {}
    assert curve([]) == []


@settings(deadline=None)
@given(VALUES)
def test_a_curve_climbs_to_the_highest_value(values):
    points = curve(values)

    assert points == sorted(points)
    assert points[-1][1] == max(values)
    assert all(0 <= share < 1 for share, _ in points)
