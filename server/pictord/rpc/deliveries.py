"""Open calls that bring somebody a picture: when the server stops, they get time to end."""

import asyncio
import logging
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


class Deliveries:
    """Knows how many there are."""

    def __init__(self) -> None:
        self._open = 0
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

    async def ended(self, timeout_s: float) -> None:
        """Return once none is open, after `timeout_s` seconds at most."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._none_open.wait()
        except TimeoutError:
            logger.warning("the drain is over, and %d calls are still being read", self._open)
