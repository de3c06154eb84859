"""Concurrency: how many calls one provider has at once; it gives way when the provider pushes back.

Rules (AIMD):
- A slot belongs to a job from just before its call is sent until the call has ended.
- The limit is cut to 70 % when the provider says "too much" (429, 503), at most once per call time: twenty calls that
  are refused together are one piece of news. It never falls below 1.
- It grows by 1 with every completed call, while at least half of it is in use, up to the ceiling. It begins at the
  ceiling: nothing is known against it.
- Calls that fall back from another engine hold at most 30 % of the slots (at least one), so that one engine's outage
  does not sink the other one's own traffic.
- Waiting is FIFO with a deadline. A fallback that may not go does not block those behind it, so there are two lines and
  the older head that may go goes first. A cancelled waiter leaves without a trace.

Not handled: latency as a signal (it follows the quality that was asked for, so probing for it would throttle paid
work); fairness between callers.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

Line = OrderedDict[int, "asyncio.Future[Slot]"]


@dataclass(frozen=True, slots=True)
class ConcurrencySettings:
    """`ceiling` in calls; the others are shares."""

    ceiling: int = 512
    cut_to_share: float = 0.7
    fallback_share: float = 0.3


class NoSlot(Exception):
    """No slot was free until the deadline."""


class Slot:
    """The right to have one call in flight."""

    __slots__ = ("_concurrency", "is_fallback")

    def __init__(self, concurrency: "Concurrency", *, is_fallback: bool) -> None:
        self._concurrency: Concurrency | None = concurrency
        self.is_fallback = is_fallback

    def release(self, *, completed: bool = False) -> None:
        """End the call; once. `completed` means that the provider did the work without pushing back."""
        concurrency, self._concurrency = self._concurrency, None
        if concurrency is not None:
            concurrency.take_back(self, completed=completed)


class Concurrency:
    """The slots of one provider; see the rules above.

    Args:
        settings: ceiling and shares.
        clock: the running loop's clock, in seconds.
    """

    def __init__(self, settings: ConcurrencySettings, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._last_cut = float("-inf")
        self._tickets = count()
        self._own_line: Line = OrderedDict()
        self._fallback_line: Line = OrderedDict()
        self._fallbacks = 0
        self.limit = settings.ceiling
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._own_line) + len(self._fallback_line)

    def predict(self, *, is_fallback: bool, call_time_s: float) -> float:
        """Seconds until a caller who came now would get a slot, if one frees every `call_time_s` / slots; 0 if now."""
        line = self._line(is_fallback=is_fallback)
        if not line and self._may_go(is_fallback=is_fallback):
            return 0.0
        slots = self._fallback_slots() if is_fallback else self.limit
        return (len(line) + 1) * call_time_s / slots

    async def acquire(self, deadline: float | None = None, *, is_fallback: bool = False) -> Slot:
        """Wait for a slot, at most until `deadline` on the loop's clock.

        Raises:
            NoSlot: the deadline has passed; nothing was taken.
        """
        if not self._line(is_fallback=is_fallback) and self._may_go(is_fallback=is_fallback):
            return self._take(is_fallback=is_fallback)
        if deadline is not None and deadline <= self._clock():
            raise NoSlot
        return await self._wait(deadline, is_fallback=is_fallback)

    def shrink(self, call_time_s: float) -> None:
        """Cut the limit, unless it was cut less than `call_time_s` seconds ago."""
        now = self._clock()
        if now - self._last_cut >= call_time_s:
            self._last_cut = now
            self.limit = max(1, int(self.limit * self._settings.cut_to_share))

    def take_back(self, slot: Slot, *, completed: bool) -> None:
        """Free a slot; see `Slot.release`."""
        if completed and self.in_flight * 2 >= self.limit:
            self.limit = min(self._settings.ceiling, self.limit + 1)
        self.in_flight -= 1
        self._fallbacks -= slot.is_fallback
        self._serve()

    async def _wait(self, deadline: float | None, *, is_fallback: bool) -> Slot:
        line, ticket = self._line(is_fallback=is_fallback), next(self._tickets)
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        line[ticket] = turn
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except BaseException as interruption:
            line.pop(ticket, None)
            if turn.done() and not turn.cancelled():
                turn.result().release()  # it was on its way when the caller was interrupted
            if isinstance(interruption, TimeoutError):
                raise NoSlot from None
            raise

    def _serve(self) -> None:
        while (line := self._next_line()) is not None:
            _, turn = line.popitem(last=False)
            if not turn.done():
                turn.set_result(self._take(is_fallback=line is self._fallback_line))

    def _next_line(self) -> Line | None:
        """The line whose head is the oldest among those that may go."""
        return min(self._open_lines(), key=lambda line: next(iter(line)), default=None)

    def _open_lines(self) -> Iterator[Line]:
        if self._own_line and self._may_go(is_fallback=False):
            yield self._own_line
        if self._fallback_line and self._may_go(is_fallback=True):
            yield self._fallback_line

    def _take(self, *, is_fallback: bool) -> Slot:
        self.in_flight += 1
        self._fallbacks += is_fallback
        return Slot(self, is_fallback=is_fallback)

    def _may_go(self, *, is_fallback: bool) -> bool:
        return self.in_flight < self.limit and (not is_fallback or self._fallbacks < self._fallback_slots())

    def _fallback_slots(self) -> int:
        return max(1, int(self.limit * self._settings.fallback_share))

    def _line(self, *, is_fallback: bool) -> Line:
        return self._fallback_line if is_fallback else self._own_line
