"""The limiter against an independent bucket, under random arrivals, cancels, refunds and freezes in virtual time."""

import asyncio
import bisect
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

import virtual_time
from pictord.resilience.limiter import Limiter, LimiterPermit, LimiterSettings, TooLate

EPSILON = 1e-6

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 30), st.one_of(st.none(), st.floats(0, 60))),
        st.tuples(st.just("pass"), st.sampled_from([0.01, 0.5, 1.0, 5.0, 13.4, 60.0]), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 10), st.none()),
        st.tuples(st.just("refund"), st.integers(0, 10), st.none()),
        st.tuples(st.just("freeze"), st.floats(0, 30), st.none()),
        st.tuples(st.just("storm"), st.integers(1, 40), st.none()),
    ),
    min_size=1,
    max_size=25,
)
QUOTAS = st.sampled_from([1, 5, 7, 10, 20, 60, 100, 500])


@dataclass
class Caller:
    """One call: when it came, what it was told, how it ended."""

    number: int
    arrived: float
    predicted: float
    deadline: float | None
    started: float | None = None
    permit: LimiterPermit | None = None
    refunded_at: float | None = None
    refused: bool = False
    disturbed: bool = False
    """Something changed while he waited; what he was predicted need not hold."""
    task: asyncio.Task | None = None


@dataclass
class History:
    """Everything that happened to one limiter."""

    rate: float
    burst: float
    callers: list[Caller] = field(default_factory=list)
    order: list[Caller] = field(default_factory=list)
    frozen: list[tuple[float, float]] = field(default_factory=list)

    def sent(self) -> list[float]:
        """The starts that count: those of calls that were not refunded."""
        return sorted(c.started for c in self.callers if c.started is not None and c.refunded_at is None)


def callers_of(history: History, kind: str) -> list[Caller]:
    """Those who wait, or those who started and were not refunded."""
    if kind == "waiting":
        return [c for c in history.callers if c.started is None and not c.refused and not c.task.done()]
    return [c for c in history.order if c.refunded_at is None]


def disturb(history: History) -> None:
    """A cancel, refund or freeze is about to change the start of those who wait."""
    for caller in callers_of(history, "waiting"):
        caller.disturbed = True


async def play(quota: int, steps: list) -> History:
    """Run the steps, then let everybody who still waits start."""
    limit = LimiterSettings(requests_per_minute=quota)
    limiter = Limiter(limit, clock=virtual_time.now)
    history = History(rate=0.9 * quota / 60, burst=max(1.0, 0.1 * quota))

    async def call(caller: Caller) -> None:
        try:
            caller.permit = await limiter.admit(caller.deadline)
        except TooLate:
            caller.refused = True
            return
        caller.started = virtual_time.now()
        history.order.append(caller)

    for kind, amount, patience in steps:
        moment = virtual_time.now()
        if kind in ("arrive", "storm"):
            for _ in range(amount):
                deadline = None if patience is None else moment + patience
                caller = Caller(len(history.callers), moment, moment + limiter.predict(), deadline)
                history.callers.append(caller)
                caller.task = asyncio.create_task(call(caller))
                await asyncio.sleep(0)
            if kind == "storm":
                # A crowd of which every second one changes his mind, in the same step of the loop.
                disturb(history)
                for caller in callers_of(history, "waiting")[::2]:
                    caller.task.cancel()
                await virtual_time.settle()
        elif kind == "pass":
            await asyncio.sleep(amount)
        elif kind == "cancel" and (waiting := callers_of(history, "waiting")):
            disturb(history)
            waiting[amount % len(waiting)].task.cancel()
            await virtual_time.settle()
        elif kind == "refund" and (running := callers_of(history, "running")):
            disturb(history)
            caller = running[-1 - amount % len(running)]
            caller.refunded_at = moment
            caller.permit.refund()
        elif kind == "freeze":
            disturb(history)
            history.frozen.append((moment, moment + amount))
            limiter.freeze(moment + amount)
    await asyncio.gather(*(c.task for c in history.callers), return_exceptions=True)
    assert limiter.waiting == 0
    return history


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(quota=st.integers(1, 200), crowd=st.integers(1, 300), silence=st.floats(0, 200))
def test_no_minute_sees_more_than_the_quota(quota, crowd, silence):
    """A provider that counts strictly over 60 seconds never has reason for a 429, even right after a silence."""
    history = virtual_time.run(play(quota, [("pass", silence, None), ("arrive", crowd, None)]))

    sent = history.sent()
    assert all(bisect.bisect_left(sent, start + 60.0 - 1e-9) - index <= quota for index, start in enumerate(sent))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(quota=QUOTAS, steps=STEPS)
def test_no_window_sees_more_than_burst_and_rate(quota, steps):
    """In any window of t seconds at most b + r·t calls that were not refunded start; none start in a freeze."""
    history = virtual_time.run(play(quota, steps))

    sent = history.sent()
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            window = sent[last] - sent[first]
            assert last - first + 1 <= history.burst + history.rate * window + EPSILON
    for begin, end in history.frozen:
        assert not [c for c in history.order if begin < c.started < end]


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(quota=QUOTAS, steps=STEPS)
def test_strict_order_and_no_start_past_a_deadline(quota, steps):
    """Calls start in the order they came, and never later than their deadline."""
    history = virtual_time.run(play(quota, steps))

    numbers = [c.number for c in history.order]
    assert numbers == sorted(numbers)
    assert all(c.started <= c.deadline + EPSILON for c in history.order if c.deadline is not None)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(quota=QUOTAS, steps=STEPS)
def test_the_prediction_is_the_start(quota, steps):
    """Unless something changes while he waits, a caller starts when he was told, or is refused if that is too late."""
    history = virtual_time.run(play(quota, steps))

    for caller in history.callers:
        if caller.refused and not caller.disturbed:
            assert caller.predicted > caller.deadline
        elif caller.started is not None and not caller.disturbed:
            assert abs(caller.started - caller.predicted) < EPSILON


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(quota=QUOTAS, steps=STEPS)
# Chance seldom refunds a call while somebody waits behind it.
@example(quota=20, steps=[("arrive", 3, None), ("pass", 1.0, None), ("refund", 0, None), ("pass", 60.0, None)])
def test_nobody_waits_without_need(quota, steps):
    """Whoever waited started the moment his token was ready, counting only calls that were sent: nothing is lost."""
    history = virtual_time.run(play(quota, steps))

    turning_points = {end for _, end in history.frozen} | {c.refunded_at for c in history.callers}
    for position, caller in enumerate(history.order):
        before = history.order[:position]
        at_once = caller.started in (caller.arrived, before[-1].started if before else None)
        if at_once or caller.started in turning_points:
            continue
        counted = [c.started for c in before if c.refunded_at is None or c.refunded_at >= caller.started]
        assert abs(level_before(caller.started, counted, history.rate) + 1 - history.burst) < EPSILON


def level_before(moment: float, starts: list[float], rate: float) -> float:
    """What these starts have left in a leaky bucket at `moment`: the reference, in the other way of counting."""
    level, last = 0.0, 0.0
    for start in starts:
        level = max(0.0, level - (start - last) * rate) + 1
        last = start
    return max(0.0, level - (moment - last) * rate)
