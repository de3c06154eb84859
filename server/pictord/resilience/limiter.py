"""Limiter: start calls no faster than the provider account's quota allows, first come, first served.

Theory. A token bucket of size `b` that refills at `r` tokens a second, kept as one number (GCRA): `full_at`, the
moment at which the bucket is full again if nobody comes. With T = 1/r, a call may start from `full_at - (b - 1)·T` on,
and moves `full_at` to `max(full_at, start) + T`. In any window of t seconds at most b + r·t calls start.

| event  | rule                                                                                               |
|--------|----------------------------------------------------------------------------------------------------|
| admit  | strict FIFO: whoever finds a line joins its end; refused at once if the start would be too late    |
| cancel | a waiter leaves without a trace; a permit that was already on its way is refunded                  |
| refund | the bucket is as if the call had never been admitted; what that frees goes to the head of the line |
| freeze | nobody starts before its end, then b at most; who thereby becomes too late is refused at once      |

A refund is worth what is left of it: the admissions since the bucket was last full are kept and played again without
the refunded one, so a token that would have overflowed by now is worth nothing (given back whole, it would let two
calls start together).

One timer wakes the head of the line; everybody else's start follows from arithmetic, so waiters cost no timers, and
`predict` is the real start as long as nothing changes. Without a quota there is no bucket, only the freeze.

Why not `aiolimiter` (1.3.0, tried 2026-11-22 behind the same gate, with the same property suite): it shows neither its
level nor its next start, so the gate needs a second bucket to predict; it takes nothing back, so either a refunded
call's successor is not on its books (quota 1: two starts 10 ms closer than T), or the token is lost; and its timers
miss by a rounding error and spin for ever in virtual time. What would make all that right is the second bucket, which
is this one.

Not handled: fairness between callers, amounts other than one, sharing between processes.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimiterSettings:
    """What the provider account allows per minute, and how much of it is used; None: not limited."""

    requests_per_minute: float | None = None
    images_per_minute: float | None = None
    used_share: float = 0.9
    """The refill rate, as a share of the quota."""
    burst_share: float = 0.1
    """The bucket's size, as a share of a minute's quota (at least one call). With `used_share` it makes one whole, so
    that no minute sees more than the quota; 0.18 let the first minute after a silence have 107 calls of 100."""

    @property
    def quota_per_minute(self) -> float | None:
        """The lower of the two quotas: one send is one request and one picture."""
        quotas = [q for q in (self.requests_per_minute, self.images_per_minute) if q is not None]
        return min(quotas, default=None)


class TooLate(Exception):
    """The call could only start after `wait_s` seconds, which is past its deadline."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"could start in {wait_s:.1f} s, which is too late")
        self.wait_s = wait_s


class Bucket:
    """The token bucket alone: pure arithmetic over the times it is given, in seconds."""

    KEPT_ADMISSIONS = 1024
    """Refunds of older admissions are worth nothing; bounds memory when the bucket never fills up."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self.burst = burst
        self._interval_s = 1 / rate_per_s
        self._full_at = float("-inf")
        self._admissions: deque[float] = deque()
        self._full_at_before = float("-inf")
        """`full_at` before the first of the kept admissions."""

    def start(self, now: float, ahead: int = 0) -> float:
        """The earliest start, at or after `now`, of a call with `ahead` others before it."""
        return max(now, max(self._full_at, now) + (ahead + 1 - self.burst) * self._interval_s)

    def take(self, now: float) -> None:
        """Admit one call at `now`, which is not before `start`."""
        if self._full_at <= now:
            self._admissions.clear()
            self._full_at_before = self._full_at
        self._admissions.append(now)
        if len(self._admissions) > self.KEPT_ADMISSIONS:
            self._full_at_before = self._after(self._full_at_before, self._admissions.popleft())
        self._full_at = self._after(self._full_at, now)

    def give_back(self, taken_at: float) -> None:
        """Undo the admission at `taken_at`, as far as that still matters."""
        if taken_at not in self._admissions:
            return
        self._admissions.remove(taken_at)
        self._full_at = self._full_at_before
        for admission in self._admissions:
            self._full_at = self._after(self._full_at, admission)

    def tokens(self, now: float) -> float:
        """How many calls could start at `now`, as a fraction."""
        return self.burst - max(0.0, self._full_at - now) / self._interval_s

    def _after(self, full_at: float, admission: float) -> float:
        return max(full_at, admission) + self._interval_s


class LimiterPermit:
    """The right to start one call now."""

    __slots__ = ("_limiter", "_taken_at")

    def __init__(self, limiter: "Limiter", taken_at: float) -> None:
        self._limiter: Limiter | None = limiter
        self._taken_at = taken_at

    def refund(self) -> None:
        """Give the permit back, because nothing was sent; once."""
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter.give_back(self._taken_at)


class _Waiter:
    """One caller in line; the result None means that it has become too late."""

    __slots__ = ("deadline", "turn")

    def __init__(self, deadline: float | None, turn: "asyncio.Future[LimiterPermit | None]") -> None:
        self.deadline = deadline
        self.turn = turn

    def misses(self, start: float) -> bool:
        return self.deadline is not None and start > self.deadline


class Limiter:
    """The gate of one provider account; see the rules above.

    Args:
        settings: the account's quota.
        clock: the running loop's clock, in seconds (asyncio's own loops and uvloop's: `time.monotonic`).
    """

    def __init__(self, settings: LimiterSettings, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.bucket = _bucket(settings)
        self._frozen_until = float("-inf")
        self._line: OrderedDict[_Waiter, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    def frozen_s(self) -> float:
        """Seconds until the freeze ends; 0 without one."""
        return max(0.0, self._frozen_until - self._clock())

    def predict(self) -> float:
        """Seconds from now at which a caller who came now would start, if nothing changes."""
        now = self._clock()
        return self._start(now, len(self._line)) - now

    async def admit(self, deadline: float | None = None) -> LimiterPermit:
        """Wait in line for the right to start one call.

        Args:
            deadline: the latest start, on the limiter's clock; None waits as long as it takes.

        Raises:
            TooLate: the start is, or by a freeze has become, later than the deadline; nothing was taken.
        """
        now = self._clock()
        start = self._start(now, len(self._line))
        if deadline is not None and start > deadline:
            raise TooLate(start - now)
        if not self._line and start <= now:
            return self._take(now)
        return await self._wait(deadline)

    def freeze(self, until: float) -> None:
        """Start nobody before `until`; an earlier freeze that lasts longer stays."""
        self._frozen_until = max(self._frozen_until, until)
        now, ahead = self._clock(), 0
        for waiter in list(self._line):
            if waiter.misses(self._start(now, ahead)):
                self._refuse(waiter)
            else:
                ahead += 1
        self._serve()

    def thaw(self) -> None:
        """End the freeze."""
        self._frozen_until = float("-inf")
        self._serve()

    def give_back(self, taken_at: float) -> None:
        """Refund an admission; see `LimiterPermit.refund`."""
        if self.bucket is not None:
            self.bucket.give_back(taken_at)
            self._serve()

    def _start(self, now: float, ahead: int) -> float:
        earliest = max(now, self._frozen_until)
        return earliest if self.bucket is None else self.bucket.start(earliest, ahead)

    def _take(self, now: float) -> LimiterPermit:
        if self.bucket is not None:
            self.bucket.take(now)
        return LimiterPermit(self, now)

    async def _wait(self, deadline: float | None) -> LimiterPermit:
        waiter = _Waiter(deadline, asyncio.get_running_loop().create_future())
        self._line[waiter] = None
        if len(self._line) == 1:
            self._serve()
        try:
            permit = await waiter.turn
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        if permit is None:
            raise TooLate(self.predict())
        return permit

    def _leave(self, waiter: _Waiter) -> None:
        self._line.pop(waiter, None)
        if not waiter.turn.cancelled() and (permit := waiter.turn.result()) is not None:
            # The permit was on its way when the caller was cancelled.
            permit.refund()

    def _serve(self) -> None:
        """Let everybody start whose time has come, and set the timer for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        while self._line:
            start = self._start(now, 0)
            if start > now:
                self._timer = asyncio.get_running_loop().call_at(start, self._serve)
                return
            waiter = next(iter(self._line))
            if waiter.turn.done():
                del self._line[waiter]  # cancelled, but has not run yet
            elif waiter.misses(now):
                self._refuse(waiter)  # the loop was late
            else:
                del self._line[waiter]
                waiter.turn.set_result(self._take(now))

    def _refuse(self, waiter: _Waiter) -> None:
        del self._line[waiter]
        if not waiter.turn.done():
            waiter.turn.set_result(None)


def _bucket(settings: LimiterSettings) -> Bucket | None:
    quota = settings.quota_per_minute
    if quota is None:
        return None
    return Bucket(settings.used_share * quota / 60, max(1.0, settings.burst_share * quota))
