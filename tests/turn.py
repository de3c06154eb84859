"""Waits that a test lets go on, in place of the clock's."""

import asyncio


class Turn:
    """Short waits end at once; who has been refused for long waits until `comes` is set."""

    def __init__(self) -> None:
        self.is_awaited = asyncio.Event()
        self.comes = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait for the turn, if it is to be so many seconds or more."""
        if seconds >= 2.0:
            self.is_awaited.set()
            await self.comes.wait()
