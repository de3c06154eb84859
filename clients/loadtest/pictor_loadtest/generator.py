"""The open loop: every call starts when it is due, whatever became of those before it.

A generator that waits for an answer before it sends the next call slows down with the server, and never measures what
callers would have waited (coordinated omission). Here nothing waits for an answer. If the bound in flight is reached, a
call that is due waits for a place, and that wait is part of its latency, which counts from when it was due.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pictor_loadtest.record import INTERRUPTED, NOT_SENT, Record
from pictor_loadtest.schedule import Due

Send = Callable[[Record], Awaitable[None]]
"""Makes one call and writes what became of it into the record; raises nothing."""

May = Callable[[Due], str]
"""Asked right before a call is sent: why the run must stop here; empty if it need not."""


class Generator:
    """Runs a schedule.

    Args:
        send: Makes one call.
        max_in_flight: Most calls at once.
        may: Asked before each call.
    """

    def __init__(self, send: Send, *, max_in_flight: int, may: May = lambda _: "") -> None:
        self._send = send
        self._may = may
        self._places = asyncio.Semaphore(max_in_flight)  # first come, first served
        self._clock = asyncio.get_running_loop().time
        self._began_at = 0.0
        self._stopped = asyncio.Event()
        self.stopped_because = ""
        self.records: list[Record] = []
        """Of all calls that were due so far."""
        self.in_flight = 0

    @property
    def now_s(self) -> float:
        """Seconds after the start."""
        return self._clock() - self._began_at

    def stop(self, why: str) -> None:
        """Send nothing more; what is in flight goes on."""
        if not self._stopped.is_set():
            self.stopped_because = why
            self._stopped.set()

    async def run(self, schedule: Sequence[Due]) -> None:
        """Make all calls and wait for their ends."""
        self._began_at = self._clock()
        async with asyncio.TaskGroup() as calls:
            for due in schedule:
                await self._until(due.at_s)
                if self._stopped.is_set():
                    break
                record = Record(due)
                self.records.append(record)
                calls.create_task(self._call(record))

    async def _until(self, time_s: float) -> None:
        left = time_s - self.now_s
        if left <= 0:  # late already: catch up, but let the calls begin
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(left):
                await self._stopped.wait()
        except TimeoutError:
            pass

    async def _call(self, record: Record) -> None:
        record.was_held_back = self._places.locked()
        record.reason = NOT_SENT  # until it is
        async with self._places:
            if not self._stopped.is_set() and (why := self._may(record.due)):
                self.stop(why)
            if self._stopped.is_set():
                return
            self.in_flight += 1
            record.sent_s, record.reason = self.now_s, ""
            try:
                await self._send(record)
            except asyncio.CancelledError:
                record.reason, record.may_have_cost = INTERRUPTED, True
                raise
            finally:
                record.ended_s = self.now_s
                self.in_flight -= 1
