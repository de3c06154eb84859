"""The grammar of `--assert`, and how figures are shown."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictor_loadtest.metrics import METRICS, Assertion, Unit, seconds, shown

SHAPES = ("standard", "pro", "four_k")


@pytest.mark.parametrize(
    ("text", "shape", "metric", "sign", "bound"),
    [
        ("overhead_p99<50ms", "", "overhead_p99", "<", 0.05),
        ("pro.latency_p95 <= 60s", "pro", "latency_p95", "<=", 60.0),
        ("four_k.latency_max<2min", "four_k", "latency_max", "<", 120.0),
        ("errors<1%", "", "errors", "<", 0.01),
        ("throughput>=19.5/s", "", "throughput", ">=", 19.5),
        ("cost<5usd", "", "cost", "<", 5.0),
        ("calls>100", "", "calls", ">", 100.0),
        ("store_p50<900us", "", "store_p50", "<", 0.0009),
    ],
)
def test_assertions_are_read(text, shape, metric, sign, bound):
    found = Assertion.parse(text, SHAPES)

    assert (found.shape, found.metric, found.operator) == (shape, metric, sign)
    assert found.bound == pytest.approx(bound)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no assertion"),
        ("overhead_p99", "no assertion"),
        ("overhead_p99=50ms", "no assertion"),
        ("overhead_p99<-5ms", "no assertion"),
        ("overhead_p99<5ms; rm", "no assertion"),
        ("overhead_p98<50ms", "no metric `overhead_p98`; there are calls, offered"),
        ("speed<50ms", "no metric `speed`"),
        ("overhead_p99<50", "takes us or ms or s or min, not `no unit`"),
        ("overhead_p99<50%", "not `%`"),
        ("errors<1", "takes %"),
        ("calls>1s", "takes no unit"),
        ("portrait.errors<1%", "no shape `portrait`; it has standard, pro, four_k"),
        ("pro.drift<10%", "of the whole run"),
    ],
)
def test_what_is_none_is_refused_with_what_there_is(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Assertion.parse(text, SHAPES)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    """Never another error than ValueError."""
    try:
        Assertion.parse(text, SHAPES)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("errors<1%", 0.0099, True),
        ("errors<1%", 0.01, False),
        ("errors<=1%", 0.01, True),
        ("throughput>5/s", 5.0, False),
        ("throughput>=5/s", 5.0, True),
        ("first_preview_p50<1s", None, False),
        ("first_preview_p50>1s", None, False),
    ],
)
def test_a_bound_is_kept_or_not(text, value, holds):
    """What was never measured keeps no bound, whichever side it is on."""
    assert Assertion.parse(text, SHAPES).holds(value) is holds


@pytest.mark.parametrize(
    ("text", "figures", "holds", "note"),
    [
        ("overhead_p99<50ms", {"overhead_p99": 0.04, "overhead_max": 0.09}, True, ""),
        ("overhead_p99<50ms", {"overhead_max": 0.04}, True, "the slowest; a p99 takes 100 calls"),
        ("overhead_p99<50ms", {"overhead_max": 0.09}, False, "the slowest; a p99 takes 100 calls"),
        ("overhead_p999<=50ms", {"overhead_max": 0.05}, True, "the slowest; a p999 takes 1,000 calls"),
        ("overhead_p99>50ms", {"overhead_max": 0.09}, False, ""),
        ("overhead_p99<50ms", {}, False, ""),
    ],
)
def test_a_percentile_of_too_few_calls_is_judged_by_the_slowest(text, figures, holds, note):
    """Stricter than the percentile would be, and said; a lower bound cannot be kept by it."""
    assertion = Assertion.parse(text, SHAPES)
    value, told = assertion.judged(figures)

    assert (assertion.holds(value), told) == (holds, note)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (0.0000404, "40.4 us"),
        (0.0123, "12.3 ms"),
        (0.99949, "999 ms"),
        (0.9996, "1.00 s"),
        (1.234, "1.23 s"),
        (99.94, "99.9 s"),
        (250, "250 s"),
        (600, "10.0 min"),
    ],
)
def test_spans_have_three_digits_and_their_unit(value, text):
    assert seconds(value) == text


@settings(deadline=None)
@given(st.sampled_from(sorted(METRICS)), st.floats(0, 1e6))
def test_every_figure_can_be_shown(name, value):
    assert shown(name, value)
    assert shown(name, None) == "-"


def test_every_unit_is_used():
    assert {metric.unit for metric in METRICS.values()} == set(Unit)
