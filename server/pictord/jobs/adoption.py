"""Pictures that had arrived when their process died: found again, stored, and settled as what they came to."""

import logging
from collections.abc import Collection
from dataclasses import replace

from pictord.assets.arrivals import ArrivalFolder, Arrived
from pictord.assets.store import AssetStore
from pictord.domain.generation import AttemptState, Output, State
from pictord.domain.money import CostBasis
from pictord.store.base import Store

logger = logging.getLogger(__name__)


async def adopt(
    arrivals: ArrivalFolder, assets: AssetStore, store: Store, *, only: Collection[str] | None = None
) -> None:
    """Give every picture that arrived to its attempt, be that still open or listed as unknown meanwhile.

    Args:
        arrivals: where they wait.
        assets: where they go.
        store: their record.
        only: the generations whose jobs have ended, while others run; None at a start, when none does.

    Raises:
        GatewayError: STORE_UNAVAILABLE, STORE_FULL; what is not adopted yet is there at the next start.
    """
    adopted = 0
    for arrived, data in arrivals.found():
        attempt = arrived.attempt
        if only is not None and arrived.generation_id not in only:
            continue
        if await _is_wanted(arrived, store):
            try:
                image = replace(arrived.image, sha256=await assets.put(data))
            except OSError as error:
                logger.error("attempt %s: its picture stays in `arrived`: %s", attempt.id, error)  # noqa: TRY400 - it says all
                continue
            output = Output(attempt.output_index, State.SUCCEEDED, image)
            await store.finish_attempt(arrived.generation_id, attempt, image, output)
            adopted += 1
        arrivals.forget(attempt.id)
    if adopted:
        logger.warning("recovered: %d pictures that had arrived", adopted)


async def _is_wanted(arrived: Arrived, store: Store) -> bool:
    """Whether its attempt has no result yet, and its generation has not been deleted."""
    record = await store.get(arrived.generation_id)
    recorded = next((each for each in record.attempts if each.id == arrived.attempt.id), None) if record else None
    if recorded is None:
        return False
    return recorded.state is not AttemptState.FINISHED or recorded.cost.basis is CostBasis.UNKNOWN
