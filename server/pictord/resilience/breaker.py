"""Circuit breaker: stop sending to an engine that fails, and find out cheaply when it works again.

One breaker for each (provider, model, operation), in this process only. Every call takes a permit before it is sent and
reports one verdict when it has finished.

| state     | a caller                             | a result                                                   |
|-----------|--------------------------------------|------------------------------------------------------------|
| CLOSED    | is admitted                          | joins the window; may open the breaker                     |
| OPEN      | is refused                           | belongs to an earlier life: dropped                        |
| HALF_OPEN | is admitted if no probe is in flight | only the probe's: the second OK closes, FAIL or SLOW opens |

- The window is the last 20 results, none older than 10 minutes. It opens the breaker at 5 failures in a row, or, from 6
  results on, at 50 % failures or 80 % slow.
- OPEN lasts 30 s, twice that after every opening, at most 300 s, each ± 20 % so that replicas do not probe together.
  Ten minutes CLOSED start the doubling afresh.
- A probe is a leased permit. A lease that runs out frees the place, so that a lost permit cannot wedge the breaker;
  what the late probe then reports counts only if nobody has taken its place.
- IGNORE says nothing about the engine's health (refusals, rate limits, cancellations). It never enters the window,
  and it frees a probe's place without closing or opening.
- Every change of state begins a new life. A permit belongs to the life it was given in: a 90-second-old success
  neither closes nor opens anything. A permit reports once; a second report is ignored.

Not handled here: money, which is why half-open admits one caller instead of a share; which outcome is which verdict
(`domain/outcome.py`); waiting (a refused caller falls back at once); sharing state between replicas, because each
finds out for the price of a few calls and a shared state brings its own failures.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pictord.domain.request import Operation


class BreakerState(StrEnum):
    """The state table's rows."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(StrEnum):
    """What one finished call says about the engine's health."""

    OK = "ok"
    SLOW = "slow"
    FAIL = "fail"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Numbers of the state table; times in seconds, shares from 0 to 1."""

    window_calls: int = 20
    window_s: float = 600.0
    minimum_calls: int = 6
    failure_share: float = 0.5
    slow_share: float = 0.8
    failures_in_row: int = 5
    first_open_s: float = 30.0
    longest_open_s: float = 300.0
    jitter_share: float = 0.2
    calm_s: float = 600.0
    """Time closed after which the next opening is a first one again."""
    probes_to_close: int = 2
    lease_margin_s: float = 10.0


class BreakerOpen(Exception):
    """The breaker admits nobody now; `remaining_s` is 0 while a probe is in flight."""

    def __init__(self, remaining_s: float) -> None:
        super().__init__(f"open for another {remaining_s:.0f} s" if remaining_s else "a probe is in flight")
        self.remaining_s = remaining_s


class BreakerPermit:
    """The right to make one call; `report` ends it."""

    __slots__ = ("_breaker", "is_probe", "lease_end", "life", "reported")

    def __init__(self, breaker: "Breaker", life: int, *, is_probe: bool, lease_end: float) -> None:
        self._breaker = breaker
        self.life = life
        self.is_probe = is_probe
        self.lease_end = lease_end
        self.reported = False

    def report(self, verdict: Verdict) -> None:
        """Say how the call ended; only the first report counts."""
        self._breaker.report(self, verdict)

    def release(self) -> None:
        """Give the permit back unused."""
        self._breaker.report(self, Verdict.IGNORE)


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """Results in the window, by verdict."""

    calls: int
    failed: int
    slow: int


class Breaker:
    """One breaker; see the state table above.

    What only asks (`state`, `admits`, `counts` …) changes nothing and may be called from a metrics thread.

    Args:
        settings: the table's numbers.
        clock: seconds, never going back.
        random: uniform in [0, 1).
        on_change: told of every change of state as (old, new); must not raise.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        on_change: Callable[[BreakerState, BreakerState], None] = lambda _old, _new: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._life = 0
        self._results: deque[tuple[float, Verdict]] = deque(maxlen=settings.window_calls)
        self._closed_since = clock()
        self._open_until = 0.0
        self._openings = 0
        self._probe: BreakerPermit | None = None
        self._good_probes = 0

    def state(self) -> BreakerState:
        """The state at this moment; an OPEN whose time is up is HALF_OPEN."""
        if self._state is BreakerState.OPEN and self._clock() >= self._open_until:
            return BreakerState.HALF_OPEN
        return self._state

    def remaining_open_s(self) -> float:
        """Seconds until the first probe may go; 0 unless OPEN."""
        return max(0.0, self._open_until - self._clock()) if self.state() is BreakerState.OPEN else 0.0

    def admits(self) -> bool:
        """Whether `admit` would succeed now."""
        state = self.state()
        return state is BreakerState.CLOSED or (state is BreakerState.HALF_OPEN and not self._probing())

    def admit(self, longest_call_s: float) -> BreakerPermit:
        """Take a permit for a call of at most `longest_call_s` seconds.

        Raises:
            BreakerOpen: nobody is admitted, or a probe is in flight.
        """
        if not self.admits():
            raise BreakerOpen(self.remaining_open_s())
        if self._state is BreakerState.OPEN:
            self._change(BreakerState.HALF_OPEN)
        is_probe = self._state is BreakerState.HALF_OPEN
        permit = BreakerPermit(self, self._life, is_probe=is_probe, lease_end=self._lease_end(longest_call_s))
        if is_probe:
            self._probe = permit
        return permit

    def renew(self, permit: BreakerPermit, longest_call_s: float) -> BreakerPermit:
        """Confirm a permit whose holder has waited since; the lease begins anew.

        Returns the permit if its life still lasts, else a new one.

        Raises:
            BreakerOpen: the breaker opened in the meantime, or somebody else has taken the probe's place.
        """
        if self._is_current(permit):
            permit.lease_end = self._lease_end(longest_call_s)
            return permit
        permit.release()
        return self.admit(longest_call_s)

    def report(self, permit: BreakerPermit, verdict: Verdict) -> None:
        """Count the permit's verdict; see `BreakerPermit.report`."""
        if permit.reported:
            return
        permit.reported = True
        if not self._is_current(permit):
            return
        if permit.is_probe:
            self._probe = None
            self._count_probe(verdict)
        elif verdict is not Verdict.IGNORE:
            self._results.append((self._clock(), verdict))
            if self._is_sick():
                self._open()

    def reset(self) -> None:
        """Close and forget everything; the operator knows better."""
        self._openings = 0
        self._change(BreakerState.CLOSED)

    def counts(self) -> WindowCounts:
        """What is in the window now."""
        oldest = self._clock() - self._settings.window_s
        verdicts = [verdict for finished, verdict in tuple(self._results) if finished >= oldest]
        return WindowCounts(len(verdicts), verdicts.count(Verdict.FAIL), verdicts.count(Verdict.SLOW))

    def _is_sick(self) -> bool:
        settings, counts = self._settings, self.counts()
        if counts.failed >= settings.failures_in_row and self._last_all_failed(settings.failures_in_row):
            return True
        return counts.calls >= settings.minimum_calls and (
            counts.failed >= settings.failure_share * counts.calls or counts.slow >= settings.slow_share * counts.calls
        )

    def _last_all_failed(self, count: int) -> bool:
        return all(self._results[-back][1] is Verdict.FAIL for back in range(1, count + 1))

    def _count_probe(self, verdict: Verdict) -> None:
        if verdict is Verdict.OK:
            self._good_probes += 1
            if self._good_probes >= self._settings.probes_to_close:
                self._change(BreakerState.CLOSED)
        elif verdict is not Verdict.IGNORE:
            self._open()

    def _open(self) -> None:
        settings, now = self._settings, self._clock()
        if self._state is BreakerState.CLOSED and now - self._closed_since >= settings.calm_s:
            self._openings = 0
        # The exponent is bounded only to keep the float finite.
        span_s = min(settings.longest_open_s, settings.first_open_s * 2.0 ** min(self._openings, 64))
        self._openings += 1
        self._open_until = now + span_s * (1 + settings.jitter_share * (2 * self._random() - 1))
        self._change(BreakerState.OPEN)

    def _change(self, new: BreakerState) -> None:
        old, self._state = self._state, new
        self._life += 1
        self._probe = None
        self._good_probes = 0
        self._results.clear()
        if new is BreakerState.CLOSED:
            self._closed_since = self._clock()
        if old is not new:
            self._on_change(old, new)

    def _is_current(self, permit: BreakerPermit) -> bool:
        return permit.life == self._life and (not permit.is_probe or permit is self._probe)

    def _probing(self) -> bool:
        return self._probe is not None and self._clock() < self._probe.lease_end

    def _lease_end(self, longest_call_s: float) -> float:
        return self._clock() + longest_call_s + self._settings.lease_margin_s


class BreakerKey(NamedTuple):
    """What one breaker stands for."""

    provider: str
    model: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A change of state, for metrics and logs; `open_s` is how long an opening lasts, else 0."""

    key: BreakerKey
    old: BreakerState
    new: BreakerState
    open_s: float


class Breakers:
    """All breakers of this process, made when first asked for; arguments as for `Breaker`."""

    def __init__(
        self,
        settings: BreakerSettings,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        on_change: Callable[[BreakerChange], None] = lambda _change: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._on_change = on_change
        self._breakers: dict[BreakerKey, Breaker] = {}

    def get(self, key: BreakerKey) -> Breaker:
        """The breaker of this key."""
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = self._breakers[key] = self._make(key)
        return breaker

    def of(self, provider: str) -> Iterator[tuple[BreakerKey, Breaker]]:
        """The breakers of one provider that have been used."""
        return ((key, breaker) for key, breaker in tuple(self._breakers.items()) if key.provider == provider)

    def _make(self, key: BreakerKey) -> Breaker:
        def tell(old: BreakerState, new: BreakerState) -> None:
            self._on_change(BreakerChange(key, old, new, breaker.remaining_open_s()))

        breaker = Breaker(self._settings, clock=self._clock, random=self._random, on_change=tell)
        return breaker
