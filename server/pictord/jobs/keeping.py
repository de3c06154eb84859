"""What one output comes to, stored and written down: its picture, and how its attempts ended.

A picture and its record are one step, which is done again until it is taken (`insistence.py`). Whoever waits gets the
picture when that is done; when it takes long, from memory.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pictord.domain.events import ImageReady
from pictord.domain.generation import Attempt, Generation, Image, Output
from pictord.errors import GatewayError
from pictord.jobs.crash_points import CrashPoint
from pictord.jobs.endings import Ended, not_kept
from pictord.jobs.ports import JobContext, JobPorts
from pictord.store.base import Ending, OwnedImage


@dataclass(slots=True)
class Keeping:
    """That of one output."""

    ports: JobPorts
    context: JobContext
    overdue: Callable[[GatewayError], Awaitable[None]] | None
    """Hears that something which has happened cannot be written down for long; what there is, is to be told."""
    ending: Callable[[Output], Ending] | None = None
    """How the generation ends if this output ends well; None if there are others to wait for."""
    ended: Generation | None = None
    """The record, once it was ended together with this output."""
    drawn: Ended | None = None
    """Its picture, once it was shown to those who wait because no record could say of it."""
    is_stuck: bool = False
    """Whether its end cannot be written down for long."""
    store_s: float = 0.0
    """Seconds that store and disk took so far."""

    def let_go(self) -> None:
        """Forget the job that listens, when the output has ended."""
        self.ending = self.overdue = None

    async def picture(self, ended: Ended, image: Image, output: Output, data: bytes) -> None:
        """Store the picture and record it; whoever waits gets it when that is done, or when that takes long."""

        async def keep() -> None:
            # Both each time: what no record names yet may be deleted between two tries.
            await self._put(image, data)
            await self._record_drawn(ended.attempt, image, output)

        async def overdue(error: GatewayError) -> None:
            if self.drawn is None:
                self.drawn = ended
                self.ports.observer.not_stored(self.context.generation, ended.attempt, error)
                self.ports.waiting.add(OwnedImage(self.context.generation.caller, image), data)
                self.context.log.append(ImageReady(image), data)
            await self._report_overdue(error)

        try:
            await self._insist(keep, overdue)
        finally:
            self.ports.waiting.remove(image.id)
        if self.drawn is None:
            self.context.log.append(ImageReady(image), data)

    async def written(self, write: Callable[[], Awaitable[None]]) -> None:
        """Have the end of an attempt without a picture written down, or of this output."""
        await self._insist(write, self._report_overdue)

    async def _put(self, image: Image, data: bytes) -> None:
        started = self.ports.clock()
        try:
            await self.ports.assets.put(data, image.sha256)
        except OSError as error:
            raise not_kept(error) from error
        self.store_s += self.ports.clock() - started
        self.ports.reached(CrashPoint.AFTER_ASSET_PUT)

    async def _record_drawn(self, attempt: Attempt, image: Image, output: Output) -> None:
        """One commit less where nothing else is waited for: the generation ends with its picture."""
        generation_id, started = self.context.generation.id, self.ports.clock()
        if self.ending is None:
            await self.ports.store.finish_attempt(generation_id, attempt, image, output)
        else:
            ending = self.ending(output)
            self.ended = await self.ports.store.finish_drawn(generation_id, attempt, image, output, ending)
        self.store_s += self.ports.clock() - started

    async def _insist(
        self, write: Callable[[], Awaitable[None]], overdue: Callable[[GatewayError], Awaitable[None]]
    ) -> None:
        try:
            await self.context.insistence.taken(write, overdue)
        finally:
            self.is_stuck = False

    async def _report_overdue(self, error: GatewayError) -> None:
        self.is_stuck = True
        if self.overdue is not None:
            await self.overdue(error)
