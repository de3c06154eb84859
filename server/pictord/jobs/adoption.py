"""Pictures that had arrived when their process died: found again, stored, and settled as what they came to."""

import asyncio
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from pictord.assets.arrivals import ArrivalFolder, Arrived
from pictord.assets.objects import address
from pictord.assets.store import AssetStore
from pictord.domain.generation import Attempt, Output, State
from pictord.domain.outcome import Outcome
from pictord.store.base import Store

logger = logging.getLogger(__name__)

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Adoption:
    """Gives every picture that arrived to its attempt, be that still open, or unknown or reconciled meanwhile.

    Bytes of a picture that is recorded already are stored again: the picture store may not have taken them. Those of a
    generation that has been deleted are not; what they cost is known all the same.
    """

    arrivals: ArrivalFolder
    assets: AssetStore
    store: Store

    async def adopt(self, *, only: Collection[str] | None = None) -> None:
        """Look through what has arrived.

        Args:
            only: the generations whose jobs have ended, while others run; None at a start, when none does.

        Raises:
            GatewayError: STORE_UNAVAILABLE, STORE_FULL; what is not adopted yet is there at the next start.
        """
        found = self.arrivals.found(only=only)
        results = await asyncio.gather(*(self._adopt_each(found) for _ in range(_AT_ONCE)), return_exceptions=True)
        adopted = sum(result for result in results if isinstance(result, int))
        if adopted:
            logger.warning("recovered: %d pictures that had arrived", adopted)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _adopt_each(self, found: Iterator[tuple[Arrived, bytes]]) -> int:
        adopted = 0
        for arrived, data in found:
            adopted += await self._adopt_one(arrived, data)
        return adopted

    async def _adopt_one(self, arrived: Arrived, data: bytes) -> bool:
        attempt, recorded = arrived.attempt, await self._recorded(arrived)
        if recorded is not None:
            try:
                image = replace(arrived.image, sha256=await self.assets.put(data))
            except OSError as error:
                logger.error("attempt %s: its picture stays in `arrived`: %s", attempt.id, error)  # noqa: TRY400 - it says all
                return False
            output = Output(attempt.output_index, State.SUCCEEDED, image)
            await self.store.finish_attempt(arrived.generation_id, attempt, image, output)
        elif await self.store.expired(arrived.generation_id) is not None:
            image = replace(arrived.image, sha256=await address(data))
            await self.store.finish_attempt(arrived.generation_id, attempt, image)
        self.arrivals.forget(attempt.id)
        return recorded is not None and recorded.outcome is not Outcome.IMAGE

    async def _recorded(self, arrived: Arrived) -> Attempt | None:
        """Its attempt as it is recorded; None if its generation has been deleted."""
        record = await self.store.get(arrived.generation_id)
        return next((each for each in record.attempts if each.id == arrived.attempt.id), None) if record else None
