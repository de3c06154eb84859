"""A gateway to which nobody talks: what it does by itself, it does when a test says so."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Idle:
    """A pause that lasts until the test asks for a turn."""

    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    _rests: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self, _seconds: float) -> None:
        """What the gateway waits for."""
        self._rests.set()
        await self._turn.acquire()

    async def turn(self) -> None:
        """Let it do its work once, and return when it rests again."""
        await self._rests.wait()
        self._rests.clear()
        self._turn.release()
        await asyncio.wait_for(self._rests.wait(), 20)
