"""Worse than an earlier run of the same load, or not."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictor_loadtest import baseline
from pictor_loadtest.metrics import METRICS

THEN = {
    "calls": 1000.0,
    "latency_p50": 2.0,
    "latency_p99": 10.0,
    "overhead_p99": 0.010,
    "throughput": 20.0,
    "errors": 0.0,
}


def worse(now, tolerated=0.25, then=THEN):
    return {each.metric for each in baseline.compare(then, then | now, tolerated) if each.is_worse}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({}, set()),
        ({"latency_p50": 2.4}, set()),
        ({"latency_p50": 2.6}, {"latency_p50"}),
        ({"latency_p50": 0.1}, set()),
        ({"overhead_p99": 0.017}, set()),
        ({"overhead_p99": 0.018}, {"overhead_p99"}),
        ({"throughput": 16.1}, set()),
        ({"throughput": 15.9}, {"throughput"}),
        ({"throughput": 40.0}, set()),
        ({"errors": 0.009}, set()),
        ({"errors": 0.011}, {"errors"}),
    ],
)
def test_what_is_worse(now, expected):
    """By a quarter, and by 5 ms or one in a hundred on top; throughput the other way round."""
    assert worse(now) == expected


@settings(deadline=None)
@given(st.sampled_from(sorted(THEN)), st.floats(0.01, 100), st.floats(0, 1))
def test_a_run_is_never_worse_than_itself(name, value, tolerated):
    assert worse({}, tolerated, THEN | {name: value}) == set()


@settings(deadline=None)
@given(st.floats(0, 2), st.floats(0, 2), st.floats(0.1, 100))
def test_what_a_small_tolerance_takes_a_larger_one_takes_too(one, other, now):
    small, large = sorted((one, other))

    assert worse({"latency_p50": now}, large) <= worse({"latency_p50": now}, small)


def test_a_percentile_of_few_calls_is_not_compared():
    """The 99th of 100 calls is one call's chance."""
    few = THEN | {"calls": 100.0}

    assert worse({"latency_p99": 100.0}, then=few) == set()
    assert worse({"latency_p50": 100.0}, then=few) == {"latency_p50"}


def test_what_only_one_run_has_is_not_compared():
    assert worse({"first_preview_p50": 9.0}) == set()


def test_only_metrics_are_compared():
    assert set(baseline.COMPARED) <= set(METRICS)


def test_another_load_is_no_baseline():
    load = {"mix": "small", "rate": "20", "seed": 1}

    baseline.check_same(load, load | {"mix_about": "other words"})
    with pytest.raises(ValueError, match="another load: rate was 20, is 30; seed was 1, is 2"):
        baseline.check_same(load, load | {"rate": "30", "seed": 2})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', json.dumps({"format": 99}).encode(), b"\xff"])
def test_a_file_that_is_no_report_is_refused(tmp_path, content):
    path = tmp_path / "report.json"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"report\.json is no "):
        baseline.read(path)


@pytest.mark.parametrize(("text", "share"), [("25%", 0.25), ("0%", 0.0), (" 7.5 % ", 0.075)])
def test_tolerances_are_read(text, share):
    assert baseline.tolerance(text) == share


@pytest.mark.parametrize("text", ["", "25", "-1%", "a%", "0.2"])
def test_what_is_no_tolerance_is_refused(text):
    with pytest.raises(ValueError, match="tolerance"):
        baseline.tolerance(text)
