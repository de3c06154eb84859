"""Has what has happened stored and written down, however long disk and database take: nothing paid is lost meanwhile.

Until they have taken it, a picture that is paid for, and how an attempt ended, are known to its job alone. So the job
stays and asks again, at most half a minute apart, as long as the process lives. Those who wait hear of it long before.

What that holds in memory is bounded: an output keeps its slot at the engine until its end is written down, and where
there is no room, or no database, new work is refused before money.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from typing import TypeVar

from pictord.domain.reason import Reason
from pictord.errors import GatewayError

T = TypeVar("T")

_WAITS_S = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Between two tries; a database server restarts in less."""
_LONGEST_WAIT_S = 30.0
_PATIENCE = 4
"""So many refusals in a row are more than a restart: those who wait are told."""

_STORE_DOWN = frozenset({Reason.STORE_UNAVAILABLE, Reason.STORE_FULL})


def is_store_down(fault: BaseException) -> bool:
    """Whether it is no fault of ours: the database, or where pictures lie, is away or has no room."""
    return isinstance(fault, GatewayError) and fault.reason in _STORE_DOWN


class Insistence:
    """That of one job.

    Args:
        sleep: waits that many seconds.
    """

    __slots__ = ("_given_up", "_sleep")

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep
        self._given_up = asyncio.Event()

    @property
    def is_given_up(self) -> bool:
        """Whether the process ends."""
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Have everybody try once more, and no more: the process ends."""
        self._given_up.set()

    async def taken(self, write: Callable[[], Awaitable[T]], overdue: Callable[[GatewayError], Awaitable[None]]) -> T:
        """Write until it is taken.

        Args:
            write: may be repeated at will, also if nobody knows whether it was committed.
            overdue: hears that it takes long, and why, each time anew.

        Raises:
            GatewayError: STORE_UNAVAILABLE, STORE_FULL, once it was given up.
        """
        refusals, waits = 0, chain(_WAITS_S, repeat(_LONGEST_WAIT_S))
        while True:
            try:
                return await write()
            except GatewayError as error:
                if not is_store_down(error):
                    raise
                refusals += 1
                if refusals >= _PATIENCE or self.is_given_up:
                    await overdue(error)
                if self.is_given_up:
                    raise
            await self._pause(next(waits))

    async def _pause(self, wait_s: float) -> None:
        """Wait, or until it is given up."""
        waits = {asyncio.ensure_future(self._sleep(wait_s)), asyncio.ensure_future(self._given_up.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
