"""The breaker against a model that is told of every call, under random storms, waits, stale results and lost probes."""

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pictord.resilience.breaker import Breaker, BreakerOpen, BreakerPermit, BreakerSettings, BreakerState, Verdict

VERDICTS = st.sampled_from(list(Verdict))
NUMBERS = BreakerSettings()


@dataclass
class Call:
    """One admitted call; `life` is the model's count of changes of state when it was admitted."""

    permit: BreakerPermit
    life: int
    lease_end: float


class BreakerMachine(RuleBasedStateMachine):
    """A naive model: it keeps all results of this life and reads the rules of design §8 literally."""

    @initialize(dice=st.floats(0, 1, exclude_max=True))
    def begin(self, dice):
        self.now, self.dice = 0.0, dice
        self.breaker = Breaker(NUMBERS, clock=lambda: self.now, random=lambda: self.dice)
        self.state, self.life = BreakerState.CLOSED, 0
        self.results: list[tuple[float, Verdict]] = []
        self.flying: list[Call] = []
        self.finished: list[Call] = []
        self.probe: Call | None = None
        self.good = self.openings = 0
        self.closed_at = self.open_until = 0.0

    # -- the model ---------------------------------------------------------------------------------------------------

    def enter(self, state):
        self.state, self.probe, self.good, self.results = state, None, 0, []
        self.life += 1
        if state is BreakerState.CLOSED:
            self.closed_at = self.now
        if state is BreakerState.OPEN:
            span = min(300.0, 30.0 * 2**self.openings)
            self.openings += 1
            self.open_until = self.now + span * (0.8 + 0.4 * self.dice)

    def tick(self):
        if self.state is BreakerState.OPEN and self.now >= self.open_until:
            self.enter(BreakerState.HALF_OPEN)

    def may_enter(self):
        self.tick()
        if self.state is BreakerState.HALF_OPEN:
            return self.probe is None or self.now >= self.probe.lease_end
        return self.state is BreakerState.CLOSED

    def hear(self, call, verdict):
        self.tick()
        if call.life != self.life or verdict is Verdict.IGNORE:
            if call is self.probe:
                self.probe = None
            return
        if self.state is BreakerState.CLOSED:
            self.hear_closed(verdict)
        elif call is self.probe:
            self.probe = None
            self.good += verdict is Verdict.OK
            if verdict is not Verdict.OK:
                self.enter(BreakerState.OPEN)
            elif self.good == 2:
                self.enter(BreakerState.CLOSED)

    def hear_closed(self, verdict):
        self.results.append((self.now, verdict))
        window = [v for at, v in self.results[-20:] if at >= self.now - 600]
        failed, slow = window.count(Verdict.FAIL), window.count(Verdict.SLOW)
        in_row = window[-5:] == [Verdict.FAIL] * 5
        shares = len(window) >= 6 and (failed * 2 >= len(window) or slow * 5 >= len(window) * 4)
        if in_row or shares:
            if self.now - self.closed_at >= 600:
                self.openings = 0
            self.enter(BreakerState.OPEN)

    # -- the moves ---------------------------------------------------------------------------------------------------

    def try_admit(self, longest_call_s=60.0):
        may = self.may_enter()
        assert self.breaker.admits() is may
        try:
            permit = self.breaker.admit(longest_call_s)
        except BreakerOpen as refusal:
            permit, remaining_s = None, refusal.remaining_s
        assert (permit is not None) is may
        if permit is None:
            assert remaining_s == pytest.approx(self.open_until - self.now if self.state is BreakerState.OPEN else 0)
            return None
        call = Call(permit, self.life, self.now + longest_call_s + 10)
        if self.state is BreakerState.HALF_OPEN:
            self.probe = call
        self.flying.append(call)
        return call

    def finish(self, call, verdict):
        self.flying.remove(call)
        self.finished.append(call)
        call.permit.report(verdict)
        self.hear(call, verdict)

    @rule(longest_call_s=st.sampled_from([1.0, 60.0, 400.0]))
    def come(self, longest_call_s):
        self.try_admit(longest_call_s)

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 99), verdict=VERDICTS)
    def end(self, which, verdict):
        self.finish(self.flying[which % len(self.flying)], verdict)

    @rule(verdict=VERDICTS, count=st.integers(1, 25))
    def storm(self, verdict, count):
        """Calls that come and end one after the other, all alike."""
        for _ in range(count):
            if call := self.try_admit():
                self.finish(call, verdict)

    @rule(verdicts=st.lists(VERDICTS, min_size=2, max_size=30))
    def many(self, verdicts):
        """Calls that are all in flight before the first one ends."""
        calls = [call for _ in verdicts if (call := self.try_admit())]
        for call, verdict in zip(calls, verdicts, strict=False):
            self.finish(call, verdict)

    @rule(count=st.integers(2, 200))
    def flood(self, count):
        """Half open, at most one of them gets in."""
        before = self.state if self.may_enter() else None
        admitted = sum(1 for _ in range(count) if self.try_admit())
        if before is BreakerState.HALF_OPEN:
            assert admitted == 1

    @precondition(lambda self: self.finished)
    @rule(which=st.integers(0, 99), verdict=VERDICTS)
    def report_again(self, which, verdict):
        self.finished[which % len(self.finished)].permit.report(verdict)

    @precondition(lambda self: self.state is BreakerState.OPEN)
    @rule()
    def wait_open(self):
        self.now = max(self.now, self.open_until)

    @precondition(lambda self: self.probe is not None)
    @rule()
    def leak_probe(self):
        """The probe never reports; its lease runs out."""
        self.now = max(self.now, self.probe.lease_end)

    @rule(seconds=st.sampled_from([0.5, 29.0, 61.0, 299.0, 600.0, 601.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(dice=st.floats(0, 1, exclude_max=True))
    def roll(self, dice):
        self.dice = dice

    @invariant()
    def agrees(self):
        self.tick()
        assert self.breaker.state() is self.state
        left = max(0.0, self.open_until - self.now) if self.state is BreakerState.OPEN else 0.0
        assert self.breaker.remaining_open_s() == pytest.approx(left)
        assert left <= 360


BreakerMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=50, deadline=None, derandomize=True, database=None
)


class TestBreakerMachine(BreakerMachine.TestCase):
    """Any sequence of calls, results and waits leaves the breaker where the rules say."""
