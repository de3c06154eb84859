"""Generations to stand side by side: a lineage on both engines, and ratings for the scorecard."""

from gateway import GPT, NANO, Gateway
from pictor.v1.generation_pb2 import Generation
from pictor.v1.history_service_pb2 import RateGenerationRequest
from pictor.v1.image_pb2 import TIER_PRO, WORKFLOW_CAROUSEL, WORKFLOW_HERO, WORKFLOW_ON_IMAGE_TEXT
from pictor.v1.image_service_pb2 import GenerateRequest, RerollRequest


async def draw(running: Gateway, prompt: str, metadata=(), **options) -> Generation:
    """One generation, without its bytes."""
    request = GenerateRequest(prompt=prompt, max_inline_bytes=0, **options)
    return (await running.images.Generate(request, metadata=metadata)).generation


async def draw_again(running: Gateway, generation_id: str, model: str = "", metadata=()) -> Generation:
    """A re-roll, on the other engine unless one is named."""
    request = RerollRequest(generation_id=generation_id, model=model, max_inline_bytes=0)
    events = [each async for each in running.images.Reroll(request, metadata=metadata)]
    return next(each.event.completed.generation for each in reversed(events) if each.event.HasField("completed"))


async def a_lineage(running: Gateway) -> list[str]:
    """One picture on both engines."""
    first = await draw(running, "A lighthouse in a storm, woodcut, two colours", tier=TIER_PRO)
    return [first.id, (await draw_again(running, first.id)).id]


async def some_ratings(running: Gateway) -> None:
    """Verdicts and thumbs in three workflows."""
    for workflow, winner in ((WORKFLOW_HERO, GPT), (WORKFLOW_CAROUSEL, NANO), (WORKFLOW_ON_IMAGE_TEXT, NANO)):
        drawn = {model: await draw(running, "rated", model=model, workflow=workflow) for model in (GPT, NANO)}
        loser = next(each.id for model, each in drawn.items() if model != winner)
        request = RateGenerationRequest(generation_id=drawn[winner].id, won_over_ids=[loser])
        await running.history.RateGeneration(request)
