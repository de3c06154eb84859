"""Open calls that bring somebody a picture: when the server stops, they get time to end."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, TypeAlias

import grpc

logger = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_DELIVERING = (
    "pictor.v1.ImageService/",
    "pictor.v1.HistoryService/WatchGeneration",
    "pictor.v1.HistoryService/DownloadImage",
)
"""Lookups are over in no time, and who watches health watches for ever: neither is waited for."""

STALLED_S = 30.0
"""Who takes nothing for so long, though all that is to come is there, is not waited for."""


class Deliveries:
    """Knows how many there are, and whether they get on."""

    def __init__(self) -> None:
        self._open = 0
        self._taken = 0
        self._none_open = asyncio.Event()
        self._none_open.set()

    def enter(self, context: Context, method: str) -> None:
        """A call of `method` (`package.Service/Method`) has come; it counts, if it delivers, until it has ended."""
        if method.startswith(_DELIVERING):
            self._open += 1
            self._none_open.clear()
            context.add_done_callback(self._leave)  # type: ignore[arg-type]  # a function is not the stubs' own class

    def _leave(self, _context: Context) -> None:
        self._open -= 1
        if not self._open:
            self._none_open.set()

    def taken(self) -> None:
        """Some reader has taken a message."""
        self._taken += 1

    async def ended(self, timeout_s: float) -> None:
        """Return once none is open, or nobody takes anything any more; after `timeout_s` seconds at most."""
        clock = asyncio.get_running_loop().time
        ends_at, taken = clock() + timeout_s, -1
        while self._open and clock() < ends_at and taken != self._taken:
            taken = self._taken
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(clock() + STALLED_S, ends_at)):
                    await self._none_open.wait()
        if self._open:
            logger.warning("the drain is over, and %d calls are still being read", self._open)
