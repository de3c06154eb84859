"""The event log of one job: gapless, the same for every reader, with the pictures' bytes beside it.

Every reader has its own place in the log and is never waited for. Bytes are shared: the log holds one copy, and lets
go of it when the job has ended and nobody reads any more; a reader that comes later finds previews
gone (they are only for showing) and final pictures in the asset store.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from pictord.domain.events import Completed, Event, ImageReady, LoggedEvent
from pictord.domain.generation import Generation


class EventLog:
    """Append-only; ends with exactly one `Completed`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._events: list[LoggedEvent] = []
        self._payloads: dict[int, bytes] = {}
        self._grew = asyncio.Event()
        self._ended = asyncio.Event()
        self._final: Generation | None = None
        self._readers = 0

    @property
    def is_complete(self) -> bool:
        """Whether the last event is there."""
        return self._final is not None

    @property
    def last_sequence(self) -> int:
        """The number of the newest event; 0 while there is none."""
        return len(self._events)

    @property
    def size_bytes(self) -> int:
        """What the bytes take that the log still has."""
        return sum(map(len, self._payloads.values()))

    def append(self, event: Event, payload: bytes | None = None) -> None:
        """Add the next event and wake all readers."""
        if self._final is not None:
            raise RuntimeError("the log has ended")
        entry = LoggedEvent(len(self._events) + 1, self._now(), event)
        self._events.append(entry)
        if payload is not None:
            self._payloads[entry.sequence] = payload
        grew, self._grew = self._grew, asyncio.Event()
        grew.set()
        if isinstance(event, Completed):
            self._final = event.generation
            self._ended.set()
            self._release_if_unread()

    def hold(self) -> None:
        """Keep the bytes although nobody reads yet; pairs with `let_go`."""
        self._readers += 1

    def let_go(self) -> None:
        """Undo one `hold`."""
        self._readers -= 1
        self._release_if_unread()

    async def completed(self) -> Generation:
        """Wait for the end and return the generation."""
        await self._ended.wait()
        assert self._final is not None  # noqa: S101 - what has just been waited for
        return self._final

    def image_bytes(self, image_id: str) -> bytes | None:
        """The bytes of a finished picture, while the log still has them."""
        for entry in self._events:
            if isinstance(entry.event, ImageReady) and entry.event.image.id == image_id:
                return self._payloads.get(entry.sequence)
        return None

    def payload(self, sequence: int) -> bytes | None:
        """The bytes that belong to an event, while the log still has them."""
        return self._payloads.get(sequence)

    async def read(self, after: int = 0) -> AsyncIterator[LoggedEvent]:
        """Yield the events past `after`, waiting for new ones, until `Completed`."""
        self.hold()
        try:
            position = max(after, 0)
            while True:
                grew = self._grew
                while position < len(self._events):
                    position += 1
                    yield self._events[position - 1]
                if self.is_complete:
                    return
                await grew.wait()
        finally:
            self.let_go()

    def _release_if_unread(self) -> None:
        if self._final is not None and self._readers == 0:
            self._payloads.clear()
