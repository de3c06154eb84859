"""The breaker by example: what opens it, what closes it, and what leaves it alone."""

import pytest

from pictord.domain.request import Operation
from pictord.resilience.breaker import (
    Breaker,
    BreakerChange,
    BreakerKey,
    BreakerOpen,
    Breakers,
    BreakerSettings,
    BreakerState,
    Verdict,
)

LONGEST_CALL_S = 60.0
OK, SLOW, FAIL, IGNORE = Verdict.OK, Verdict.SLOW, Verdict.FAIL, Verdict.IGNORE


class Bench:
    """A breaker with a clock and dice in the test's hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.dice = 0.5  # the middle: no jitter
        self.changes: list[tuple[BreakerState, BreakerState]] = []
        self.breaker = Breaker(
            BreakerSettings(),
            clock=lambda: self.now,
            random=lambda: self.dice,
            on_change=lambda old, new: self.changes.append((old, new)),
        )

    def finish(self, *verdicts: Verdict) -> BreakerState:
        for verdict in verdicts:
            self.breaker.admit(LONGEST_CALL_S).report(verdict)
        return self.breaker.state()

    def half_open(self) -> None:
        """Open the breaker if it is closed, and let its time pass."""
        if self.breaker.state() is BreakerState.CLOSED:
            self.finish(*[FAIL] * 5)
        self.now += self.breaker.remaining_open_s()

    def refuses(self) -> bool:
        admits = self.breaker.admits()
        try:
            self.breaker.admit(LONGEST_CALL_S)
        except BreakerOpen:
            assert not admits
            return True
        assert admits
        return False


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize(
    ("verdicts", "opens"),
    [
        pytest.param([FAIL] * 4, False, id="four failures in a row"),
        pytest.param([FAIL] * 5, True, id="five failures in a row"),
        pytest.param([FAIL] * 4 + [IGNORE] * 50 + [FAIL], True, id="ignored calls do not end a row"),
        pytest.param([FAIL, FAIL, OK, FAIL, FAIL], False, id="four failures of five calls are too few calls"),
        pytest.param([OK] * 3 + [FAIL] * 2, False, id="two of five"),
        pytest.param([OK] * 3 + [FAIL] * 3, True, id="half of six"),
        pytest.param([OK] * 4 + [FAIL] * 3, False, id="three of seven"),
        pytest.param([OK] * 11 + [FAIL, FAIL, FAIL, OK] * 3, False, id="nine of the last twenty"),
        pytest.param([OK] * 10 + [FAIL, FAIL, FAIL, OK] * 3 + [FAIL], True, id="ten of the last twenty"),
        pytest.param([SLOW] * 5, False, id="five slow calls are too few calls"),
        pytest.param([SLOW] * 4 + [OK] + [SLOW], True, id="five slow of six"),
        pytest.param([SLOW] * 3 + [OK, SLOW, OK, SLOW], False, id="five slow of seven"),
        pytest.param([IGNORE] * 1000, False, id="a thousand refusals and cancellations"),
    ],
)
def test_what_opens_it(bench, verdicts, opens):
    """Five failures in a row, or half failed or four fifths slow of at least six; the ignored do not count."""
    for verdict in verdicts:
        assert bench.breaker.state() is BreakerState.CLOSED
        bench.finish(verdict)

    assert (bench.breaker.state() is BreakerState.OPEN) is opens


def test_results_older_than_ten_minutes_are_forgotten(bench):
    """Four old failures and a new one are no row."""
    bench.finish(*[FAIL] * 4)
    bench.now += 601

    assert bench.finish(FAIL) is BreakerState.CLOSED


def test_it_opens_for_30_s_doubling_to_300(bench):
    """Every failed probe doubles the time, up to five minutes."""
    spans = []
    for _ in range(6):
        if bench.breaker.state() is BreakerState.CLOSED:
            bench.finish(*[FAIL] * 5)
        else:
            bench.finish(FAIL)
        spans.append(bench.breaker.remaining_open_s())
        bench.now += spans[-1]

    assert spans == [30, 60, 120, 240, 300, 300]


@pytest.mark.parametrize(("dice", "span_s"), [(0.0, 24.0), (0.5, 30.0), (0.9999999, 36.0)])
def test_the_open_time_is_jittered_by_a_fifth(bench, dice, span_s):
    """Replicas that opened together do not probe together."""
    bench.dice = dice
    bench.finish(*[FAIL] * 5)

    assert bench.breaker.remaining_open_s() == pytest.approx(span_s)


@pytest.mark.parametrize(("closed_s", "span_s"), [(599, 60), (600, 30)])
def test_ten_minutes_closed_start_the_doubling_afresh(bench, closed_s, span_s):
    """A relapse within ten minutes is the same illness."""
    bench.half_open()
    bench.finish(OK, OK)
    bench.now += closed_s
    bench.finish(*[FAIL] * 5)

    assert bench.breaker.remaining_open_s() == span_s


def test_it_is_refused_until_the_time_is_up(bench):
    """One moment before, nobody; at the moment, one."""
    bench.finish(*[FAIL] * 5)
    bench.now += 29.999
    with pytest.raises(BreakerOpen) as refusal:
        bench.breaker.admit(LONGEST_CALL_S)
    assert refusal.value.remaining_s == pytest.approx(0.001)
    bench.now += 0.001

    assert bench.breaker.state() is BreakerState.HALF_OPEN
    assert not bench.refuses()


def test_two_hundred_callers_find_it_half_open(bench):
    """One is let through, however many come; the second probe only after the first was good."""
    bench.half_open()
    first = bench.breaker.admit(LONGEST_CALL_S)
    assert all(bench.refuses() for _ in range(199))

    first.report(OK)
    second = bench.breaker.admit(LONGEST_CALL_S)
    assert bench.refuses()
    second.report(OK)

    assert bench.breaker.state() is BreakerState.CLOSED


@pytest.mark.parametrize("bad", [FAIL, SLOW])
def test_one_bad_probe_opens_it_again(bench, bad):
    """Also after a good one; a probe that is too slow is not good."""
    bench.half_open()

    assert bench.finish(OK, bad) is BreakerState.OPEN


def test_what_opened_it_counts_no_more_once_it_is_closed_again(bench):
    """Four failures in a row are not nine."""
    bench.half_open()
    assert bench.finish(OK, OK) is BreakerState.CLOSED

    assert bench.finish(*[FAIL] * 4) is BreakerState.CLOSED
    assert bench.finish(FAIL) is BreakerState.OPEN


def test_an_ignored_probe_frees_its_place(bench):
    """A refused or cancelled probe says nothing: the next caller probes, and two good ones are still needed."""
    bench.half_open()
    assert bench.finish(OK, IGNORE, IGNORE) is BreakerState.HALF_OPEN

    assert bench.finish(OK) is BreakerState.CLOSED


def test_a_lost_probe_does_not_wedge_it(bench):
    """After the longest call and ten seconds the place is free again."""
    bench.half_open()
    lost = bench.breaker.admit(LONGEST_CALL_S)
    bench.now += LONGEST_CALL_S + 9.999
    assert bench.refuses()
    bench.now += 0.001
    bench.breaker.admit(LONGEST_CALL_S)

    lost.report(FAIL)  # too late: somebody else has its place
    assert bench.breaker.state() is BreakerState.HALF_OPEN


def test_a_late_probe_counts_if_nobody_took_its_place(bench):
    """The answer was paid for, so it is heard."""
    bench.half_open()
    late = bench.breaker.admit(LONGEST_CALL_S)
    bench.now += 1000
    late.report(FAIL)

    assert bench.breaker.state() is BreakerState.OPEN


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_result_from_an_earlier_life_is_dropped(bench, verdict):
    """Calls admitted before the opening change nothing, open, half open or closed again."""
    old = [bench.breaker.admit(LONGEST_CALL_S) for _ in range(30)]
    bench.half_open()
    for permit in old[:10]:
        permit.report(verdict)
    assert bench.breaker.state() is BreakerState.HALF_OPEN
    bench.finish(OK)
    for permit in old[10:20]:
        permit.report(verdict)
    bench.finish(OK)
    for permit in old[20:]:
        permit.report(verdict)

    assert bench.breaker.state() is BreakerState.CLOSED
    assert bench.breaker.counts().calls == 0


def test_a_permit_reports_once(bench):
    """Five reports of one call are one failure."""
    permit = bench.breaker.admit(LONGEST_CALL_S)
    for _ in range(5):
        permit.report(FAIL)

    assert bench.breaker.counts().failed == 1


def test_a_permit_whose_holder_waited_is_confirmed_or_refused(bench):
    """Whoever stood in line while the breaker opened is not sent into it."""
    permit = bench.breaker.admit(LONGEST_CALL_S)
    assert bench.breaker.renew(permit, LONGEST_CALL_S) is permit
    bench.finish(*[FAIL] * 5)
    with pytest.raises(BreakerOpen):
        bench.breaker.renew(permit, LONGEST_CALL_S)
    bench.half_open()

    assert bench.breaker.renew(permit, LONGEST_CALL_S).is_probe


def test_a_renewed_probe_has_a_fresh_lease(bench):
    """The lease covers the call, not the wait before it."""
    bench.half_open()
    probe = bench.breaker.admit(LONGEST_CALL_S)
    bench.now += 60
    assert bench.breaker.renew(probe, LONGEST_CALL_S) is probe
    bench.now += 69

    assert bench.refuses()


def test_reset_closes_it_and_forgets(bench):
    """The operator enables the engine: closed, no doubling left, permits of before are of no account."""
    old = bench.breaker.admit(LONGEST_CALL_S)
    bench.half_open()
    bench.breaker.reset()
    old.report(FAIL)
    assert bench.breaker.counts().calls == 0
    bench.finish(*[FAIL] * 5)

    assert bench.breaker.remaining_open_s() == 30


def test_every_change_is_told(bench):
    """The listener hears each change of state once, in order."""
    bench.half_open()
    bench.finish(OK, OK)

    closed, opened, half = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
    assert bench.changes == [(closed, opened), (opened, half), (half, closed)]


def test_each_model_and_operation_has_its_own():
    """A failing edit endpoint does not stop generation."""
    told: list[BreakerChange] = []
    breakers = Breakers(BreakerSettings(), clock=lambda: 0.0, random=lambda: 0.5, on_change=told.append)
    edit = BreakerKey("openai", "gpt-image-2", Operation.EDIT)
    generate = BreakerKey("openai", "gpt-image-2", Operation.GENERATE)
    for _ in range(5):
        breakers.get(edit).admit(LONGEST_CALL_S).report(FAIL)

    assert breakers.get(edit).state() is BreakerState.OPEN
    assert breakers.get(generate).state() is BreakerState.CLOSED
    assert [key for key, _ in breakers.of("openai")] == [edit, generate]
    assert list(breakers.of("gemini")) == []
    assert told == [BreakerChange(edit, BreakerState.CLOSED, BreakerState.OPEN, 30.0)]
