"""Waits that a test lets go on, in place of the clock's."""

import asyncio


class Turn:
    """Waits shorter than `patience_s` end at once, others when `comes` is set."""

    def __init__(self, patience_s: float = 2.0) -> None:
        self._patience_s = patience_s
        self.is_awaited = asyncio.Event()
        self.comes = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait for so many seconds, or for the turn."""
        if seconds >= self._patience_s:
            self.is_awaited.set()
            await self.comes.wait()
