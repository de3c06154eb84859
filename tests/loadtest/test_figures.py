"""From records to figures: nothing is counted twice, and nothing that was never measured is a nought."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictor.v1.generation_pb2 import Generation
from pictor.v1.image_pb2 import COST_BASIS_REPORTED
from pictor_loadtest import mix, page
from pictor_loadtest.figures import drift, figures
from pictor_loadtest.record import NO_ANSWER, NOT_SENT, Made, Record, Spent
from pictor_loadtest.schedule import Due

SHAPES = mix.read(
    "two", b"prompts = ['x']\n[shapes.a]\nweight = 1\nrow = 'standard'\n[shapes.b]\nweight = 1\nstream = true"
).shapes
GPT, NANO = "gpt-image-2", "gemini-3.1-flash-image"


def made(*outcomes, row="standard", cost=50_000_000, provider=1.0):
    attempts = tuple((0, model, outcome) for model, outcome in outcomes or ((NANO, "image"),))
    model = next((model for _, model, outcome in attempts if outcome == "image"), "")
    spent = Spent(0.01, provider, 0.02, 0.03)
    return Made(row, model, int(bool(model)), attempts, cost, COST_BASIS_REPORTED, spent, is_sandbox=True)


def record(at_s, took_s, shape=0, *, waited_s=0.0, reason="", generation=None, preview_s=None):
    sent = None if reason == NOT_SENT else at_s + waited_s
    return Record(
        Due(0, at_s, SHAPES[shape], "x"),
        sent_s=sent,
        ended_s=None if sent is None else sent + took_s,
        reason=reason,
        made=generation if generation or reason else made(),
        preview_s=preview_s,
    )


RECORDS = st.lists(
    st.builds(
        lambda at, took, shape, waited, reason: record(at, took, shape, waited_s=waited, reason=reason),
        st.floats(0, 9.99),
        st.floats(0.001, 100),
        st.integers(0, 1),
        st.floats(0, 5),
        st.sampled_from(["", "", "", "PROVIDER_FAILED", NO_ANSWER, NOT_SENT]),
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(RECORDS)
def test_every_call_is_in_the_timeline_once(records):
    line = figures(records, 10.0)["timeline"]

    assert sum(line["due"]) == len(records)
    assert sum(line["sent"]) == sum(each.sent_s is not None for each in records)
    assert sum(line["good"]) + sum(line["failed"]) == sum(each.ended_s is not None for each in records)
    assert len({len(values) for values in line.values() if isinstance(values, list)}) == 1


@settings(deadline=None)
@given(RECORDS)
def test_any_run_can_be_written_and_drawn(records):
    """The page needs no figure that a run may lack: one without a single good answer has its page too."""
    found = json.loads(json.dumps(figures(records, 10.0)))
    html = page.render(report(found))

    assert html.startswith("<!doctype html>")
    assert "nan" not in html.lower().replace("nano", "")


def report(found, **more):
    load = {
        "mix": "two", "mix_about": "<b>", "rate": "5..50", "spacing": "even", "duration_s": 10.0, "seed": 1,
        "max_in_flight": 5, "connections": 1,
    }  # fmt: skip
    gateway = {"address": "<script>alert(1)</script>", "sandbox": True}
    return {
        "load": load, "gateway": gateway, "began_at": "2026-11-28T12:00:00+00:00", "stopped_because": "", "plan": {},
        "figures": found, "assertions": [], "baseline": None,
    } | more  # fmt: skip


def test_the_page_stands_alone_and_runs_no_words_of_others():
    """Nothing is fetched; texts from outside are text."""
    bad = record(1.0, 1.0, reason="BAD", generation=None)
    bad.text = "</script><script>alert(2)</script>"
    html = page.render(report(figures([record(0.0, 1.0), bad], 10.0), stopped_because="<i>why</i>"))

    assert "http" not in html.replace("http-equiv", "")
    assert "<script>alert" not in html
    assert "<i>why</i>" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_latency_counts_from_when_it_was_due_and_leaves_out_refusals():
    """A call that got no answer in time is the slowest of all, not none."""
    records = [
        record(0.0, 1.0, waited_s=2.0),
        record(0.0, 0.001, reason="QUEUE_FULL"),
        record(0.0, 60.0, reason=NO_ANSWER),
    ]
    found = figures(records, 10.0)["metrics"]

    assert (found["latency_p50"], found["latency_max"]) == (3.0, 60.0)
    assert found["call_p50"] == 1.0
    assert found["delay_max"] == 2.0
    assert found["errors"] == pytest.approx(2 / 3)


def test_what_was_never_measured_is_left_out():
    found = figures([record(0.0, 1.0, reason="INTERNAL")], 10.0)["metrics"]

    assert found["errors"] == 1.0
    assert not [
        name for name in found if name.startswith(("latency", "overhead", "first_preview", "failovers", "cost"))
    ]


def test_a_call_that_was_never_sent_is_no_error():
    found = figures([record(0.0, 1.0), record(0.0, 0.0, reason=NOT_SENT)], 10.0)["metrics"]

    assert (found["errors"], found["calls"]) == (0.0, 2.0)


def test_failovers_are_counted_by_cause():
    over = made((GPT, "rate_limited"), (NANO, "image"))
    same = made((NANO, "unsent"), (NANO, "image"))
    lost = made((GPT, "rate_limited"), (NANO, "server_error"))
    found = figures(
        [record(0, 1, generation=over), record(0, 1, generation=same), record(0, 1, reason="BAD", generation=lost)],
        10.0,
    )

    assert found["metrics"]["failovers"] == 0.5
    assert found["failovers"] == [{"from": GPT, "outcome": "rate_limited", "to": NANO, "calls": 2, "good": 1}]


def test_cost_counts_failed_calls_and_says_what_it_does_not_know():
    paid = made((GPT, "server_error"), cost=200_000_000)
    lost, refused = record(0, 1, reason="UNREACHABLE"), record(0, 1, reason="QUEUE_FULL")
    lost.may_have_cost = True
    found = figures([record(0, 1), record(0, 1, reason="PROVIDER_FAILED", generation=paid), lost, refused], 10.0)

    assert found["metrics"]["cost"] == pytest.approx(0.25)
    assert found["metrics"]["cost_per_picture"] == pytest.approx(0.25)
    assert found["cost"]["by_row"] == {"standard": 0.25}
    assert found["cost"]["calls_of_unknown_cost"] == 1


def test_another_row_than_the_mix_says_is_reported():
    found = figures([record(0, 1, generation=made(row="pro")), record(0, 1)], 10.0)

    assert found["misrouted"] == [{"shape": "a", "expected": "standard", "row": "pro", "calls": 1}]


@pytest.mark.parametrize(("slower", "expected"), [(1.0, 0.0), (1.5, 0.5), (0.5, -0.5)])
def test_drift_is_how_much_longer_calls_took_in_the_end(slower, expected):
    records = [record(at / 10, 1.0 if at < 50 else slower) for at in range(100)]

    assert drift(records, 10.0) == pytest.approx(expected)


def test_another_mixture_in_the_end_is_no_drift():
    """Quick shapes first and slow ones last: by shape nothing changed."""
    records = [record(at / 10, 1.0, 0) for at in range(100) if at < 60 or at % 3 == 0]
    records += [record(at / 10, 9.0, 1) for at in range(100) if at > 50 or at % 3 == 0]

    assert drift(records, 10.0) == pytest.approx(0.0)


def test_the_time_of_a_call_is_split_without_a_rest():
    """Harness, network, gateway and engines add up to the latency."""
    found = figures([record(0.0, 1.2, waited_s=0.3)], 10.0)["spent"]["a"]

    assert sum(found.values()) == pytest.approx(1.5)
    assert found["between"] == pytest.approx(1.2 - 1.06)


def test_a_generation_is_read_without_its_prompt():
    message = Generation(sandbox=True)
    message.decision.row = "pro"
    message.attempts.add(model=GPT, outcome="rate_limited")
    message.attempts.add(model=NANO, outcome="image")
    message.outputs.add().image.id = "img_1"
    message.cost.amount.units, message.cost.amount.nanos = 1, 5
    message.timings.overhead.nanos = 2_000_000

    found = Made.of(message)

    assert (found.row, found.model, found.pictures, found.cost_nanos) == ("pro", NANO, 1, 1_000_000_005)
    assert found.spent.overhead == pytest.approx(0.002)
    assert found.failovers == ((GPT, "rate_limited", NANO),)
