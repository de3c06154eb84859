"""When calls are due: seeded, at the wanted rate, in order."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictor_loadtest.arrivals import Rate, Spacing, arrivals

RATES = st.builds(Rate, st.floats(0.1, 200), st.floats(0.1, 200))


def due(rate, duration_s, spacing=Spacing.POISSON, seed=1):
    return list(arrivals(rate, duration_s, spacing, random.Random(seed)))


@settings(deadline=None)
@given(RATES, st.floats(0.1, 30), st.sampled_from(Spacing), st.integers())
def test_all_times_are_in_order_and_within_the_duration(rate, duration_s, spacing, seed):
    times = due(rate, duration_s, spacing, seed)

    assert times == sorted(times)
    assert all(0 <= time < duration_s for time in times)


@settings(deadline=None)
@given(RATES, st.floats(0.5, 30), st.integers())
def test_the_same_seed_gives_the_same_times(rate, duration_s, seed):
    assert due(rate, duration_s, seed=seed) == due(rate, duration_s, seed=seed)


@settings(deadline=None)
@given(RATES, st.floats(0.5, 60))
def test_evenly_spaced_calls_are_as_many_as_the_rate_says(rate, duration_s):
    """To the call, on a steady rate and on a ramp."""
    assert abs(len(due(rate, duration_s, Spacing.EVEN)) - rate.calls_by(duration_s, duration_s)) <= 1


@settings(deadline=None)
@given(RATES, st.floats(1, 60), st.floats(0, 1))
def test_the_time_of_a_call_is_the_inverse_of_the_calls_by_a_time(rate, duration_s, part):
    time_s = duration_s * part

    assert rate.time_of(rate.calls_by(time_s, duration_s), duration_s) == pytest.approx(time_s, rel=1e-6, abs=1e-6)


def test_poisson_gaps_are_exponential():
    """Their mean is one by the rate, and they scatter as much as their mean: even gaps would not scatter at all."""
    times = due(Rate(50, 50), 400)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    scatter = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))

    assert mean == pytest.approx(1 / 50, rel=0.03)
    assert scatter == pytest.approx(mean, rel=0.05)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(1 / math.e, abs=0.02)


@pytest.mark.parametrize("spacing", Spacing)
def test_a_ramp_climbs_in_a_straight_line(spacing):
    """From 0 to 100 a second in 100 s: a quarter of all calls in the first half."""
    times = due(Rate(0, 100), 100, spacing)

    assert len(times) == pytest.approx(5000, rel=0.05)
    assert sum(time < 50 for time in times) / len(times) == pytest.approx(0.25, abs=0.02)


def test_a_falling_ramp_ends_at_nothing():
    times = due(Rate(100, 0), 10, Spacing.EVEN)

    assert len(times) == 500
    assert sum(time < 5 for time in times) / len(times) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(("text", "rate"), [("20", Rate(20, 20)), ("0.5", Rate(0.5, 0.5)), (" 5..50 ", Rate(5, 50))])
def test_rates_are_read(text, rate):
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1", "5..", "..5", "5...6", "1e3", "inf", "0", "0..0"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match="rate"):
        Rate.parse(text)
