"""Child process under test: `router.plan` by itself, on the shipped policy and catalog."""

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from bench.worker import Service, serve
from pictord.catalog import catalog
from pictord.domain.request import Canvas, GenerationRequest, Ratio, Resolution, Tier, Workflow
from pictord.resilience.status import Availability as EngineAvailability
from pictord.routing import policy, router
from pictord.routing.availability import Availability

_CALLS = 400
_REPEATS = 5
_REQUESTS = {
    "standard": GenerationRequest("a lighthouse"),
    "pro": GenerationRequest("a lighthouse", tier=Tier.PRO),
    "four_k": GenerationRequest("a lighthouse", canvas=Canvas(Ratio.parse("16:9"), resolution=Resolution.R4K)),
    "text_in_image": GenerationRequest("OPEN", workflow=Workflow.ON_IMAGE_TEXT),
    "explicit": GenerationRequest("a lighthouse", model="gpt-image-2"),
}


async def plan_us() -> dict[str, float]:
    """Microseconds of CPU for one plan, by row; the median of five times 400 plans."""
    models = catalog.load().at(datetime.now(UTC).date())
    table = policy.load(models, None)
    engines = {model: EngineAvailability() for model in models.models}
    availability = Availability({"openai": "openai", "gemini": "developer"}, engines, remaining_s=300.0)

    def seconds_each(request: GenerationRequest) -> float:
        started = time.process_time()
        for _ in range(_CALLS):
            router.plan(request, table, models, availability)
        return (time.process_time() - started) / _CALLS

    return {
        row: statistics.median(seconds_each(request) for _ in range(_REPEATS)) * 1e6
        for row, request in _REQUESTS.items()
    }


@asynccontextmanager
async def planning() -> AsyncIterator[Service]:
    """Offer the measurement."""
    yield Service(handlers={"plan_us": plan_us})


if __name__ == "__main__":
    serve(planning)
